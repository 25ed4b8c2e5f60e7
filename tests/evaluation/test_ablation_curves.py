"""Masks and likelihood metrics by hand and by the additive identity."""

import numpy as np
import pytest

from attribot.errors import InvalidInputError
from attribot.evaluation.ablation_curves import (
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
