"""Masks and likelihood metrics by hand and by the additive identity."""

import numpy as np
import pytest

from attribot.errors import InvalidInputError
from attribot.evaluation.ablation_curves import (
    TopAblations,
    ablation_auc,
    curve_counts,
    linear_datamodelling_score,
    log_prob_drop,
    log_prob_hold,
    random_masks,
    top_k_masks,
)


def test_top_k_masks_remove_exactly_the_k_best():
    kept = top_k_masks(np.array([1.0, 5.0, 3.0, 5.0]), ks=(1, 3, 9))
    expected = [
        [True, False, True, True],  # the earlier of two tied sources
        [True, False, False, False],
        [False, False, False, False],
    ]
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == bool
    assert top_k_masks(np.arange(3.0), ks=()).shape == (0, 3)


def test_random_masks_keep_the_share_asked_for():
    kept = random_masks(401, 503, 0.2, np.random.default_rng(0))
    assert kept.shape == (401, 503)
    # each row and column within 6 standard errors
    np.testing.assert_allclose(kept.mean(axis=0), 0.2, atol=6 * 0.4 / np.sqrt(401))
    np.testing.assert_allclose(kept.mean(axis=1), 0.2, atol=6 * 0.4 / np.sqrt(503))
    again = random_masks(401, 503, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(kept, again)


def test_drop_and_hold_are_nats_below_the_full_context():
    np.testing.assert_allclose(log_prob_drop(-2.0, [-5.0, -9.5]), [3.0, 7.5])
    np.testing.assert_allclose(log_prob_hold(-2.0, [-2.5, -1.0]), [0.5, -1.0])


def test_lds_is_one_for_the_scores_of_an_additive_model():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=11)
    kept = random_masks(29, 11, 0.5, rng)
    log_likelihoods = -3 + kept @ scores
    assert linear_datamodelling_score(scores, kept, log_likelihoods) == pytest.approx(1)
    assert linear_datamodelling_score(-scores, kept, log_likelihoods) == pytest.approx(-1)


def test_lds_by_hand_with_a_pruned_source():
    kept = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=bool)
    # kept sums 3, 2, 1, 0 against log-likelihoods with the middle two swapped
    lds = linear_datamodelling_score(
        np.array([2.0, 1.0, np.nan]), kept, np.array([-1.0, -3.0, -2.0, -4.0])
    )
    assert lds == pytest.approx(0.8)
    assert np.isnan(linear_datamodelling_score(np.zeros(3), kept, np.arange(4.0)))


def test_bad_input_is_refused():
    kept = np.ones((2, 3), dtype=bool)
    with pytest.raises(InvalidInputError, match=r"bool \[4, 3\]"):
        linear_datamodelling_score(np.zeros(3), kept, np.zeros(4))
    with pytest.raises(InvalidInputError, match="int64"):
        linear_datamodelling_score(np.zeros(3), kept.astype(np.int64), np.zeros(2))
    with pytest.raises(InvalidInputError, match="k >= 1"):
        top_k_masks(np.zeros(3), ks=(1, 0))
    with pytest.raises(InvalidInputError, match="a priority is NaN"):
        top_k_masks(np.array([1.0, np.nan]), ks=(1,))
    with pytest.raises(InvalidInputError, match="strictly between 0 and 1"):
        random_masks(2, 3, 1.0, np.random.default_rng(0))


def test_curve_counts_are_dense_at_the_top_and_complete_where_few():
    assert curve_counts(101, 5).tolist() == [1, 3, 10, 32, 100]
    assert curve_counts(7, 6).tolist() == [1, 2, 3, 4, 5, 6]
    # 1, 1.9, 3.6, 6.7, 12.7, 24 between the ends of 25 sources
    assert curve_counts(25, 6).tolist() == [1, 2, 4, 7, 13, 24]
    assert curve_counts(1, 6).tolist() == []


