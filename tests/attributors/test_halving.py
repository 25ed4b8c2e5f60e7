"""Halving on planted likelihoods: what each level scores, who wins, and what it costs."""

from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.halving import Halving
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.errors import InvalidInputError
from attribot.types import FloatArray
from tests.attributors.fakes import SENTENCES, AdditiveScorer, RedundantScorer, build_problem

WEIGHTS = [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 7.0, 0.0, 3.0]
NAN = np.nan


def levels_of(**by_extent: float) -> FloatArray:
    """One row per keyword `level_first_last`, in the order given; sources outside have NaN."""
    rows: dict[str, list[float]] = {}
    for name, score in by_extent.items():
        level, first, last = name.split("_")
        row = rows.setdefault(level, [NAN] * 10)
        row[int(first) : int(last) + 1] = [score] * (int(last) - int(first) + 1)
    return np.array(list(rows.values()))


def test_with_all_groups_kept_it_is_leave_one_out() -> None:
    problem = build_problem()
    scorers = {"target": AdditiveScorer.planted(problem, WEIGHTS)}
    exact = LeaveOneOut().attribute(problem, scorers)
    attribution = Halving(num_kept=5).attribute(problem, scorers)
    np.testing.assert_array_equal(attribution.stage_scores, exact.stage_scores)
    np.testing.assert_array_equal(attribution.priority, exact.priority)
    np.testing.assert_array_equal(attribution.token_scores, exact.token_scores)
    np.testing.assert_array_equal(
        attribution.ablated_log_likelihoods, exact.ablated_log_likelihoods
    )
    assert attribution.base_log_likelihood == exact.base_log_likelihood
    assert attribution.cost == exact.cost


def test_one_kept_group_is_halved_level_by_level() -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    attribution = Halving(num_kept=1).attribute(problem, {"target": scorer})
    wanted = levels_of(d_7_7=7, c_5_6=0, c_7_7=7, b_5_7=7, b_8_9=3, a_0_4=3, a_5_9=10)
    np.testing.assert_allclose(attribution.stage_scores, wanted, atol=1e-12)
    np.testing.assert_array_equal(attribution.priority, [1, 1, 1, 1, 1, 5, 5, 7, 3, 3])
    # The whole context, then two groups on each of three levels; the last source is known by then.
    assert attribution.cost.forward_passes == len(scorer.prompts) == 7


@pytest.mark.parametrize("budget", [7, 64])
def test_single_sources_go_on_as_they_are_and_for_free(budget: int) -> None:
    problem = build_problem((2, 3))
    scorer = AdditiveScorer.planted(problem, [5.0, 1.0, 2.0, 4.0, 6.0])
    attribution = Halving(num_kept=2, budget=budget).attribute(problem, {"target": scorer})
    wanted = np.array([[5, 1, NAN, NAN, 6], [6, 6, 2, 4, 6]])
    np.testing.assert_allclose(attribution.stage_scores, wanted, atol=1e-12)
    np.testing.assert_array_equal(np.argsort(-attribution.priority), [4, 0, 1, 3, 2])
    assert attribution.cost.forward_passes == len(scorer.prompts) == 7


def test_a_short_budget_halves_the_best_groups_first() -> None:
    problem = build_problem()
    scorers = {"target": AdditiveScorer.planted(problem, WEIGHTS)}
    # Groups 0-2, 3-5, 6-7 and 8-9 take five passes: none is left for halves, then two of three.
    attribution = Halving(num_kept=2, budget=6).attribute(problem, scorers)
    first = levels_of(a_0_2=1, a_3_5=2, a_6_7=7, a_8_9=3)
    np.testing.assert_allclose(attribution.stage_scores, first, atol=1e-12)
    attribution = Halving(num_kept=2, budget=8).attribute(problem, scorers)
    np.testing.assert_allclose(
        attribution.stage_scores, np.concatenate([levels_of(b_6_6=0, b_7_7=7), first]), atol=1e-12
    )
    assert attribution.cost.forward_passes == 7


