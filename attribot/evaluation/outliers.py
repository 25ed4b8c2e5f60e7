"""Which sources stand out among the scores of one example: the relevant items of the headline mAP.

A rule is a frozen dataclass called on scores `[n]`; `is_outlier` adds what holds for every rule.
Standard deviations are sample ones (ddof = 1) everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import stats

from attribot.errors import InvalidInputError
from attribot.types import BoolArray, FloatArray

# Below three values a spread is either zero or the difference itself: nothing can stand out.
MIN_SOURCES_FOR_SPREAD = 3


@dataclass(frozen=True)
class OutlierRule(ABC):
    """Marks the scores that stand out.

    two_sided: scores far below the others stand out too, and negative scores can be outliers.
    """

    two_sided: bool = field(default=False, kw_only=True)

    @abstractmethod
    def __call__(self, scores: FloatArray) -> BoolArray:
        """`[n]` True where a score of `scores` `[n]` stands out, whatever its sign."""

    def distance(self, scores: FloatArray, center: float) -> FloatArray:
        """`[n]` how far scores lie above `center`, or from it where the rule is two-sided."""
        deviation = scores - center
        return np.abs(deviation) if self.two_sided else deviation


@dataclass(frozen=True)
class GeneralizedESD(OutlierRule):
    """Generalized extreme studentized deviate test for up to r outliers.

    With x the scores left after i - 1 removals, R_i = max(x - mean(x)) / sd(x), and

        lambda_i = (n - i) t / sqrt((n - i - 1 + t^2) (n - i + 1)),
        t = the 1 - alpha / (n - i + 1) quantile of Student's t with n - i - 1 degrees of freedom.

    The outliers are the l largest scores, l the largest i with R_i > lambda_i (so a masked
    R_1 does no harm), i <= r = max(1, floor(max_share n)), at most `max_count`. Two-sided: |x -
    mean| and alpha / 2. Equal scores are removed in document order. Fewer than three or constant
    scores have no outliers. Source: Rosner 1983, Technometrics 25(2); the upper-tail form and r
    are ours.
    """

    alpha: float = 0.05
    max_share: float = 0.2
    max_count: int = 10

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.max_share <= 1 and self.max_count >= 1):
            raise InvalidInputError(
                "GeneralizedESD needs 0 < alpha < 1, 0 < max_share <= 1 and max_count >= 1; "
                f"got {self}"
            )

    def __call__(self, scores: FloatArray) -> BoolArray:
        n = len(scores)
        # The test needs at least one degree of freedom: n - i - 1 >= 1.
        limit = min(max(1, int(self.max_share * n)), self.max_count, n - 2)
        left = np.arange(n)
        removed: list[int] = []
        num_outliers = 0
        for i in range(1, limit + 1):
            x = scores[left]
            if np.ptp(x) == 0:
                break
            distance = self.distance(x, float(x.mean()))
            furthest = int(distance.argmax())
            removed.append(int(left[furthest]))
            left = np.delete(left, furthest)
            if distance[furthest] / x.std(ddof=1) > self.critical_value(n, i):
                num_outliers = i
        flags = np.zeros(n, dtype=bool)
        flags[removed[:num_outliers]] = True
        return flags

    def critical_value(self, n: int, i: int) -> float:
        """lambda_i of the i-th removal (from 1) among `n` scores."""
        tail = self.alpha / (n - i + 1) / (2 if self.two_sided else 1)
        t = float(stats.t.isf(tail, n - i - 1))
        return float((n - i) * t / np.sqrt((n - i - 1 + t**2) * (n - i + 1)))


@dataclass(frozen=True)
class MeanPlusDeviations(OutlierRule):
    """x - mean > `num_deviations` sd; fewer than three scores have no outliers.

    Among n scores none lies more than (n - 1) / sqrt(n) sd above the mean, so short contexts may
    be unable to have outliers (3 sd: n < 11).
    """

    num_deviations: float

    def __call__(self, scores: FloatArray) -> BoolArray:
        if len(scores) < MIN_SOURCES_FOR_SPREAD or np.ptp(scores) == 0:
            return np.zeros(len(scores), dtype=bool)
        distance = self.distance(scores, float(scores.mean()))
        return np.asarray(distance > self.num_deviations * scores.std(ddof=1))


@dataclass(frozen=True)
class MedianAbsoluteDeviation(OutlierRule):
    """Modified z-score 0.6745 (x - median) / MAD > `threshold`, MAD = median |x - median|.

    Where more than half of the scores are equal, MAD is 0 and every score above them is an
    outlier. Fewer than three scores have none. Source: Iglewicz and Hoaglin 1993.
    """

    threshold: float = 3.5

    def __call__(self, scores: FloatArray) -> BoolArray:
        if len(scores) < MIN_SOURCES_FOR_SPREAD:
            return np.zeros(len(scores), dtype=bool)
        median = float(np.median(scores))
        spread = np.median(np.abs(scores - median))
        return np.asarray(0.6745 * self.distance(scores, median) > self.threshold * spread)


@dataclass(frozen=True)
class InterquartileRange(OutlierRule):
    """x > Q3 + `factor` (Q3 - Q1), quartiles by linear interpolation; two-sided: or x < Q1 - ...

    Fewer than three scores have no outliers. Source: Tukey 1977.
    """

    factor: float = 1.5

    def __call__(self, scores: FloatArray) -> BoolArray:
        if len(scores) < MIN_SOURCES_FOR_SPREAD:
            return np.zeros(len(scores), dtype=bool)
        lower, upper = np.quantile(scores, [0.25, 0.75])
        margin = self.factor * (upper - lower)
        below = (scores < lower - margin) & self.two_sided
        return np.asarray((scores > upper + margin) | below)


@dataclass(frozen=True)
class TopScores(OutlierRule):
    """The `k` largest scores, all of them where there are fewer; equal ones in document order.

    Two-sided: the largest in magnitude.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidInputError(f"TopScores needs k >= 1, got {self.k}")

    def __call__(self, scores: FloatArray) -> BoolArray:
        flags = np.zeros(len(scores), dtype=bool)
        flags[np.argsort(-self.distance(scores, 0.0), kind="stable")[: self.k]] = True
        return flags