def test_area_under_a_curve_by_hand():
    # worth 0, 3, 4 nats at shares 0, 1/4, 1: (1.5 / 4 + 3.5 * 3 / 4) / 2 tokens
    assert ablation_auc([0, 1, 4], [-9.0, -6.0, -5.0], 2) == pytest.approx(1.5)
    # a model that knows the response without its context adds nothing, whatever the ratio
    assert ablation_auc([0, 1, 4], [-9.0, -9.0, -9.0], 2) == 0


def values_of(ablations: TopAblations, priority, worth, base: float) -> dict[str, float]:
    """Metrics under a model for which sources add up, of a response of five tokens."""
    masks = ablations.masks(priority)
    return dict(ablations.metrics(base + masks @ worth, 5))


def test_an_additive_model_gives_every_metric_in_closed_form():
    worth = np.array([5.0, -1.0, 3.0, 0.5, 2.0, 0.0, 1.0])
    ablations = TopAblations(7, drop_ks=(1, 3), hold_ks=(2, 7), num_curve_points=6)
    values = values_of(ablations, worth, worth, base=-20.0)
    # partial sums 5, 8, 10, 11, 11.5, 11.5, 10.5 of the best; trapezoids over seven steps
    kept = np.array([0, 5, 8, 10, 11, 11.5, 11.5, 10.5])
    insertion = (kept[:-1] + kept[1:]).mean() / 2 / 5
    expected = {
        "log_prob_drop@1": 5.0,
        "log_prob_drop@3": 10.0,
        "log_prob_hold@2": 2.5,
        "log_prob_hold@7": 0.0,
        "insertion_auc": insertion,
        "deletion_auc": 10.5 / 5 - insertion,
    }
    assert list(values) == list(expected)
    np.testing.assert_allclose(list(values.values()), list(expected.values()), atol=1e-12)


def test_better_rankings_have_larger_insertion_and_smaller_deletion_areas():
    worth = np.linspace(3, 0.1, 31)
    ablations = TopAblations(31, num_curve_points=6)
    best, worst = (values_of(ablations, sign * worth, worth, base=0.0) for sign in (1, -1))
    assert best["insertion_auc"] > worst["insertion_auc"]
    assert best["deletion_auc"] < worst["deletion_auc"]
    # What the best keeps first the worst leaves until last.
    assert best["insertion_auc"] == pytest.approx(worst["deletion_auc"])


def test_every_ablation_is_asked_for_once_and_none_without_need():
    ablations = TopAblations(25, drop_ks=(1, 3), hold_ks=(1, 2, 5), num_curve_points=6)
    assert ablations.removed_counts == (1, 2, 3, 4, 7, 13, 24, 25)
    assert ablations.kept_counts == (1, 2, 4, 5, 7, 13, 24)
    masks = ablations.masks(np.arange(25.0))
    left = [25 - k for k in ablations.removed_counts]
    assert masks.sum(axis=1).tolist() == [25, *left, *ablations.kept_counts]
    assert TopAblations(25).masks(np.arange(25.0)).shape == (0, 25)
    # One source: its curve leads from nothing to all of it.
    only = values_of(TopAblations(1, num_curve_points=6), np.ones(1), np.array([4.0]), base=-1.0)
    assert only == {"insertion_auc": pytest.approx(0.4), "deletion_auc": pytest.approx(0.4)}


def test_bad_curves_are_refused():
    for kept in ([0, 2, 1], [1, 2, 3], [0, 0, 3]):
        with pytest.raises(InvalidInputError, match="which grows from 0 to all"):
            ablation_auc(kept, np.zeros(3), 1)
    with pytest.raises(InvalidInputError, match="with 2 log-likelihoods"):
        ablation_auc([0, 1, 3], np.zeros(2), 1)
    with pytest.raises(InvalidInputError, match="num_response_tokens >= 1, got 0"):
        ablation_auc([0, 3], np.zeros(2), 0)
