"""CAMAB on planted likelihoods: its posterior, its winners, its budget and its end."""

from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.camab import CAMAB, gaussian_draws
from attribot.errors import InvalidInputError
from tests.attributors.fakes import SENTENCES, AdditiveScorer, RedundantScorer, build_problem

WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 5.0, 0.0, 0.0, 1.0, -1.0, 7.0])


def planted() -> AdditiveScorer:
    return AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))


@pytest.mark.parametrize(
    ("budget", "round_size", "prior_std", "noise_std"),
    [(3, 4, 1.0, 0.3), (7, 1, 1.0, 0.3), (17, 4, 0.5, 0.1), (64, 5, 2.0, 0.7)],
)
def test_scores_are_the_posterior_mean_of_what_was_asked(
    budget: int, round_size: int, prior_std: float, noise_std: float
) -> None:
    scorer = planted()
    method = CAMAB("target", budget, round_size, prior_std, noise_std)
    attribution = method.attribute(build_problem(), {"target": scorer})
    masks = np.array([[int(text in prompt) for text in SENTENCES] for prompt in scorer.prompts])
    np.testing.assert_array_equal(masks[:2], [[0] * 10, [1] * 10])
    # The total effect of all sources is 13; a posterior mean is a ridge regression.
    rewards = masks @ WEIGHTS / 13
    ridge = masks.T @ masks + np.eye(10) * (noise_std / prior_std) ** 2
    wanted = 13 * np.linalg.inv(ridge) @ masks.T @ rewards
    np.testing.assert_allclose(attribution.scores, wanted, atol=1e-9)
    assert attribution.base_log_likelihood == pytest.approx(-40 + 13)
    assert len(set(scorer.prompts)) == len(scorer.prompts) == budget
    assert attribution.cost.forward_passes == budget


def test_little_noise_recovers_an_additive_game() -> None:
    method = CAMAB(budget=40, noise_std=1e-4)
    scores = method.attribute(build_problem(), {"target": planted()}).scores
    np.testing.assert_allclose(scores, WEIGHTS, atol=1e-3)


def test_winners_are_found_with_fewer_passes_than_leave_one_out_takes() -> None:
    sentences = [f"Fact {number:02d} holds." for number in range(60)]
    problem = build_problem(paragraphs=[sentences[:7], sentences[7:]])
    weights = np.random.default_rng(3).normal(scale=0.1, size=60)
    weights[[4, 31, 58]] = [9.0, 4.0, 6.0]
    scorer = AdditiveScorer.planted(problem, weights.tolist())
    attribution = CAMAB(budget=50).attribute(problem, {"target": scorer})
    assert set(np.argsort(-attribution.scores)[:3]) == {4, 31, 58}
    assert attribution.cost.forward_passes == 50


def test_rounds_learn_what_to_keep() -> None:
    scorer = planted()
    CAMAB(budget=60).attribute(build_problem(), {"target": scorer})
    late = np.array([[text in prompt for text in SENTENCES] for prompt in scorer.prompts[-20:]])
    assert late[:, WEIGHTS >= 5].mean() > 0.9
    assert late[:, WEIGHTS == -2].mean() < 0.2


def test_a_redundant_pair_scores_above_the_rest_on_average() -> None:
    problem = build_problem()
    scorers = {"target": RedundantScorer.planted(problem, (1, 8), 6.0)}
    methods = [CAMAB(budget=48, seed=seed) for seed in range(20)]
    scores = np.mean([method.attribute(problem, scorers).scores for method in methods], axis=0)
    assert scores[[1, 8]].min() > 1.5
    assert np.abs(np.delete(scores, [1, 8])).max() < 0.75


@pytest.mark.parametrize("weight", [3.0, -2.0])
def test_one_source_is_shrunk_towards_the_prior(weight: float) -> None:
    # r is 1 or -1 for the only mask but "none": its posterior mean is r / (1 + noise^2 / prior^2).
    problem = build_problem(paragraphs=[["Only one."]])
    scorer = AdditiveScorer({"Only one.": weight})
    attribution = CAMAB(noise_std=0.3).attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, [weight / 1.09])
    assert attribution.cost.forward_passes == len(scorer.prompts) == 2


def test_it_ends_when_there_is_no_new_mask() -> None:
    problem = build_problem((2,))
    scorer = AdditiveScorer.planted(problem, [1.0, 0.5])
    attribution = CAMAB(budget=100, round_size=50).attribute(problem, {"target": scorer})
    assert attribution.cost.forward_passes == len(set(scorer.prompts)) == len(scorer.prompts) == 4


def test_effects_that_cancel_have_the_scale_of_one_nat() -> None:
    problem = build_problem((2,))
    scorer = AdditiveScorer.planted(problem, [2.0, -2.0])
    scores = CAMAB(budget=9, noise_std=1e-4).attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, [2.0, -2.0], atol=1e-6)


def test_the_seed_decides() -> None:
    first, again, other = (
        CAMAB(budget=9, seed=seed).attribute(build_problem(), {"target": planted()}).scores
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_other_kept_sources_stay_and_removed_ones_stay_away() -> None:
    scorer, full = planted(), build_problem()
    kept = full.tree.remove(full.tree.all_kept(), [full.tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 2, 9])
    method = CAMAB(noise_std=1e-4)
    attribution = method.attribute(full.restrict(candidates, kept), {"target": scorer})
    np.testing.assert_allclose(attribution.scores, np.where(candidates, WEIGHTS, np.nan), atol=1e-3)
    assert attribution.cost.forward_passes == len(set(scorer.prompts)) <= 8
    assert all(SENTENCES[1] in prompt for prompt in scorer.prompts)
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


def test_equal_sentences_and_an_empty_paragraph() -> None:
    problem = build_problem(paragraphs=[["Same.", "Same."], []])
    method = CAMAB(noise_std=1e-4, round_size=20)
    scores = method.attribute(problem, {"target": AdditiveScorer({"Same.": 2.0})}).scores
    np.testing.assert_allclose(scores, [2.0, 2.0], atol=1e-3)


def test_draws_have_the_mean_and_covariance_asked_for() -> None:
    mean, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.9], [0.9, 0.5]])
    draws = gaussian_draws(mean, np.linalg.inv(covariance), 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.03)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"budget": 2}, "at least 3 passes: all candidates, none, and one mask; got 2"),
        ({"round_size": 0}, "round_size must be at least 1; got 0"),
        ({"prior_std": 0.0}, "must be positive; got 0.0 and 0.3"),
        ({"noise_std": -1.0}, "must be positive; got 1.0 and -1.0"),
    ],
)
def test_settings_outside_their_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        CAMAB(**setting)


def test_the_ablation_is_the_one_asked_for() -> None:
    with pytest.raises(InvalidInputError, match="AdditiveScorer cannot mask parts of a prompt"):
        CAMAB(ablation=Mask()).attribute(build_problem(), {"target": AdditiveScorer({})})
