"""Leave-two-out on planted likelihoods: redundant pairs, synergies, and the choice of pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.base import Problem
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.leave_two_out import LeaveTwoOut
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scores
from attribot.types import Attribution, Cost, Response
from tests.attributors.fakes import (
    SENTENCES,
    AdditiveScorer,
    RedundantScorer,
    build_problem,
    scores_of,
)

WEIGHTS = [1.5, -0.5, 0.25, 4.0, 0.0, 0.125, 2.0, -3.0, 0.75, 0.5]


@dataclass(frozen=True)
class PlantedScreen:
    """Given scores, for the price of three passes."""

    scores: tuple[float, ...]

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        return Attribution(np.array([self.scores]), Cost(forward_passes=3))


@dataclass(frozen=True)
class ForbiddenScreen:
    """Fails when it is asked."""

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        raise AssertionError("all pairs fit: nobody has to choose")


@dataclass(frozen=True)
class SynergyScorer:
    """log p = -40, and 5 more where both texts stand in the prompt."""

    texts: tuple[str, str]

    def score(self, prompts: list[str], response: Response) -> Scores:
        found = [5.0 * all(text in prompt for text in self.texts) for prompt in prompts]
        return scores_of([value - 40 for value in found], response)


ALL_PAIRS = LeaveTwoOut(ForbiddenScreen())


def test_an_additive_game_is_leave_one_out() -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    attribution = ALL_PAIRS.attribute(problem, {"target": scorer})
    exact = LeaveOneOut().attribute(problem, {"target": AdditiveScorer.planted(problem, WEIGHTS)})
    np.testing.assert_allclose(attribution.stage_scores, [WEIGHTS], atol=1e-12)
    np.testing.assert_array_equal(
        attribution.ablated_log_likelihoods, exact.ablated_log_likelihoods
    )
    assert attribution.base_log_likelihood == exact.base_log_likelihood
    assert len(set(scorer.prompts)) == len(scorer.prompts) == 1 + 10 + 45
    assert attribution.cost.forward_passes == 56


def test_a_redundant_pair_shares_what_leave_one_out_misses() -> None:
    problem = build_problem()
    scorers = {"target": RedundantScorer.planted(problem, (1, 8), 6.0)}
    wanted = np.zeros(10)
    np.testing.assert_allclose(LeaveOneOut().attribute(problem, scorers).scores, wanted, atol=1e-12)
    wanted[[1, 8]] = 3.0
    np.testing.assert_allclose(ALL_PAIRS.attribute(problem, scorers).scores, wanted, atol=1e-12)


def test_three_copies_still_hide_one_another() -> None:
    scorers = {"target": RedundantScorer(dict.fromkeys(SENTENCES[2:5], 6.0))}
    scores = ALL_PAIRS.attribute(build_problem(), scorers).scores
    np.testing.assert_allclose(scores, np.zeros(10), atol=1e-12)


def test_two_sources_have_their_shapley_values() -> None:
    # v is 0, 8, 5 and 8 for none, a, b and both: a brings 8 first or 3 last, b brings 5 or 0.
    problem = build_problem((2,))
    scorers = {"target": RedundantScorer(dict(zip(SENTENCES[:2], [8.0, 5.0], strict=True)))}
    np.testing.assert_allclose(ALL_PAIRS.attribute(problem, scorers).scores, [5.5, 2.5])


def test_synergy_is_not_counted_twice() -> None:
    # Either one's loss already costs all 5: the interaction is -5.
    scorers = {"target": SynergyScorer((SENTENCES[3], SENTENCES[6]))}
    wanted = np.zeros(10)
    wanted[[3, 6]] = 5.0
    scores = ALL_PAIRS.attribute(build_problem(), scorers).scores
    np.testing.assert_allclose(scores, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("budget", "num_pairs"),
    [(12, 1), (13, 1), (14, 3), (17, 6), (20, 6), (21, 10), (55, 36), (56, 45), (999, 45)],
)
def test_the_budget_holds(budget: int, num_pairs: int) -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    method = LeaveTwoOut(PlantedScreen(tuple(WEIGHTS)), budget=budget)
    attribution = method.attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-12)
    assert len(set(scorer.prompts)) == len(scorer.prompts) == 11 + num_pairs <= budget
    assert attribution.cost.forward_passes == len(scorer.prompts) + 3 * (num_pairs < 45)


@pytest.mark.parametrize(("pair", "value"), [((2, 7), 3.0), ((2, 9), 3.0), ((2, 5), 0.0)])
def test_the_screen_chooses_who_is_paired(pair: tuple[int, int], value: float) -> None:
    problem = build_problem()
    screen = PlantedScreen((0, 1, 9, 2, 3, 4, 5, 8, 0, 7))
    # Three passes beyond leave-one-out are the pairs of the best three: 2, 7 and 9.
    method = LeaveTwoOut(screen, budget=14)
    scorers = {"target": RedundantScorer.planted(problem, pair, 6.0)}
    wanted = np.zeros(10)
    wanted[list(pair)] = value
    np.testing.assert_allclose(method.attribute(problem, scorers).scores, wanted, atol=1e-12)


def test_one_source_has_no_pair() -> None:
    problem = build_problem(paragraphs=[["Only one."]])
    method = LeaveTwoOut(ForbiddenScreen(), budget=2)
    attribution = method.attribute(problem, {"target": AdditiveScorer({"Only one.": 3.0})})
    np.testing.assert_allclose(attribution.scores, [3.0])
    assert attribution.cost.forward_passes == 2


def test_equal_sentences_and_an_empty_paragraph() -> None:
    problem = build_problem(paragraphs=[["Same.", "Other."], [], ["Same."]])
    scores = ALL_PAIRS.attribute(problem, {"target": RedundantScorer({"Same.": 4.0})}).scores
    np.testing.assert_allclose(scores, [2.0, 0.0, 2.0], atol=1e-12)


def test_only_candidates_are_removed_and_paired() -> None:
    full = build_problem()
    scorer = AdditiveScorer.planted(full, WEIGHTS)
    kept = full.tree.remove(full.tree.all_kept(), [full.tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 2, 9])
    # All scores but those of 2 and 9 are better, but 0 is the only other candidate.
    method = LeaveTwoOut(PlantedScreen((1, 9, 0.5, 9, 9, 9, 9, 9, 9, 0.2)), budget=5)
    attribution = method.attribute(full.restrict(candidates, kept), {"target": scorer})
    np.testing.assert_allclose(
        attribution.scores, np.where(candidates, WEIGHTS, np.nan), atol=1e-12
    )
    removed = [
        {source for source in range(10) if SENTENCES[source] not in prompt} - {4}
        for prompt in scorer.prompts
    ]
    assert removed == [set(), {0}, {2}, {9}, {0, 2}]
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


def test_a_budget_without_room_for_a_pair() -> None:
    method = LeaveTwoOut(ForbiddenScreen(), budget=11)
    with pytest.raises(InvalidInputError, match=r"10 candidates and one pair take 12 .* budget=11"):
        method.attribute(build_problem(), {"target": AdditiveScorer({})})
    with pytest.raises(InvalidInputError, match=r"budget must be at least 2 passes; got 1"):
        LeaveTwoOut(ForbiddenScreen(), budget=1)


def test_the_ablation_is_the_one_asked_for() -> None:
    with pytest.raises(InvalidInputError, match="AdditiveScorer cannot mask parts of a prompt"):
        LeaveTwoOut(ForbiddenScreen(), ablation=Mask()).attribute(
            build_problem(), {"target": AdditiveScorer({})}
        )
