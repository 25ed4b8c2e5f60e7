"""Learns the weights of `AT2`: predicted effects of ablations shall correlate with true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from attribot.attributors.at2 import AT2
from attribot.attributors.base import Problem
from attribot.attributors.source_features import head_attention
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.learned.effects import Lesson, padded
from attribot.scoring.base import TokenScorer
from attribot.types import FloatArray

# Keeps the root differentiable where the predictions of an example do not vary.
_SMALLEST_VARIANCE = 1e-20


@dataclass(frozen=True)
class AT2Training:
    """Weights that maximise the mean over examples of the correlation within each example.

        maximise  mean over examples of Pearson_S(sum over s in S of score_w(s), log p(R | Q, S))

    over random ablations S, in which every source stays with probability 1/2. By Adam from equal
    weights, with a step size that falls as a cosine, gradients clipped to norm 1, and weights
    scaled to absolute sum 1 at the end: objective and optimiser of the paper's released code.

    Ours: log-likelihoods where that code takes log p - log(1 - p), the same for unlikely responses;
    one target, the whole response, where it splits it into sentences; an ablation that is drawn
    twice is scored once and counts twice; examples whose likelihood never varies are left out.

    Correlation is computed from the moments of the ablations: with s the scores, c the covariance
    of masks and log-likelihoods and C that of masks, it is c . s / sqrt(s . C s) up to a constant.

    Source: Cohen-Wang et al. (arXiv 2504.13752), as in their released code.

    role: the model whose attention is read.
    num_steps, learning_rate: of the optimiser.
    batch_size: examples per step, drawn without replacement; all where there are no more.
    seed: of the batches.

    Raises:
        InvalidInputError: a setting is not positive.
    """

    role: str = "target"
    num_steps: int = 1000
    learning_rate: float = 1e-3
    batch_size: int = 512
    seed: int = 0

    is_paired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if min(self.num_steps, self.learning_rate, self.batch_size) <= 0:
            raise InvalidInputError(
                f"expected positive num_steps, learning_rate and batch_size; got {self}"
            )

    def log_weights(self, num_sources: int) -> FloatArray:
        """Every subset weighs the same."""
        return np.zeros(num_sources + 1)

    def features(self, problem: Problem, scorer: TokenScorer) -> FloatArray:
        """`[num_sources, num_layers, num_heads]` attention mass."""
        return head_attention(problem, scorer)[0]

    def fit(self, lessons: Sequence[Lesson], trained_for: TrainedFor) -> AT2:
        """The weights learned from the lessons.

        Raises:
            InvalidInputError: no example has a likelihood that varies, or attention that does.
        """
        masses, covariance, variance = _moments(lessons)
        shape = lessons[0].features.shape[1:]
        weights = torch.full((masses.shape[-1],), 1 / masses.shape[-1], requires_grad=True)
        optimizer = torch.optim.Adam([weights], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.num_steps)
        generator = np.random.default_rng(self.seed)
        for _ in range(self.num_steps):
            rows = generator.permutation(len(masses))[: self.batch_size]
            scores = masses[rows] @ weights
            predicted = torch.einsum("es,est,et->e", scores, variance[rows], scores)
            explained = (covariance[rows] * scores).sum(dim=1)
            loss = -(explained / predicted.clamp_min(_SMALLEST_VARIANCE).sqrt()).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([weights], max_norm=1.0)
            optimizer.step()
            schedule.step()
        found = weights.detach().double().numpy().reshape(shape)
        table = (found / np.abs(found).sum()).tolist()
        return AT2(tuple(map(tuple, table)), trained_for, self.role)


def _moments(lessons: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the objective needs of all lessons whose likelihood varies, filled up with zeros.

    Returns:
        Masses `[num_examples, num_sources, num_features]`, which may have any scale within an
        example; covariance of masks and log-likelihoods, the latter in standard deviations,
        `[num_examples, num_sources]`; covariance of masks `[num_examples, num_sources,
        num_sources]`.
    """
    masses, covariances, variances = [], [], []
    for lesson in lessons:
        effects, mass = lesson.effects, lesson.features.reshape(len(lesson.features), -1)
        weights = effects.weights
        masks = effects.masks - weights @ effects.masks
        values = effects.log_likelihoods - weights @ effects.log_likelihoods
        deviation = np.sqrt(weights @ values**2)
        largest = np.abs(mass).max()
        if deviation > 0 and largest > 0:
            masses.append(mass / largest)
            covariances.append(masks.T @ (weights * values) / deviation)
            variances.append(masks.T @ (weights[:, None] * masks))
    if not masses:
        raise InvalidInputError(
            f"nothing can be learned from {len(lessons)} examples whose likelihood no ablation "
            f"changes: train on other examples"
        )
    stacked = (padded(masses, 1), padded(covariances, 1), padded(variances, 2))
    first, second, third = (torch.tensor(array, dtype=torch.float32) for array in stacked)
    return first, second, third
