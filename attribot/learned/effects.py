"""What random ablations of an example do: the lessons of all learned attributors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.subsets import SubsetValues, chosen_subsets
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer, TokenScorer
from attribot.types import BoolArray, FloatArray

AttributorT = TypeVar("AttributorT", bound=Attributor, covariant=True)
MIN_ABLATIONS = 4


@dataclass(frozen=True, eq=False)
class Effects:
    """Ablations of one example, all different, and how likely the response is after each.

    masks: `[num_ablations, num_sources]` True = stays; the sources are the problem's candidates.
    log_weights: `[num_ablations]` log of the weight of each in a fit; infinite = must hold exactly.
    log_likelihoods: `[num_ablations]` log p(R | Q, ablation) [nats].
    """

    masks: BoolArray
    log_weights: FloatArray
    log_likelihoods: FloatArray

    @property
    def weights(self) -> FloatArray:
        """`[num_ablations]` those of finite weight, so that they sum to 1; 0 for the others."""
        is_finite = np.isfinite(self.log_weights)
        largest = self.log_weights[is_finite].max(initial=-np.inf)
        weights = np.where(is_finite, np.exp(np.where(is_finite, self.log_weights - largest, 0)), 0)
        return np.asarray(weights / max(weights.sum(), 1.0))


@dataclass(frozen=True, eq=False)
class Lesson:
    """One example to learn from.

    features: `[num_sources, ...]` what one pass over the full prompt tells of each source.
    """

    features: FloatArray
    effects: Effects


class Training(Protocol[AttributorT]):
    """A frozen dataclass of plain settings: how an attributor learns."""

    @property
    def role(self) -> str:
        """The model whose internals are read."""
        ...

    @property
    def is_paired(self) -> bool:
        """An ablation brings its complement along; see `drawn_subsets`."""
        ...

    def log_weights(self, num_sources: int) -> FloatArray:
        """`[num_sources + 1]` log weight of an ablation by the number of sources that stay."""
        ...

    def features(self, problem: Problem, scorer: TokenScorer) -> FloatArray:
        """`[num_sources, ...]` of the problem's candidates."""
        ...

    def fit(self, lessons: Sequence[Lesson], trained_for: TrainedFor) -> AttributorT:
        """The attributor that the lessons teach.

        Raises:
            InvalidInputError: they teach nothing.
        """
        ...


@dataclass(frozen=True)
class AblationSampler:
    """Draws and scores the ablations of an example.

    num_ablations: per example, at most; fewer where there are no more.
    seed: with the example's id it decides the draw, whatever else is in the data set.
    ablation: how sources are removed.

    Raises:
        InvalidInputError: fewer than `MIN_ABLATIONS`.
    """

    num_ablations: int = 32
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.num_ablations < MIN_ABLATIONS:
            raise InvalidInputError(
                f"an example needs at least {MIN_ABLATIONS} ablations to learn from; got "
                f"num_ablations={self.num_ablations}"
            )

    def effects(
        self,
        example_id: str,
        problem: Problem,
        scorer: Scorer,
        log_weights: FloatArray,
        is_paired: bool = False,
    ) -> Effects:
        """Ablations drawn by weight, as `chosen_subsets` does; one forward pass for each.

        log_weights: `[num_sources + 1]`, see `Training`.
        """
        generator = np.random.default_rng([self.seed, zlib.crc32(example_id.encode())])
        masks, weights = chosen_subsets(log_weights, self.num_ablations, generator, is_paired)
        values = SubsetValues(problem, scorer, self.ablation)
        return Effects(masks, weights, values.of(masks))

    def uniform_effects(self, example_id: str, problem: Problem, scorer: Scorer) -> Effects:
        """Each source stays with probability 1/2: what AT2 learns from, and all are judged by."""
        log_weights = np.zeros(int(problem.candidates.sum()) + 1)
        return self.effects(example_id, problem, scorer, log_weights)


def padded(arrays: Sequence[FloatArray], num_padded_axes: int) -> FloatArray:
    """`[len(arrays), ...]` stacked; the first axes of each are filled up with zeros."""
    longest = max(len(array) for array in arrays)
    return np.stack(
        [
            np.pad(
                array,
                [(0, longest - len(array))] * num_padded_axes
                + [(0, 0)] * (array.ndim - num_padded_axes),
            )
            for array in arrays
        ]
    )
