"""Rules that read from the scores of a screen how many units to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from attribot.attributors.keep import RankedUnits
from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError
from attribot.types import Attribution, BoolArray, FloatArray, IntArray, Level

Distance = Literal["gap", "rank", "rank_share"]

# Sums of shares, such as 1 - 0.9, are this exact at best.
ROUNDING = 1e-12


@runtime_checkable
class OutlierRule(Protocol):
    """Marks the scores that stand out, such as the rules of `attribot.evaluation.outliers`."""

    def __call__(self, scores: FloatArray) -> BoolArray:
        """`[n]` True where a score of `scores` `[n]` stands out."""
        ...


@dataclass(frozen=True)
class KeepGap:
    """The units before the largest gap between neighbours in the screen's ranking.

        k = argmax over min_k <= k <= max_k of s_k - s_(k+1),  s_1 >= s_2 >= ... the unit scores

    Of equal gaps the last counts: where all scores are equal, nothing stands out and `max_k` units
    stay. All units are kept where there are no more than `min_k`, and never otherwise. Units that
    only earlier stages of the screen scored are kept to make up `min_k`. Source: ours.

    min_k, max_k: bounds on the number of units.
    level: as in `TopK`.
    """

    min_k: int = 1
    max_k: int = 10
    level: Level | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.min_k, self.max_k)

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """See `Keep`."""
        ranked = RankedUnits.of_screen(screen, tree, self.level)
        gaps = -np.diff(ranked.scores[: ranked.num_scored])[self.min_k - 1 : self.max_k]
        largest = len(gaps) - 1 - int(np.argmax(gaps[::-1])) if len(gaps) else 0
        return np.sort(ranked.nodes[: self.min_k + largest])


@dataclass(frozen=True)
class KeepOutliers:
    """The units whose scores stand out among those of the screen.

    Where fewer than `min_k` stand out, the best others make up the number; of more than `max_k`
    the best stay. Units that only earlier stages of the screen scored never stand out.
    Source: ours.

    rule: called on the unit scores `[num_units]`; a generous one, such as the generalized ESD at
        alpha 0.5, forgives the screen more.
    min_k, max_k: bounds on the number of units; None sets no upper one.
    level: as in `TopK`.
    """

    rule: OutlierRule
    min_k: int = 1
    max_k: int | None = None
    level: Level | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.min_k, self.max_k)

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """See `Keep`."""
        ranked = RankedUnits.of_screen(screen, tree, self.level)
        is_kept = np.zeros(len(ranked.nodes), dtype=bool)
        is_kept[: ranked.num_scored] = self.rule(ranked.scores[: ranked.num_scored])
        is_kept[: self.min_k] = True
        return np.sort(ranked.nodes[is_kept][: self.max_k])


@dataclass(frozen=True)
class KeepRecall:
    """The units within a calibrated distance of the screen's best unit.

    With the threshold of `recall_threshold`, or of `python -m experiments.calibrate_keep`, the
    survivors hold the asked share of an example's outliers in expectation. The best unit always
    stays; the larger the threshold, the more do. Source: ours, after conformal risk control.

    threshold: at least 0, in the unit of `distance`.
    distance: see `unit_distances`; the one that the threshold was calibrated for.
    level: as in `TopK`.
    """

    threshold: float
    distance: Distance = "gap"
    level: Level | None = None

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise InvalidInputError(
                f"KeepRecall needs a threshold of at least 0; got {self.threshold}"
            )
        _check_distance(self.distance)

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """See `Keep`."""
        ranked = RankedUnits.of_screen(screen, tree, self.level)
        return np.sort(ranked.nodes[unit_distances(ranked, self.distance) <= self.threshold])


def unit_distances(ranked: RankedUnits, distance: Distance) -> FloatArray:
    """`[num_units]` how far each unit lies behind the screen's best: 0 for it, non-decreasing.

    gap: (s_1 - s) / (s_1 - s_n) with s_1 the best and s_n the worst score, so at most 1; 0 where
        all scores are equal, and 2 for units that only earlier stages of the screen scored.
    rank: number of units before it.
    rank_share: that over the number of units.
    """
    _check_distance(distance)
    num_units = len(ranked.nodes)
    if distance == "rank":
        return np.arange(num_units, dtype=np.float64)
    if distance == "rank_share":
        return np.arange(num_units, dtype=np.float64) / num_units
    gaps = np.full(num_units, 2.0)
    scores = ranked.scores[: ranked.num_scored]
    spread = scores[0] - scores[-1]
    gaps[: len(scores)] = (scores[0] - scores) / spread if spread > 0 else 0.0
    return gaps


def recall_threshold(outlier_distances: Sequence[FloatArray], recall: float) -> float:
    """The smallest threshold of `KeepRecall` that keeps the share `recall` of outliers.

    With N calibration examples and miss_i(t) the share of the outliers of example i farther than t,

        threshold = min { t : (sum_i miss_i(t) + 1) / (N + 1) <= 1 - recall }

    The expected recall of a further example is then at least `recall`, whatever the screen's
    quality: a poor screen only keeps more. The expectation is over calibration examples and the
    further one together, which must be exchangeable: examples with outliers of the same data set,
    with the same target, screen, level, distance and outlier rule. Nothing is promised for one
    example, and with few calibration examples their luck moves the recall to either side. With one
    outlier per example the threshold is the ceil((N + 1) recall)-th smallest distance, as in split
    conformal prediction. Source: Angelopoulos et al. 2024, Conformal Risk Control (arXiv
    2208.02814), theorem 1.

    outlier_distances: per calibration example `[num_outliers]`, the `unit_distances` of the units
        that hold its outliers; examples without outliers do not count.

    Raises:
        InvalidInputError: too few examples: even keeping everything would promise less.
    """
    if not 0 < recall < 1:
        raise InvalidInputError(f"recall must lie between 0 and 1, both excluded; got {recall}")
    examples = [distances for distances in outlier_distances if len(distances)]
    needed = int(np.ceil(recall / (1 - recall) - ROUNDING))
    if len(examples) < needed:
        raise InvalidInputError(
            f"a recall of {recall} needs at least {needed} calibration examples with outliers; "
            f"got {len(examples)}: use more examples or ask for less"
        )
    every = np.concatenate(examples)
    shares = np.concatenate([np.full(len(d), 1 / len(d)) for d in examples])
    order = np.argsort(every, kind="stable")
    kept = np.cumsum(shares[order])
    misses = len(examples) - kept
    reaches = (misses + 1) / (len(examples) + 1) <= 1 - recall + ROUNDING
    return float(every[order][np.argmax(reaches)])


def _check_bounds(min_k: int, max_k: int | None) -> None:
    if min_k < 1 or (max_k is not None and max_k < min_k):
        raise InvalidInputError(
            f"expected 1 <= min_k <= max_k units to keep; got min_k={min_k}, max_k={max_k}"
        )


def _check_distance(distance: str) -> None:
    if distance not in get_args(Distance):
        raise InvalidInputError(
            f"distance must be one of {list(get_args(Distance))}; got {distance!r}"
        )
