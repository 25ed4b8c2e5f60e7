"""How well a ranking or scores of sources agree with reference scores or with relevant sources.

`priority` `[n]`: larger = ranked earlier, equal = tied. Rank metrics are expectations over a
uniformly random order within each group of tied sources, in closed form; `in_document_order`
breaks the ties instead. Where a metric is undefined (nothing relevant, a constant vector) it is
NaN, which `statistics` leaves out of means and counts. Where `k` exceeds the number of sources,
all are retrieved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from attribot.errors import InvalidInputError
from attribot.types import BoolArray, FloatArray, IntArray


def expected_average_precision(priority: FloatArray, relevant: BoolArray) -> float:
    """Average precision of `priority` `[n]` for finding `relevant` `[n]`, ties in random order.

        AP = 1/R sum over relevant sources of (relevant ones up to its rank) / (its rank)

    In a tie group of g sources, r of them relevant, after s sources, c of them relevant, place j
    (from 0) holds a relevant source with probability r / g, and then j (r - 1) / (g - 1) relevant
    ones are expected before it in the group. NaN where nothing is relevant. Source of the
    idea: McSherry and Najork 2008; the closed form is derived as above.

    Raises:
        InvalidInputError: the vectors are empty, differ in length or hold NaN or infinity, or
            `relevant` is not bool; so for all functions below.
    """
    priority, relevant = _with_relevant(priority, relevant)
    if not relevant.any():
        return float("nan")
    group, sizes = _tie_groups(priority)
    hits = np.bincount(group, weights=relevant)
    hits_before = np.cumsum(hits) - hits
    first_place = np.cumsum(sizes) - sizes
    of_place = np.repeat(np.arange(len(sizes)), sizes)
    g, r, c = sizes[of_place], hits[of_place], hits_before[of_place]
    rank = np.arange(len(priority))
    place = rank - first_place[of_place]
    # In a group of one, place is 0: the denominator is irrelevant there.
    expected_hits = c + 1 + place * (r - 1) / np.maximum(g - 1, 1)
    return float((r / g * expected_hits / (rank + 1)).sum() / relevant.sum())


def precision_at_k(priority: FloatArray, relevant: BoolArray, k: int) -> float:
    """Expected share of relevant sources among the first `k`; NaN where nothing is relevant.

    Divided by `k` also where there are fewer than `k` sources.
    """
    priority, relevant = _with_relevant(priority, relevant)
    if not relevant.any():
        return float("nan")
    return float(_retrieval_probability(priority, k)[relevant].sum() / k)


def recall_at_k(priority: FloatArray, relevant: BoolArray, k: int) -> float:
    """Expected share of the relevant sources found in the first `k`; NaN where there are none."""
    priority, relevant = _with_relevant(priority, relevant)
    if not relevant.any():
        return float("nan")
    return float(_retrieval_probability(priority, k)[relevant].mean())


def recall_by_count(priority: FloatArray, relevant: BoolArray) -> FloatArray:
    """`[n + 1]` expected share of the relevant sources among the first 0, 1, ..., n.

    NaN where nothing is relevant.
    """
    priority, relevant = _with_relevant(priority, relevant)
    if not relevant.any():
        return np.full(len(priority) + 1, np.nan)
    group, sizes = _tie_groups(priority)
    hits = np.repeat(np.bincount(group, weights=relevant) / sizes, sizes)
    return np.concatenate([[0.0], np.cumsum(hits) / relevant.sum()])


def recall_at_share(priority: FloatArray, relevant: BoolArray, shares: ArrayLike) -> FloatArray:
    """`[num_shares]` expected recall where a share of all sources, from 0 to 1, is kept.

    Linear between whole numbers of sources: of a fraction, the next source is kept with that
    probability. So a random order has recall x at share x for every n. Source: ours.
    """
    recall = recall_by_count(priority, relevant)
    num_kept = np.asarray(shares, dtype=np.float64) * len(priority)
    return np.asarray(np.interp(num_kept, np.arange(len(recall)), recall))


def top_k_overlap(first: FloatArray, second: FloatArray, k: int) -> float:
    """Expected share of the first `k` sources that two rankings have in common.

    Ties are broken at random in either ranking on its own, so a ranking with a tie at its k-th
    place agrees with itself in part only. NaN where there are no more than `k` sources.
    """
    first, second = _same_sources(first, second)
    if len(first) <= k:
        return float("nan")
    return float(_retrieval_probability(first, k) @ _retrieval_probability(second, k) / k)


def auroc(priority: FloatArray, relevant: BoolArray) -> float:
    """Probability that a relevant source outranks an irrelevant one, ties counting 1/2.

    NaN where all sources are relevant or none is.
    """
    priority, relevant = _with_relevant(priority, relevant)
    num_relevant = int(relevant.sum())
    num_pairs = num_relevant * (len(relevant) - num_relevant)
    if num_pairs == 0:
        return float("nan")
    rank_sum = stats.rankdata(priority)[relevant].sum()
    return float((rank_sum - num_relevant * (num_relevant + 1) / 2) / num_pairs)


def top1_hit(priority: FloatArray, reference: FloatArray) -> float:
    """Probability that the first source has the largest reference score (any that share it)."""
    priority, reference = _same_sources(priority, reference)
    return float(_retrieval_probability(priority, 1)[reference == reference.max()].sum())


def positive_mass_recovered_at_k(priority: FloatArray, reference: FloatArray, k: int) -> float:
    """Expected sum of max(reference, 0) over the first `k`, as a share of its sum over all.

    NaN where no reference score is positive. Source: ours.
    """
    priority, reference = _same_sources(priority, reference)
    gains = np.maximum(reference, 0)
    if not gains.any():
        return float("nan")
    return float(_retrieval_probability(priority, k) @ gains / gains.sum())


def ndcg_at_k(priority: FloatArray, reference: FloatArray, k: int) -> float:
    """Expected discounted gain of the first `k` over the best possible one.

        DCG = sum over ranks j = 1..k of max(reference, 0) / log2(j + 1)

    NaN where no reference score is positive. Source: Jarvelin and Kekalainen 2002; ties as in
    McSherry and Najork 2008.
    """
    priority, reference = _same_sources(priority, reference)
    gains = np.maximum(reference, 0)
    if not gains.any():
        return float("nan")
    ranks = np.arange(len(gains))
    discounts = _is_retrieved(len(gains), k) / np.log2(ranks + 2)
    ideal = float(discounts @ -np.sort(-gains))
    return float(_expected_at_rank(priority, discounts) @ gains / ideal)


def spearman(priority: FloatArray, reference: FloatArray) -> float:
    """Pearson correlation of mid-ranks; NaN where either vector is constant."""
    priority, reference = _same_sources(priority, reference)
    if _is_constant(priority) or _is_constant(reference):
        return float("nan")
    return float(stats.spearmanr(priority, reference).statistic)


def kendall(priority: FloatArray, reference: FloatArray) -> float:
    """Kendall's tau-b (corrected for ties); NaN where either vector is constant."""
    priority, reference = _same_sources(priority, reference)
    if _is_constant(priority) or _is_constant(reference):
        return float("nan")
    return float(stats.kendalltau(priority, reference, variant="b").statistic)