@pytest.mark.parametrize("num_kept", [1, 2, 3, 7])
@pytest.mark.parametrize("budget", [15, 16, 23, 64])
def test_the_budget_holds_and_nothing_is_asked_twice(num_kept: int, budget: int) -> None:
    sentences = [f"Fact {number:02d} holds." for number in range(37)]
    problem = build_problem(paragraphs=[sentences[:11], sentences[11:12], [], sentences[12:]])
    weights = np.random.default_rng(5).normal(size=37)
    scorer = AdditiveScorer.planted(problem, weights.tolist())
    attribution = Halving(num_kept=num_kept, budget=budget).attribute(problem, {"target": scorer})
    assert len(set(scorer.prompts)) == len(scorer.prompts) <= budget
    assert attribution.cost.forward_passes == len(scorer.prompts)
    assert not np.isnan(attribution.stage_scores[-1]).any()
    if budget == 64:
        scored = ~attribution.is_pruned
        np.testing.assert_allclose(attribution.scores[scored], weights[scored], atol=1e-12)


def test_winners_that_stand_out_are_found_with_fewer_passes() -> None:
    sentences = [f"Fact {number:02d} holds." for number in range(60)]
    problem = build_problem(paragraphs=[sentences[:7], sentences[7:]])
    weights = np.random.default_rng(3).normal(scale=0.1, size=60)
    weights[[4, 31, 58]] = [9.0, 4.0, 6.0]
    scorer = AdditiveScorer.planted(problem, weights.tolist())
    attribution = Halving().attribute(problem, {"target": scorer})
    np.testing.assert_array_equal(np.argsort(-attribution.priority)[:3], [4, 58, 31])
    assert attribution.cost.forward_passes < 61 / 2


def test_copies_are_seen_as_long_as_they_share_a_group() -> None:
    problem = build_problem()
    scorers = {"target": RedundantScorer.planted(problem, (5, 6), 8.0)}
    attribution = Halving(num_kept=1).attribute(problem, scorers)
    wanted = levels_of(d_5_5=0, d_6_6=0, c_5_6=8, c_7_7=0, b_5_7=8, b_8_9=0, a_0_4=0, a_5_9=8)
    np.testing.assert_allclose(attribution.stage_scores, wanted, atol=1e-12)
    assert set(np.argsort(-attribution.priority)[:2]) == {5, 6}


def test_one_source() -> None:
    problem = build_problem(paragraphs=[["Only one."]])
    attribution = Halving().attribute(problem, {"target": AdditiveScorer({"Only one.": 3.0})})
    np.testing.assert_allclose(attribution.stage_scores, [[3.0]], atol=1e-12)
    assert attribution.cost.forward_passes == 2


def test_other_kept_sources_stay_and_removed_ones_stay_away() -> None:
    full = build_problem()
    scorer = AdditiveScorer.planted(full, WEIGHTS)
    kept = full.tree.remove(full.tree.all_kept(), [full.tree.sources[4]])
    problem = full.restrict(np.isin(np.arange(10), [0, 2, 7, 9]), kept)
    attribution = Halving(num_kept=1).attribute(problem, {"target": scorer})
    wanted = [[NAN] * 7 + [7, NAN, 3], [1, NAN, 1, NAN, NAN, NAN, NAN, 10, NAN, 10]]
    np.testing.assert_allclose(attribution.stage_scores, wanted, atol=1e-12)
    assert attribution.base_log_likelihood == pytest.approx(-40 + sum(WEIGHTS) - 2)
    assert all(SENTENCES[1] in prompt for prompt in scorer.prompts)
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_kept": 0}, "num_kept must be at least 1; got 0"),
        ({"num_kept": 4, "budget": 8}, r"= 9 forward passes; got budget=8: raise it"),
    ],
)
def test_settings_outside_their_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Halving(**setting)


def test_the_ablation_is_the_one_asked_for() -> None:
    with pytest.raises(InvalidInputError, match="AdditiveScorer cannot mask parts of a prompt"):
        Halving(ablation=Mask()).attribute(build_problem(), {"target": AdditiveScorer({})})
