"""Ablations to learn from: which are drawn, how they weigh, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from attribot.attributors.subsets import all_masks, beta_log_weights
from attribot.errors import InvalidInputError
from attribot.learned.effects import AblationSampler, Effects, padded
from tests.attributors.fakes import SENTENCES, AdditiveScorer, build_problem
from tests.attributors.games import random_game

WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 5.0, 0.0, 0.0, 1.0, -1.0, 7.0])


def drawn(example_id: str = "castle", seed: int = 0, num_ablations: int = 12) -> Effects:
    scorer = AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))
    sampler = AblationSampler(num_ablations, seed)
    return sampler.uniform_effects(example_id, build_problem(), scorer)


def test_every_ablation_is_scored_once() -> None:
    effects = drawn()
    assert effects.masks.shape == (12, 10)
    assert len(np.unique(effects.masks, axis=0)) == 12
    np.testing.assert_allclose(effects.log_likelihoods, -40.0 + effects.masks @ WEIGHTS)


def test_all_subsets_are_taken_where_they_are_few() -> None:
    problem, scorer = random_game(3)
    effects = AblationSampler(8).uniform_effects("x", problem, scorer)
    np.testing.assert_array_equal(effects.masks, all_masks(3))
    np.testing.assert_allclose(effects.log_likelihoods, scorer.table, rtol=1e-14)
    np.testing.assert_array_equal(effects.weights, np.full(8, 1 / 8))


def test_example_and_seed_decide_the_draw() -> None:
    first = drawn()
    np.testing.assert_array_equal(first.masks, drawn().masks)
    for other in (drawn("bridge"), drawn(seed=1)):
        assert (first.masks != other.masks).any()


def test_other_kept_sources_stay() -> None:
    candidates = np.isin(np.arange(10), [0, 2, 5])
    problem = build_problem().restrict(candidates)
    scorer = AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))
    effects = AblationSampler(8).uniform_effects("x", problem, scorer)
    stays = WEIGHTS[~candidates].sum()
    wanted = -40.0 + stays + all_masks(3) @ WEIGHTS[candidates]
    np.testing.assert_allclose(effects.log_likelihoods, wanted)


def test_ends_of_infinite_weight_are_among_the_ablations() -> None:
    scorer = AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))
    effects = AblationSampler(10).effects(
        "x", build_problem(), scorer, beta_log_weights(10, 1.0, 4.0)
    )
    exact = np.isposinf(effects.log_weights)
    assert exact.sum() == 1
    assert effects.masks[exact].all()
    assert len(effects.masks) == 10
    assert effects.weights[exact] == 0
    np.testing.assert_allclose(effects.weights.sum(), 1.0)


def test_weights_by_hand() -> None:
    effects = Effects(
        np.zeros((4, 2), dtype=bool), np.log([1.0, 3.0, np.inf, 4.0]) - 900.0, np.zeros(4)
    )
    np.testing.assert_allclose(effects.weights, [1 / 8, 3 / 8, 0.0, 4 / 8])
    both_ends = Effects(np.array([[False], [True]]), np.full(2, np.inf), np.zeros(2))
    np.testing.assert_array_equal(both_ends.weights, [0.0, 0.0])


def test_too_few_ablations_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"at least 4 ablations .* got num_ablations=3"):
        AblationSampler(3)


def test_padding_fills_the_first_axes() -> None:
    stacked = padded([np.ones((2, 2)), np.full((3, 3), 2.0)], 2)
    np.testing.assert_array_equal(stacked[0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(stacked[1], np.full((3, 3), 2.0))
    ragged = padded([np.ones((1, 2)), np.ones((3, 2))], 1)
    np.testing.assert_array_equal(ragged[0], [[1, 1], [0, 0], [0, 0]])
