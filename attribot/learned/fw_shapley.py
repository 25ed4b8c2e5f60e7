"""Learns the network of `FWShapley` by weighted least squares, without exact values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attribot.attributors.base import Problem
from attribot.attributors.fw_shapley import FWShapley, SourceNetwork
from attribot.attributors.source_features import source_features
from attribot.attributors.subsets import beta_log_weights
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.learned.effects import Effects, Lesson, padded
from attribot.scoring.base import TokenScorer
from attribot.types import FloatArray


@dataclass(frozen=True)
class FWShapleyTraining:
    """A network phi whose scores explain the ablations of all examples best.

        minimise  mean over examples of
                  min over c of sum_S weight(|S|) (v(S) - c - sum over s in S of phi(x_s))^2
        v(S) = log p(R | Q, S) [nats]

    divided by what phi = 0 leaves, plus `penalty` times the squares of all weights. Subsets are
    drawn in proportion to the weights of `beta_log_weights`: with one free number per source in
    place of phi, each example's solution is its Beta(alpha, beta) semivalue, as in `BetaShapley`.
    The weights that the paper gives, w(j) / (j (n - j)) by size with v of the empty subset pinned,
    lead to it for alpha = beta = 1 only; see there.

    The intercept c is eliminated: by the mean of the draws, or where subsets of infinite weight
    have to hold exactly, by one of those. Where both ends do (alpha = beta = 1) they also say what
    the scores sum to. A network cannot meet that exactly: it is one more square, divided by the
    number of sources, and what it leaves is taken from all sources alike in the others, so that
    free numbers would still be exact.

    The network is `SourceNetwork` on standardised `source_features`; L-BFGS from phi = 0.

    Source: Panda et al. (arXiv 2503.06602), after FastSHAP (arXiv 2107.07436); weights, features
    and the treatment of the ends are ours.

    role: the model whose attention is read.
    alpha, beta: at least 1, as in `BetaShapley`; 1 and 1 are Shapley. beta None is leave-one-out,
        the limit of a growing beta: all weight on contexts without one source.
    num_hidden: hidden units; 0 leaves a linear map.
    penalty: on squared weights.
    num_steps: of the optimiser, at most.
    seed: of the first hidden weights.

    Raises:
        InvalidInputError: a setting is out of range.
    """

    role: str = "target"
    alpha: float = 1.0
    beta: float | None = 1.0
    num_hidden: int = 16
    penalty: float = 0.03
    num_steps: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        beta = 1.0 if self.beta is None else self.beta
        if not (1 <= self.alpha < np.inf and 1 <= beta < np.inf):
            raise InvalidInputError(
                f"alpha and beta must be finite and at least 1, or beta null for leave-one-out; "
                f"got alpha={self.alpha}, beta={self.beta}"
            )
        if self.num_hidden < 0 or self.penalty < 0 or self.num_steps < 1:
            raise InvalidInputError(
                f"expected num_hidden and penalty of at least 0 and num_steps of at least 1; got "
                f"{self}"
            )

    @property
    def is_paired(self) -> bool:
        return self.alpha == self.beta

    def log_weights(self, num_sources: int) -> FloatArray:
        """Those of the semivalue."""
        if self.beta is None:
            return np.array([-np.inf] * (num_sources - 1) + [0.0, np.inf])
        return beta_log_weights(num_sources, self.alpha, self.beta)

    def features(self, problem: Problem, scorer: TokenScorer) -> FloatArray:
        """`[num_sources, num_features]`; see `source_features`."""
        return source_features(problem, scorer)[0]

    def fit(self, lessons: Sequence[Lesson], trained_for: TrainedFor) -> FWShapley:
        """The network learned from the lessons.

        Raises:
            InvalidInputError: no ablation changes the likelihood of any example.
        """
        return FWShapley(self.fitted_network(lessons), trained_for, self.role)

    def fitted_network(self, lessons: Sequence[Lesson]) -> SourceNetwork:
        """As `fit`, the network alone."""
        stacked = np.concatenate([lesson.features for lesson in lessons])
        centre, scale = stacked.mean(axis=0), stacked.std(axis=0)
        # A constant feature says nothing; its centre makes it 0.
        scale = np.where(scale > 0, scale, 1.0)
        rows = [equations(lesson.effects) for lesson in lessons]
        inputs = _tensor([(lesson.features - centre) / scale for lesson in lessons], 1)
        squares = _tensor([design.T @ (w[:, None] * design) for design, _, w in rows], 2)
        products = _tensor([design.T @ (w * values) for design, values, w in rows], 1)
        nothing = float(np.mean([w @ values**2 for _, values, w in rows]))
        if nothing == 0:
            raise InvalidInputError(
                f"nothing can be learned from {len(lessons)} examples whose likelihood no ablation "
                f"changes: train on other examples"
            )
        network = _Parameters.begin(inputs.shape[-1], self.num_hidden, self.seed)

        def objective() -> torch.Tensor:
            scores = network.scores(inputs)
            quadratic = torch.einsum("es,est,et->e", scores, squares, scores)
            left = quadratic - 2 * (products * scores).sum(dim=1)
            return left.mean() / nothing + self.penalty * network.squared_norm()

        network.minimise(objective, self.num_steps)
        return network.frozen(centre, scale)


def equations(effects: Effects) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The least squares of one example without its intercept; see `FWShapleyTraining`.

    Returns:
        `[num_rows, num_sources]` design, `[num_rows]` values [nats] and `[num_rows]` weights of
            sum over rows of  weight (value - design . phi)^2
    """
    weights, values = effects.weights, effects.log_likelihoods
    masks = effects.masks.astype(np.float64)
    exact = np.flatnonzero(np.isposinf(effects.log_weights))
    if len(exact) == 0:
        return masks - weights @ masks, values - weights @ values, weights
    design, values = masks - masks[exact[0]], values - values[exact[0]]
    if len(exact) == 1:
        return design, values, weights
    # The two ends differ by all sources, with the sign of their order.
    whole, total = design[exact[1]], values[exact[1]]
    share = design.sum(axis=1) / whole.sum()
    is_total = np.arange(len(masks)) == exact[1]
    return (
        np.where(is_total[:, None], whole, design - share[:, None] * whole),
        np.where(is_total, total, values - share * total),
        np.where(is_total, 1 / masks.shape[1], weights),
    )


