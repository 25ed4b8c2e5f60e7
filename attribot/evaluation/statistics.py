"""Means over examples with bootstrap intervals, and paired comparisons between methods.

The unit of resampling is the example. NaN = missing: left out and counted; where two values belong
to one example, the example is left out if either is missing. The same seed and number of examples
give the same resamples, so that intervals of several methods are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from attribot.errors import InvalidInputError
from attribot.types import FloatArray, IntArray

NUM_RESAMPLES = 2000
# So many sign patterns are held in memory at a time.
FLIPS_AT_ONCE = 4096


@dataclass(frozen=True)
class Interval:
    """An estimate and its percentile bootstrap interval.

    mean: the estimate over the examples present: their mean, or the ratio of their sums.
    low, high: ends of the interval; NaN with fewer than two examples, which show no spread.
    count: examples present. num_missing: examples left out.
    """

    mean: float
    low: float
    high: float
    count: int
    num_missing: int


def mean_interval(
    values: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """Mean of `values` `[num_examples]` with a percentile bootstrap interval.

    The mean of no values is NaN.

    Raises:
        InvalidInputError: a value is infinite, `values` is no vector, or a setting out of range.
    """
    values = _vector(values)
    present = values[~np.isnan(values)]
    count, num_missing = len(present), len(values) - len(present)
    if count == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, num_missing)
    means = present[_resamples(count, seed, num_resamples)].mean(axis=1)
    low, high = _percentiles(means, count, confidence)
    return Interval(float(present.mean()), low, high, count, num_missing)


def paired_difference_interval(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """Mean of `first - second`, both `[num_examples]` over the same examples; see `mean_interval`.

    Raises:
        InvalidInputError: the lengths differ, or as `mean_interval`.
    """
    first, second = _paired(first, second)
    return mean_interval(
        first - second, seed=seed, num_resamples=num_resamples, confidence=confidence
    )


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """`sum(numerator) / sum(denominator)`, both `[num_examples]`, examples resampled in pairs.

    Raises:
        InvalidInputError: a denominator is not positive, or as `paired_difference_interval`.
    """
    numerator, denominator = _paired(numerator, denominator)
    is_present = ~(np.isnan(numerator) | np.isnan(denominator))
    top, bottom = numerator[is_present], denominator[is_present]
    if (bottom <= 0).any():
        raise InvalidInputError(
            f"a ratio of sums needs positive denominators; the smallest is {bottom.min()}"
        )
    count, num_missing = len(top), len(numerator) - len(top)
    if count == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, num_missing)
    rows = _resamples(count, seed, num_resamples)
    low, high = _percentiles(top[rows].sum(axis=1) / bottom[rows].sum(axis=1), count, confidence)
    return Interval(float(top.sum() / bottom.sum()), low, high, count, num_missing)


def grouped_mean_intervals(
    values: FloatArray,
    groups: IntArray,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
) -> list[Interval]:
    """Means of the columns of `values` `[num_examples, m]`, groups of examples resampled together.

        mean = sum over groups of their sums / sum over groups of their sizes

    groups: `[num_examples]` number what is independent, such as the questions that examples ask.
    Counts are of groups. With one example per group this is `mean_interval`.

    Raises:
        InvalidInputError: a value is NaN or infinite, the lengths differ, or nothing is given.
    """
    sums, sizes = group_sums(values, groups)
    count = len(sizes)
    rows = _resamples(count, seed, num_resamples) + count * np.arange(num_resamples)[:, None]
    times_drawn = np.bincount(rows.ravel(), minlength=num_resamples * count).reshape(-1, count)
    estimates = times_drawn @ sums / (times_drawn @ sizes)[:, None]
    means = sums.sum(axis=0) / sizes.sum()
    return [
        Interval(float(mean), *_percentiles(column, count, confidence), count, 0)
        for mean, column in zip(means, estimates.T, strict=True)
    ]


def sign_flip_p_value(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, num_resamples: int = 10_000
) -> float:
    """Two-sided p value of "the mean of `first - second` is 0", by flipping signs per example.

    Share of sign patterns whose |mean difference| reaches the observed one: all 2^n patterns where
    that is at most `num_resamples`, else random ones plus the observed, which keeps p above 0.
    NaN without any pair. Source: Fisher's randomisation test.

    Raises:
        InvalidInputError: the lengths differ or a value is infinite.
    """
    first, second = _paired(first, second)
    differences = first - second
    differences = differences[~np.isnan(differences)]
    if len(differences) == 0:
        return float("nan")
    return float(sign_flip_p_values(differences[:, None], seed, num_resamples)[0])


def sign_flip_p_values(
    differences: FloatArray, seed: int = 0, num_resamples: int = 10_000
) -> FloatArray:
    """`[m]` p values of "the mean is 0" for the columns of `differences` `[n, m]`, n >= 1.

    As `sign_flip_p_value`, with the same sign patterns for every column; without NaN.
    """
    n = len(differences)
    # Flipped sums that equal the observed one may differ from it by rounding.
    observed = np.abs(differences.sum(axis=0)) - 1e-9 * np.abs(differences).sum(axis=0)
    is_exact = 2**n <= num_resamples
    num_patterns = 2**n if is_exact else num_resamples
    rng = np.random.default_rng(seed)
    num_reached = np.zeros(differences.shape[1])
    for start in range(0, num_patterns, FLIPS_AT_ONCE):
        patterns = np.arange(start, min(start + FLIPS_AT_ONCE, num_patterns))
        if is_exact:
            signs = 1.0 - 2 * (patterns[:, None] >> np.arange(n) & 1)
        else:
            signs = rng.choice([-1.0, 1.0], size=(len(patterns), n))
        num_reached += (np.abs(signs @ differences) >= observed).sum(axis=0)
    return num_reached / num_patterns if is_exact else (num_reached + 1) / (num_patterns + 1)


def holm_adjust(p_values: ArrayLike) -> FloatArray:
    """`[m]` p values adjusted for m tests, in the order given.

        adjusted of the i-th smallest = max over j <= i of min(1, (m - j + 1) p_(j))

    Source: Holm 1979.

    Raises:
        InvalidInputError: a p value lies outside [0, 1] or is NaN.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise InvalidInputError(f"expected p values [m] between 0 and 1; got {p_values.tolist()}")
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return adjusted


