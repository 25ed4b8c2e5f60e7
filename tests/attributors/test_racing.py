"""Races with planted scores: who wins, who is rescored, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from attribot.attributors.base import Problem
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.racing import Racing
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.types import Attribution, Cost, FloatArray
from tests.attributors.fakes import AdditiveScorer, build_problem

WEIGHTS = np.array([1.5, -0.5, 0.25, 4.0, 0.0, 0.125, 2.0, -3.0, 0.75, 0.5])
NUM_SOURCES = len(WEIGHTS)


@pytest.fixture
def problem() -> Problem:
    return build_problem((2, 3, 5))


def race(**settings: Any) -> Racing:
    return Racing(LeaveOneOut("proxy"), LeaveOneOut(), **settings)


def scorers_of(
    problem: Problem, estimates: Sequence[float] | FloatArray
) -> dict[str, AdditiveScorer]:
    """The target's exact scores are `WEIGHTS`, the proxy's the estimates."""
    return {
        "target": AdditiveScorer.planted(problem, WEIGHTS.tolist()),
        "proxy": AdditiveScorer.planted(problem, list(estimates)),
    }


def entered(attribution: Attribution) -> list[int]:
    """Sources whose scores are exact."""
    assert attribution.ablated_log_likelihoods is not None
    return [
        int(source) for source in np.flatnonzero(~np.isnan(attribution.ablated_log_likelihoods))
    ]


def winners(scores: FloatArray, places: int) -> list[int]:
    return [int(source) for source in np.argsort(-scores, kind="stable")[:places]]


@pytest.mark.parametrize(
    ("places", "heat", "num_entered"),
    [(1, 1, 1), (1, 2, 2), (3, 2, 4), (3, 3, 3), (4, 2, 4), (3, 7, 7), (5, 10, 10)],
)
def test_exact_estimates_need_one_look_at_the_winners(
    problem: Problem, places: int, heat: int, num_entered: int
) -> None:
    scorers = scorers_of(problem, WEIGHTS)
    attribution = race(places=places, heat=heat).attribute(problem, scorers)
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-12)
    assert entered(attribution) == sorted(winners(WEIGHTS, num_entered))
    num_heats = -(-num_entered // heat)
    # The full context is scored for the estimates, and once more in every heat.
    assert len(scorers["proxy"].prompts) == 1 + NUM_SOURCES
    assert len(scorers["target"].prompts) == num_heats + num_entered
    assert attribution.cost.forward_passes == 1 + NUM_SOURCES + num_heats + num_entered


def test_whoever_stays_out_keeps_the_estimate(problem: Problem) -> None:
    estimates = WEIGHTS * 0.5
    attribution = race(places=2, heat=1).attribute(problem, scorers_of(problem, estimates))
    expected = estimates.copy()
    expected[[3, 6]] = WEIGHTS[[3, 6]]
    np.testing.assert_allclose(attribution.scores, expected, atol=1e-12)
    assert not attribution.is_pruned.any()
    base = -40 + WEIGHTS.sum()
    assert attribution.base_log_likelihood == pytest.approx(base)
    ablated = np.full(NUM_SOURCES, np.nan)
    ablated[[3, 6]] = base - WEIGHTS[[3, 6]]
    assert attribution.ablated_log_likelihoods is not None
    np.testing.assert_allclose(attribution.ablated_log_likelihoods, ablated, atol=1e-12)
    assert attribution.level == "sentence"


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("heat", [1, 2, 3])
def test_bad_estimates_with_margin_enough_find_the_exact_winners(
    problem: Problem, seed: int, heat: int
) -> None:
    """Estimates that fall short by up to 2 nats, and overshoot by up to 9."""
    estimates = WEIGHTS + np.random.default_rng(seed).uniform(-2, 9, NUM_SOURCES)
    for places in (1, 3, 5):
        method = race(places=places, heat=heat, margin=2.0)
        attribution = method.attribute(problem, scorers_of(problem, estimates))
        found = winners(attribution.scores, places)
        assert found == winners(WEIGHTS, places)
        np.testing.assert_allclose(attribution.scores[found], WEIGHTS[found], atol=1e-12)
        assert set(found) <= set(entered(attribution))


def test_the_margin_decides_whether_a_misjudged_source_may_still_win(problem: Problem) -> None:
    """Source 3, worth 4.0, is estimated at 0.9; the estimated leaders are 0 (1.5) and 6 (2.0)."""
    estimates = WEIGHTS.copy()
    estimates[3] = 0.9
    found = {}
    for margin in (0.0, 0.6, 1.0, 1.2, 3.1):
        method = race(places=1, heat=1, margin=margin)
        found[margin] = entered(method.attribute(problem, scorers_of(problem, estimates)))
    # The race is over once the best waiting estimate and the margin stay below the best score, 2.0.
    assert found == {0.0: [6], 0.6: [0, 6], 1.0: [0, 6], 1.2: [0, 3, 6], 3.1: [0, 3, 6]}


@pytest.mark.parametrize("places", [NUM_SOURCES, NUM_SOURCES + 1, 99])
@pytest.mark.parametrize("heat", [1, 3, 99])
def test_with_places_for_all_the_race_is_leave_one_out(
    problem: Problem, places: int, heat: int
) -> None:
    scorers = scorers_of(problem, WEIGHTS[::-1])
    attribution = race(places=places, heat=heat).attribute(problem, scorers)
    exact = LeaveOneOut().attribute(problem, scorers)
    np.testing.assert_array_equal(attribution.scores, exact.scores)
    np.testing.assert_array_equal(attribution.priority, exact.priority)
    np.testing.assert_array_equal(
        attribution.ablated_log_likelihoods, exact.ablated_log_likelihoods
    )
    assert attribution.base_log_likelihood == exact.base_log_likelihood


def test_one_source_races_alone() -> None:
    problem = build_problem((1,))
    scorers = {
        role: AdditiveScorer.planted(problem, [w]) for role, w in (("target", 2.5), ("proxy", 1))
    }
    attribution = race().attribute(problem, scorers)
    np.testing.assert_allclose(attribution.scores, [2.5], atol=1e-12)
    assert attribution.cost.forward_passes == 2 + 2


def test_only_candidates_race(problem: Problem) -> None:
    candidates = np.isin(np.arange(NUM_SOURCES), [0, 1, 4, 7, 8])
    scorers = scorers_of(problem, WEIGHTS[::-1])
    attribution = race(places=2, heat=1, margin=20.0).attribute(
        problem.restrict(candidates), scorers
    )
    expected = np.where(candidates, WEIGHTS, np.nan)
    np.testing.assert_allclose(attribution.scores, expected, atol=1e-12)
    # The context is whole all along: sources that are no candidates are never removed.
    for prompt in (*scorers["target"].prompts, *scorers["proxy"].prompts):
        assert all(problem.tree.source_text(source) in prompt for source in (2, 3, 5, 6, 9))
    few = race(places=2, heat=1).attribute(
        problem.restrict(candidates), scorers_of(problem, WEIGHTS)
    )
    assert entered(few) == [0, 8]


def test_a_source_without_an_estimate_is_rescored(problem: Problem) -> None:
    """What a pruning screen has no score for may be anything."""
    screen = TwoStage(LeaveOneOut("proxy"), TopK(2), LeaveOneOut("proxy"))
    scorers = scorers_of(problem, WEIGHTS[::-1])
    attribution = Racing(screen, LeaveOneOut(), places=1, heat=4).attribute(problem, scorers)
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-12)


@dataclass(frozen=True)
class Known:
    """Knows the scores; a stand-in for methods that compare no likelihoods."""

    scores: tuple[float, ...]

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        num_asked = int(problem.candidates.sum())
        values = np.where(problem.candidates, self.scores, np.nan)
        return Attribution(values[None], Cost(1, num_asked, 10 * num_asked, 0.5, 0.25, num_asked))


def test_a_race_without_likelihoods_reports_none() -> None:
    problem = build_problem((2, 3))
    estimate, exact = Known((5.0, 4.0, 3.0, 2.0, 1.0)), Known((1.0, 3.0, 6.0, 2.0, 0.5))
    attribution = Racing(estimate, exact, places=1, heat=2).attribute(problem, {})
    # The first heat brings 1 and 3, no less than the estimate still waiting.
    assert attribution.scores.tolist() == [1.0, 3.0, 3.0, 2.0, 1.0]
    assert attribution.base_log_likelihood is None
    assert attribution.ablated_log_likelihoods is None


def test_who_could_only_draw_level_does_not_start() -> None:
    """The first scores 4, as much as the second is estimated at; with any margin it would start."""
    problem = build_problem((2, 3))
    estimate, exact = Known((5.0, 4.0, 3.0, 2.0, 1.0)), Known((4.0, 6.0, 6.0, 6.0, 6.0))
    drawn = Racing(estimate, exact, places=1, heat=1).attribute(problem, {})
    assert drawn.scores.tolist() == [4.0, 4.0, 3.0, 2.0, 1.0]
    close = Racing(estimate, exact, places=1, heat=1, margin=0.5).attribute(problem, {})
    assert close.scores.tolist() == [4.0, 6.0, 3.0, 2.0, 1.0]


def test_the_cost_is_that_of_the_estimates_and_of_every_heat() -> None:
    problem = build_problem((2, 3))
    estimate, exact = Known((5.0, 4.0, 3.0, 2.0, 1.0)), Known((1.0, 3.0, 6.0, 2.0, 0.5))
    attribution = Racing(estimate, exact, places=2, heat=2).attribute(problem, {})
    # Heats of 2 and 2: after the second, 6 and 3 hold the places, and 1 is left.
    assert attribution.scores.tolist() == [1.0, 3.0, 6.0, 2.0, 1.0]
    assert attribution.cost == Cost(3, 5 + 2 + 2, 90, 1.5, 0.75, 5)


@pytest.mark.parametrize(
    "settings", [{"places": 0}, {"heat": 0}, {"margin": -0.1}, {"places": -1, "heat": 5}]
)
def test_settings_that_make_no_race_are_refused(settings: dict[str, float]) -> None:
    (name, value), *_ = settings.items()
    with pytest.raises(InvalidInputError, match=rf"at least one place.*{name}={value}"):
        race(**settings)


def test_races_compare_and_hash_as_their_settings() -> None:
    assert race(places=2) == race(places=2) != race(places=3)
    assert hash(race(margin=1.0)) == hash(race(margin=1.0))
