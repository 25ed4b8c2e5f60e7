"""What FW-Shapley learns: exact semivalues where it may, planted effects where it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.learned.effects import AblationSampler, Effects, Lesson
from attribot.learned.fw_shapley import FWShapleyTraining, equations
from attribot.types import FloatArray
from tests.attributors.fakes import build_problem
from tests.attributors.games import GameScorer, beta_share, random_game, semivalue_of
from tests.attributors.heads import PlantedHeads, planted_masses

PLANTED = TrainedFor.of("planted", {"weights": "planted"})
SEMIVALUES = [(1.0, 1.0), (1.0, 4.0), (4.0, 1.0), (2.0, 3.0), (3.0, 3.0), (1.0, None)]


def free_form(alpha: float, beta: float | None) -> FWShapleyTraining:
    """With one feature per source, a linear map without a penalty may give any scores."""
    return FWShapleyTraining(alpha=alpha, beta=beta, num_hidden=0, penalty=0.0)


def exact_values(scorer: GameScorer, alpha: float, beta: float | None) -> FloatArray:
    """The semivalue as it is defined."""
    if beta is not None:
        return semivalue_of(scorer.table, beta_share(alpha, beta))
    full = len(scorer.table) - 1
    without = [full ^ 1 << source for source in range(full.bit_length())]
    return np.asarray(scorer.table[full] - scorer.table[without])


def free_scores(training: FWShapleyTraining, effects: Effects) -> FloatArray:
    identity = np.eye(effects.masks.shape[1])
    return training.fitted_network([Lesson(identity, effects)]).of(identity)


@pytest.mark.parametrize("num_sources", [1, 2, 5])
@pytest.mark.parametrize(("alpha", "beta"), SEMIVALUES)
def test_free_scores_are_the_semivalue(alpha: float, beta: float | None, num_sources: int) -> None:
    training = free_form(alpha, beta)
    problem, scorer = random_game(num_sources)
    effects = AblationSampler(32).effects(
        "x", problem, scorer, training.log_weights(num_sources), training.is_paired
    )
    scores = free_scores(training, effects)
    np.testing.assert_allclose(scores, exact_values(scorer, alpha, beta), atol=1e-4)


def test_free_scores_of_two_examples_are_those_of_each() -> None:
    training, lessons, wanted = free_form(1.0, 1.0), [], []
    features = np.eye(7)
    for num_sources, rows in ((3, features[:3]), (4, features[3:])):
        problem, scorer = random_game(num_sources, seed=num_sources)
        effects = AblationSampler(16).effects(
            "x", problem, scorer, training.log_weights(num_sources), training.is_paired
        )
        lessons.append(Lesson(rows, effects))
        wanted.append(exact_values(scorer, 1.0, 1.0))
    scores = training.fitted_network(lessons).of(features)
    np.testing.assert_allclose(scores, np.concatenate(wanted), atol=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), SEMIVALUES)
def test_draws_of_an_additive_game_are_enough(alpha: float, beta: float | None) -> None:
    """Fewer ablations than subsets; the order of the exact ones must not matter."""
    training, problem = free_form(alpha, beta), build_problem([9])
    weights = np.random.default_rng(1).normal(0.0, 3.0, 9)
    scorer = PlantedHeads.linear(problem, planted_masses(9), weights)
    drawn = AblationSampler(40).effects(
        "x", problem, scorer, training.log_weights(9), training.is_paired
    )
    assert len(drawn.masks) < 2**9
    np.testing.assert_allclose(free_scores(training, drawn), weights, atol=1e-3)
    backwards = Effects(drawn.masks[::-1], drawn.log_weights[::-1], drawn.log_likelihoods[::-1])
    np.testing.assert_allclose(free_scores(training, backwards), weights, atol=1e-3)


def test_the_equations_of_shapley_by_hand() -> None:
    masks = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=bool)
    effects = Effects(masks, np.array([np.inf, 0.0, 0.0, np.inf]), np.array([1.0, 4.0, 2.0, 9.0]))
    design, values, weights = equations(effects)
    # phi_1 + phi_2 = 8; half of it taken from each single source.
    np.testing.assert_allclose(design, [[0, 0], [0.5, -0.5], [-0.5, 0.5], [1, 1]])
    np.testing.assert_allclose(values, [0.0, 3.0 - 4.0, 1.0 - 4.0, 8.0])
    np.testing.assert_allclose(weights, [0.0, 0.5, 0.5, 0.5])


def lesson_of(num_sources: int, seed: int, training: FWShapleyTraining) -> Lesson:
    """The effect of a source is 2 relative attention in layer 0, minus 3 places, plus 1."""
    problem, masses = build_problem([num_sources]), planted_masses(num_sources, seed=seed)
    scorer = PlantedHeads.linear(problem, masses, planted_effects(masses))
    effects = AblationSampler(16, seed).effects(
        "x", problem, scorer, training.log_weights(num_sources), training.is_paired
    )
    return Lesson(training.features(problem, scorer), effects)


def planted_effects(masses: FloatArray) -> FloatArray:
    layer = masses[:, 0].mean(axis=1)
    return np.asarray(2.0 * layer / layer.mean() - 3.0 * np.linspace(0, 1, len(masses)) + 1.0)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (1.0, 4.0), (2.0, 3.0), (1.0, None)])
def test_planted_effects_are_found_in_new_examples(alpha: float, beta: float | None) -> None:
    training = FWShapleyTraining(alpha=alpha, beta=beta, num_hidden=0, penalty=1e-8)
    attributor = training.fit([lesson_of(5 + s % 4, s, training) for s in range(8)], PLANTED)
    problem, masses = build_problem([7]), planted_masses(7, seed=99)
    wanted = planted_effects(masses)
    scorer = PlantedHeads.linear(problem, masses, wanted)
    scores = attributor.attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, wanted, atol=0.02)


def test_hidden_units_see_what_a_line_cannot() -> None:
    """Sources whose only feature is +-1 have an effect, those at 0 have none."""
    drawn, lessons = np.random.default_rng(0), []
    features = np.array([[-1.0], [0.0], [1.0], [0.0]])
    effects = np.array([4.0, 0.0, 4.0, 0.0])
    for _ in range(3):
        masks = drawn.random((12, 4)) < 0.5
        lessons.append(Lesson(features, Effects(masks, np.zeros(12), masks @ effects)))
    errors = {}
    for num_hidden in (0, 8):
        training = FWShapleyTraining(
            alpha=2, beta=2, num_hidden=num_hidden, penalty=1e-6, num_steps=60
        )
        scores = training.fitted_network(lessons).of(features)
        errors[num_hidden] = np.abs(scores - effects).max()
    assert errors[0] > 1.0 > 0.2 > errors[8]


def test_the_penalty_shrinks_what_sets_sources_apart() -> None:
    spreads = []
    for penalty in (0.0, 0.1, 1e4):
        training = FWShapleyTraining(num_hidden=0, penalty=penalty)
        lessons = [lesson_of(6, seed, training) for seed in range(4)]
        spreads.append(float(np.ptp(training.fitted_network(lessons).of(lessons[0].features))))
    assert spreads[0] > 1.2 * spreads[1] > 1.2 * spreads[2]
    assert spreads[2] < 1e-2


def test_the_seed_decides() -> None:
    def fitted(seed: int) -> Any:
        training = FWShapleyTraining(num_hidden=3, num_steps=5, seed=seed)
        lessons = [lesson_of(5, number, training) for number in range(3)]
        return training.fit(lessons, PLANTED)

    assert fitted(0) == fitted(0) != fitted(1)


def test_it_says_what_it_was_trained_for() -> None:
    training = FWShapleyTraining(role="proxy", num_hidden=2, num_steps=1)
    attributor = training.fit([lesson_of(4, 0, training)], PLANTED)
    assert (attributor.role, attributor.trained_for) == ("proxy", PLANTED)
    assert attributor.network.num_features == 2 + 6
    assert len(attributor.network.hidden) == 2


def test_ablations_without_effect_teach_nothing() -> None:
    effects = Effects(np.eye(4, dtype=bool), np.zeros(4), np.full(4, -40.0))
    with pytest.raises(InvalidInputError, match="nothing can be learned from 1 examples"):
        FWShapleyTraining(beta=4.0, alpha=2.0).fitted_network([Lesson(np.eye(4), effects)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.5}, "alpha and beta must be finite and at least 1.*alpha=0.5, beta=1.0"),
        ({"beta": float("inf")}, "beta null for leave-one-out; got alpha=1.0, beta=inf"),
        ({"num_hidden": -1}, "num_hidden and penalty of at least 0"),
        ({"penalty": -0.1}, "num_hidden and penalty of at least 0"),
        ({"num_steps": 0}, "num_steps of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FWShapleyTraining(**settings)