def group_sums(values: FloatArray, groups: IntArray) -> tuple[FloatArray, FloatArray]:
    """Sums `[num_groups, m]` of `values` `[n, m]`, and sizes `[num_groups]`, groups as first seen.

    Raises:
        InvalidInputError: see `grouped_mean_intervals`.
    """
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if not np.isfinite(values).all() or groups.shape != (len(values),) or len(values) == 0:
        raise InvalidInputError(
            "groups need a finite value of every column on every example and a number per example; "
            f"got values {list(values.shape)} with {int((~np.isfinite(values)).sum())} not finite "
            f"and groups {list(groups.shape)}"
        )
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    places = np.argsort(np.argsort(first))[group]
    sums = np.zeros((len(first), values.shape[1]))
    np.add.at(sums, places, values)
    return sums, np.bincount(places).astype(np.float64)


def _vector(values: ArrayLike) -> FloatArray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or np.isinf(vector).any():
        raise InvalidInputError(
            f"expected one value per example [num_examples], NaN = missing; got shape "
            f"{vector.shape} with {int(np.isinf(vector).sum())} infinite values"
        )
    return vector


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _vector(first), _vector(second)
    if len(a) != len(b):
        raise InvalidInputError(
            f"paired values belong to the same examples; got {len(a)} and {len(b)} of them: "
            "align them by example id, NaN where one is missing"
        )
    return a, b


def _resamples(count: int, seed: int, num_resamples: int) -> IntArray:
    """`[num_resamples, count]` examples drawn with replacement."""
    if num_resamples < 1:
        raise InvalidInputError(f"num_resamples must be at least 1, got {num_resamples}")
    return np.random.default_rng(seed).integers(count, size=(num_resamples, count))


def _percentiles(estimates: FloatArray, count: int, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InvalidInputError(
            f"confidence must lie strictly between 0 and 1 (0.95 for 95%), got {confidence}"
        )
    if count < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(estimates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
