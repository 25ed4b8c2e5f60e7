"""Ranking metrics against brute force over tie orders, scikit-learn and hand-worked cases."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from attribot.errors import InvalidInputError
from attribot.evaluation.faithfulness import (
    auroc,
    expected_average_precision,
    in_document_order,
    kendall,
    ndcg_at_k,
    pearson,
    positive_mass_recovered_at_k,
    precision_at_k,
    recall_at_k,
    recall_at_share,
    recall_by_count,
    spearman,
    top1_hit,
    top_k_overlap,
)

tied_rankings = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.integers(-2, 5), min_size=n, max_size=n),
    )
)


def tie_orders(priority):
    """Every ranking (source ids, best first) that respects `priority`, equally likely."""
    n = len(priority)
    return [
        list(order)
        for order in permutations(range(n))
        if all(priority[a] >= priority[b] for a, b in pairwise(order))
    ]


def average_precision_of(order, relevant):
    hits, total = 0, 0.0
    for rank, source in enumerate(order, start=1):
        if relevant[source]:
            hits += 1
            total += hits / rank
    return total / hits if hits else float("nan")


@settings(max_examples=80, deadline=None)
@given(tied_rankings)
def test_rank_metrics_are_means_over_all_tie_orders(case):
    priority, relevant, reference = (np.array(x) for x in case)
    orders = tie_orders(priority)
    gains = np.maximum(reference, 0)
    expected_ap = np.mean([average_precision_of(order, relevant) for order in orders])
    np.testing.assert_allclose(expected_average_precision(priority, relevant), expected_ap)
    for k in (1, 2, 7):
        found = np.mean([relevant[order[:k]].sum() for order in orders])
        mass = np.mean([gains[order[:k]].sum() for order in orders])
        if relevant.any():
            np.testing.assert_allclose(precision_at_k(priority, relevant, k), found / k)
            np.testing.assert_allclose(recall_at_k(priority, relevant, k), found / relevant.sum())
        if gains.any():
            share = positive_mass_recovered_at_k(priority, reference, k)
            np.testing.assert_allclose(share, mass / gains.sum())
    hit = np.mean([reference[order[0]] == reference.max() for order in orders])
    np.testing.assert_allclose(top1_hit(priority, reference), hit)


@settings(max_examples=40, deadline=None)
@given(tied_rankings)
def test_ndcg_and_auroc_equal_scikit_learn(case):
    priority, relevant, reference = (np.array(x, dtype=float) for x in case)
    relevant = relevant.astype(bool)
    gains = np.maximum(reference, 0)
    if gains.any() and len(gains) > 1:
        for k in (1, 3):
            expected = ndcg_score(gains[None], priority[None], k=k)
            np.testing.assert_allclose(ndcg_at_k(priority, reference, k), expected)
    if 0 < relevant.sum() < len(relevant):
        np.testing.assert_allclose(auroc(priority, relevant), roc_auc_score(relevant, priority))


def test_average_precision_without_ties_equals_scikit_learn():
    rng = np.random.default_rng(0)
    priority, relevant = rng.permutation(37).astype(float), rng.random(37) < 0.3
    np.testing.assert_allclose(
        expected_average_precision(priority, relevant),
        average_precision_score(relevant, priority),
    )


def test_average_precision_by_hand():
    # ranks of the relevant sources: 1 and 3 -> (1/1 + 2/3) / 2
    priority, relevant = np.array([4.0, 3, 2, 1]), np.array([True, False, True, False])
    assert expected_average_precision(priority, relevant) == pytest.approx(5 / 6)
    # two tied, one relevant: rank 1 or 2 -> (1 + 1/2) / 2
    assert expected_average_precision(np.ones(2), np.array([False, True])) == pytest.approx(0.75)
    # first in document order wins instead
    in_order = in_document_order(np.ones(2))
    assert expected_average_precision(in_order, np.array([False, True])) == 0.5
    assert expected_average_precision(in_order, np.array([True, False])) == 1.0


def test_ndcg_by_hand():
    # gains 3, 0 (negative), 1; ranked 1, 2, 0: DCG@2 = 0 / 1 + 1 / log2(3); ideal = 3 + 1 / log2(3)
    expected = (1 / np.log2(3)) / (3 + 1 / np.log2(3))
    reference = np.array([3.0, -5.0, 1.0])
    assert ndcg_at_k(np.array([0.0, 2.0, 1.0]), reference, 2) == pytest.approx(expected)
    assert positive_mass_recovered_at_k(np.array([0.0, 2.0, 1.0]), reference, 2) == 0.25


def test_correlations_by_hand():
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 40.0])
    assert spearman(first, second) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert kendall(first, second) == pytest.approx(4 / 6)  # 5 pairs agree, 1 does not
    # deviations -1.5 -.5 .5 1.5 and -10.5 -8.5 -9.5 28.5: 58 / sqrt(5 * 1085)
    assert pearson(first, second) == pytest.approx(58 / np.sqrt(5 * 1085))
    # tau-b with one tied pair: 2 agreeing of 3, / sqrt((3 - 1) * 3)
    assert kendall(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        2 / np.sqrt(6)
    )


def test_pearson_counts_pruned_sources_as_zero():
    pruned, zeros = np.array([2.0, np.nan, 1.0, np.nan]), np.array([2.0, 0.0, 1.0, 0.0])
    reference = np.array([3.0, 1.0, 1.0, -1.0])
    assert pearson(pruned, reference) == pearson(zeros, reference)
    # deviations 1.25 -.75 .25 -.75 and 2 0 0 -2
    assert pearson(pruned, reference) == pytest.approx(4 / np.sqrt(2.75 * 8))


def test_document_order_breaks_ties_only():
    in_order = in_document_order(np.array([1.0, 7.0, 1.0, 0.0, 7.0]))
    np.testing.assert_array_equal(in_order, [3, 5, 2, 1, 4])


def test_undefined_metrics_are_nan():
    priority, nothing, everything = np.arange(3.0), np.zeros(3, bool), np.ones(3, bool)
    undefined = [
        expected_average_precision(priority, nothing),
        precision_at_k(priority, nothing, 1),
        recall_at_k(priority, nothing, 1),
        auroc(priority, nothing),
        auroc(priority, everything),
        ndcg_at_k(priority, -priority, 1),
        positive_mass_recovered_at_k(priority, -priority, 1),
        spearman(priority, np.ones(3)),
        kendall(np.ones(3), priority),
        pearson(np.full(3, 0.1), priority),
        pearson(np.full(3, np.nan), priority),
    ]
    np.testing.assert_array_equal(undefined, np.full(len(undefined), np.nan))


@pytest.mark.parametrize("metric", [spearman, kendall, pearson, top1_hit])
def test_bad_vectors_are_refused(metric):
    with pytest.raises(InvalidInputError, match=r"shapes \(2,\) and \(3,\)"):
        metric(np.arange(2.0), np.arange(3.0))
    with pytest.raises(InvalidInputError, match="n >= 1"):
        metric(np.array([]), np.array([]))
    with pytest.raises(InvalidInputError, match="must be finite"):
        metric(np.array([1.0, np.inf]), np.arange(2.0))


def test_bad_relevance_and_k_are_refused():
    with pytest.raises(InvalidInputError, match="got dtype int64"):
        expected_average_precision(np.arange(2.0), np.array([0, 1]))
    with pytest.raises(InvalidInputError, match="must be finite"):
        expected_average_precision(np.array([1.0, np.nan]), np.array([True, False]))
    with pytest.raises(InvalidInputError, match="k >= 1, got 0"):
        recall_at_k(np.arange(2.0), np.array([True, False]), 0)


def test_recall_by_count_is_recall_at_every_k():
    priority = np.array([2.0, 5.0, 2.0, 0.0, 2.0, 5.0, 1.0])
    relevant = np.array([1, 0, 1, 0, 0, 1, 0], dtype=bool)
    expected = [0.0, *(recall_at_k(priority, relevant, k) for k in range(1, 8))]
    np.testing.assert_allclose(recall_by_count(priority, relevant), expected)
    nothing = recall_by_count(priority, np.zeros(7, dtype=bool))
    assert np.isnan(nothing).tolist() == [True] * 8


def test_recall_at_a_share_is_the_share_in_a_random_order():
    shares = [0, 0.1, 0.5, 0.77, 1]
    for n in (1, 4, 11):
        relevant = np.arange(n) == n - 1
        np.testing.assert_allclose(recall_at_share(np.zeros(n), relevant, shares), shares)
    # four sources, the second of them relevant: found while the share goes from 1/4 to 1/2
    recall = recall_at_share(np.array([4.0, 3, 2, 1]), np.arange(4) == 1, [0.25, 0.3, 0.375, 0.5])
    np.testing.assert_allclose(recall, [0, 0.2, 0.5, 1])


def test_overlap_of_the_first_k_with_ties():
    first, second = np.array([5.0, 4, 3, 2, 1]), np.array([5.0, 3, 4, 1, 2])
    overlaps = [top_k_overlap(first, second, k) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(overlaps, [1, 1 / 2, 1, 3 / 4])
    assert np.isnan(top_k_overlap(first, second, 5))
    # any of four tied sources: 4 places of probability 1/4 in either ranking
    assert top_k_overlap(np.zeros(4), np.zeros(4), 1) == pytest.approx(1 / 4)