def pearson(scores: FloatArray, reference: FloatArray) -> float:
    """Linear correlation of `scores` `[n]` and `reference` `[n]`; NaN where either is constant.

    NaN scores (pruned sources) count as 0, "no sign of an effect": what a method says of a source
    it dropped without giving it a final score.
    """
    scores, reference = _same_sources(np.where(np.isnan(scores), 0.0, scores), reference)
    if _is_constant(scores) or _is_constant(reference):
        return float("nan")
    return float(stats.pearsonr(scores, reference).statistic)


def in_document_order(priority: FloatArray) -> FloatArray:
    """`[n]` the same ranking with every tie broken in favour of the earlier source."""
    order = np.argsort(-priority, kind="stable")
    untied = np.empty(len(priority))
    untied[order] = np.arange(len(priority), 0, -1)
    return untied


def _with_relevant(priority: FloatArray, relevant: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Both as vectors `[n]`, checked."""
    relevant = np.asarray(relevant)
    if relevant.dtype != np.bool_:
        raise InvalidInputError(f"relevant sources are bool [n]; got dtype {relevant.dtype}")
    return _same_sources(priority, relevant)[0], relevant


def _same_sources(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float vectors `[n]`, checked."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise InvalidInputError(
            f"expected two vectors [n] over the same sources, n >= 1; got shapes {a.shape} and "
            f"{b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidInputError(
            "rankings, scores and references must be finite: rank pruned sources by "
            "Attribution.priority, take references from a method that scores every source"
        )
    return a, b


def _tie_groups(priority: FloatArray) -> tuple[IntArray, IntArray]:
    """Group of each source `[n]`, best group first, and size of each group `[num_groups]`."""
    _, group, sizes = np.unique(-priority, return_inverse=True, return_counts=True)
    return group, sizes


def _expected_at_rank(priority: FloatArray, weights: FloatArray) -> FloatArray:
    """`[n]` expected weight of each source, where rank j = 0..n-1 carries `weights[j]`."""
    group, sizes = _tie_groups(priority)
    of_place = np.repeat(np.arange(len(sizes)), sizes)
    mean_weights = np.bincount(of_place, weights=weights) / sizes
    return np.asarray(mean_weights[group])


def _is_retrieved(num_sources: int, k: int) -> BoolArray:
    if k < 1:
        raise InvalidInputError(f"k counts the sources looked at: expected k >= 1, got {k}")
    return np.asarray(np.arange(num_sources) < k)


def _retrieval_probability(priority: FloatArray, k: int) -> FloatArray:
    """`[n]` probability that each source is among the first `k`."""
    return _expected_at_rank(priority, _is_retrieved(len(priority), k).astype(np.float64))


def _is_constant(vector: FloatArray) -> bool:
    return bool(np.ptp(vector) == 0)
