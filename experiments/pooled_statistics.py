"""Statistics of the values of all examples together, questions resampled.

`values`: per question `[n, 2]`, the pairs of its sources or paragraphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from attribot.evaluation.statistics import NUM_RESAMPLES, Interval
from attribot.types import FloatArray, IntArray

Statistic = Callable[[FloatArray], float]


def pooled_interval(
    statistic: Statistic, values: Sequence[FloatArray], *, seed: int = 0
) -> Interval:
    """`statistic` of all pairs, with a 95% percentile bootstrap interval over questions.

    Resamples for which the statistic is undefined say nothing about it and are left out. The
    interval counts questions.
    """
    count = len(values)
    if count == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    rows = np.random.default_rng(seed).integers(count, size=(NUM_RESAMPLES, count))
    found = [statistic(np.concatenate([values[i] for i in row])) for row in rows.tolist()]
    estimates = np.asarray(found)[~np.isnan(found)]
    low, high = float("nan"), float("nan")
    if count > 1 and len(estimates):
        low, high = (float(end) for end in np.quantile(estimates, [0.025, 0.975]))
    return Interval(statistic(np.concatenate(values)), low, high, count, 0)


def by_question(pairs: Sequence[FloatArray], questions: IntArray) -> list[FloatArray]:
    """The pairs `[n, 2]` of examples, those of one question together; without empty ones."""
    merged = [
        np.concatenate([one for one, of in zip(pairs, questions, strict=True) if of == question])
        for question in np.unique(questions)
    ]
    return [values for values in merged if len(values)]


def pooled_pearson(pairs: FloatArray) -> float:
    """Linear correlation of the columns of `[n, 2]`; NaN where either is constant."""
    if len(pairs) == 0 or (pairs == pairs[0]).all(axis=0).any():
        return float("nan")
    (xx, xy), (_, yy) = _sums_of_products(pairs)
    return float(xy / np.sqrt(xx * yy))


def pooled_spearman(pairs: FloatArray) -> float:
    """Linear correlation of the mid-ranks of the columns; NaN where either is constant."""
    return pooled_pearson(np.asarray(stats.rankdata(pairs, axis=0)))


def slope(pairs: FloatArray) -> float:
    """Of the least-squares line of the second column on the first; NaN for a constant first."""
    if len(pairs) == 0 or (pairs[:, 0] == pairs[0, 0]).all():
        return float("nan")
    (xx, xy), _ = _sums_of_products(pairs)
    return float(xy / xx)


def _sums_of_products(pairs: FloatArray) -> FloatArray:
    """`[2, 2]` of the deviations from the means of the columns."""
    centred = pairs - pairs.mean(axis=0)
    return np.asarray(centred.T @ centred)