PROTOCOL_RULES: Mapping[str, OutlierRule] = MappingProxyType(
    {
        "generalized_esd": GeneralizedESD(),
        "mean_plus_2sd": MeanPlusDeviations(2.0),
        "mean_plus_3sd": MeanPlusDeviations(3.0),
        "mad_z_3.5": MedianAbsoluteDeviation(),
        "q3_plus_1.5iqr": InterquartileRange(),
        "top_1": TopScores(1),
        "top_3": TopScores(3),
    }
)


def configured_rule(config: Mapping[str, Any]) -> OutlierRule:
    """The rule of this module that a run's configuration names, with its settings.

    config: `_target_` and the fields of the rule, as manifests hold them.

    Raises:
        InvalidInputError: the rule is none of this module's, or a setting is none of its.
    """
    known = {f"{rule.__module__}.{rule.__name__}": rule for rule in OutlierRule.__subclasses__()}
    settings = dict(config)
    target = settings.pop("_target_", None)
    if target not in known:
        raise InvalidInputError(f"unknown outlier rule {target!r}; known: {sorted(known)}")
    try:
        rule: OutlierRule = known[target](**settings)
    except TypeError as error:
        raise InvalidInputError(f"{target} does not take the settings {settings}") from error
    return rule


def is_outlier(scores: FloatArray, rule: OutlierRule) -> BoolArray:
    """`[n]` the sources of `scores` `[n]` that `rule` marks.

    Unless the rule is two-sided, only scores > 0 can be outliers.

    Raises:
        InvalidInputError: `scores` is no vector or has values that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise InvalidInputError(
            f"outliers are sought among finite scores [n]; got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} values that are NaN or infinite: pass exact "
            f"scores of every source"
        )
    flags = rule(scores)
    return flags if rule.two_sided else np.asarray(flags & (scores > 0))