@dataclass(frozen=True, eq=False)
class _Parameters:
    """The parameters of a `SourceNetwork` while they are learned, in float64."""

    bias: torch.Tensor
    linear: torch.Tensor
    hidden: torch.Tensor
    hidden_bias: torch.Tensor
    output: torch.Tensor

    @classmethod
    def begin(cls, num_features: int, num_hidden: int, seed: int) -> _Parameters:
        """All scores are 0; hidden weights are random, so that hidden units differ."""
        drawn = np.random.default_rng(seed).normal(size=(num_hidden, num_features))
        shapes = ((), num_features, (num_hidden, num_features), num_hidden, num_hidden)
        bias, linear, hidden, hidden_bias, output = (np.zeros(shape) for shape in shapes)
        hidden += drawn / np.sqrt(num_features)
        values = (bias, linear, hidden, hidden_bias, output)
        return cls(*(torch.tensor(value, requires_grad=True) for value in values))

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """`[num_examples, num_sources]` of `[num_examples, num_sources, num_features]`."""
        units = torch.tanh(inputs @ self.hidden.T + self.hidden_bias)
        return self.bias + inputs @ self.linear + units @ self.output

    def squared_norm(self) -> torch.Tensor:
        """Of all weights; biases are free."""
        weights = (self.linear, self.hidden, self.output)
        return torch.stack([(weight**2).sum() for weight in weights]).sum()

    def minimise(self, objective: Callable[[], torch.Tensor], num_steps: int) -> None:
        parameters = [self.bias, self.linear, self.hidden, self.hidden_bias, self.output]
        optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=num_steps,
            tolerance_grad=1e-9,
            tolerance_change=1e-13,
            line_search_fn="strong_wolfe",
        )

        def evaluated() -> float:
            optimizer.zero_grad()
            loss = objective()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        optimizer.step(evaluated)  # type: ignore[no-untyped-call]

    def frozen(self, centre: FloatArray, scale: FloatArray) -> SourceNetwork:
        """The network for features that are not standardised yet."""
        return SourceNetwork(
            centre=tuple(centre.tolist()),
            scale=tuple(scale.tolist()),
            bias=self.bias.item(),
            linear=tuple(self.linear.tolist()),
            hidden=tuple(map(tuple, self.hidden.tolist())),
            hidden_bias=tuple(self.hidden_bias.tolist()),
            output=tuple(self.output.tolist()),
        )


def _tensor(arrays: Sequence[FloatArray], num_padded_axes: int) -> torch.Tensor:
    """`[len(arrays), ...]` in float64, filled up with zeros."""
    return torch.tensor(padded(arrays, num_padded_axes))
