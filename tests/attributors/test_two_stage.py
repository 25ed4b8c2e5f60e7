"""Limit identities and the two fake scorers that can tell a wrong second stage from a right one."""

import numpy as np
import pytest

from attribot.attributors.base import scorer_for
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.types import Attribution, Cost
from tests.attributors.fakes import AdditiveScorer, RedundantScorer, build_problem

WEIGHTS = np.array([1.5, -0.5, 0.25, 4.0, 0.0, 0.125, 2.0, -3.0, 0.75, 0.5])


@pytest.fixture
def problem():
    return build_problem((2, 3, 5))


@pytest.fixture
def additive(problem):
    return AdditiveScorer.planted(problem, WEIGHTS)


def hierarchical(k, **settings):
    return TwoStage(LeaveOneOut(level="paragraph"), TopK(k, "paragraph"), LeaveOneOut(), **settings)


def pruning(k, role="proxy"):
    return TwoStage(LeaveOneOut(role), TopK(k), LeaveOneOut())


def test_leave_one_out_recovers_planted_weights(problem, additive):
    attribution = LeaveOneOut().attribute(problem, {"target": additive})
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-12)
    np.testing.assert_allclose(
        attribution.base_log_likelihood - attribution.ablated_log_likelihoods, WEIGHTS, atol=1e-12
    )
    assert attribution.cost.forward_passes == 11


def test_paragraph_scores_are_those_of_their_sentences_together(problem, additive):
    attribution = LeaveOneOut(level="paragraph").attribute(problem, {"target": additive})
    sums = [WEIGHTS[:2].sum()] * 2 + [WEIGHTS[2:5].sum()] * 3 + [WEIGHTS[5:].sum()] * 5
    np.testing.assert_allclose(attribution.scores, sums, atol=1e-12)
    assert attribution.cost.forward_passes == 4


@pytest.mark.parametrize("context", ["pruned", "full"])
def test_keeping_all_paragraphs_is_exact(problem, additive, context):
    scorers = {"target": additive}
    exact = LeaveOneOut().attribute(problem, scorers)
    attribution = hierarchical(3, context=context).attribute(problem, scorers)
    np.testing.assert_array_equal(attribution.scores, exact.scores)
    np.testing.assert_array_equal(attribution.priority, exact.priority + len(set(sums())))


def sums():
    return [WEIGHTS[:2].sum(), WEIGHTS[2:5].sum(), WEIGHTS[5:].sum()]


def test_keeping_all_is_exact_beside_a_blank_paragraph():
    problem = build_problem(paragraphs=[["Alpha built the bridge."], [], ["Bravo paid for stone."]])
    scorer = AdditiveScorer.planted(problem, WEIGHTS[:2])
    hierarchical(2).attribute(problem, {"target": scorer})
    full, *_, rescored_full, _, _ = scorer.prompts
    assert rescored_full == full == problem.prompt()


def test_keeping_all_candidates_keeps_the_context_of_the_others(problem, additive):
    """The third paragraph wants no scores: it is not screened, so it must not go."""
    restricted = problem.restrict(np.arange(10) < 5)
    exact = LeaveOneOut().attribute(restricted, {"target": additive})
    attribution = hierarchical(2).attribute(restricted, {"target": additive})
    np.testing.assert_array_equal(attribution.scores, exact.scores)
    assert attribution.base_log_likelihood == exact.base_log_likelihood


def test_a_proxy_that_is_the_target_and_keeps_all_is_exact(problem, additive):
    scorers = {"target": additive, "proxy": additive}
    exact = LeaveOneOut().attribute(problem, scorers)
    attribution = pruning(10).attribute(problem, scorers)
    np.testing.assert_array_equal(attribution.scores, exact.scores)


def test_pruned_sources_have_no_score_and_rank_behind_by_their_screen(problem, additive):
    attribution = hierarchical(1).attribute(problem, {"target": additive})
    kept = np.zeros(10, dtype=bool)
    kept[2:5] = True
    np.testing.assert_array_equal(attribution.is_pruned, ~kept)
    assert attribution.priority[kept].min() > attribution.priority[~kept].max()
    assert attribution.priority[0] > attribution.priority[9]


def test_survivors_are_scored_against_the_pruned_context(problem):
    """Sources 0 and 6 carry the same fact: each alone is worth nothing beside the other, and
    everything once the other is pruned away. A second stage with the full context's baseline
    would not see it."""
    scorer = RedundantScorer.planted(problem, pair=(0, 6), value=5.0)
    proxy = AdditiveScorer.planted(problem, np.eye(10)[0])
    scorers = {"target": scorer, "proxy": proxy}
    in_pruned = pruning(1).attribute(problem, scorers)
    assert in_pruned.scores[0] == pytest.approx(5.0)
    in_full = TwoStage(LeaveOneOut("proxy"), TopK(1), LeaveOneOut(), context="full").attribute(
        problem, scorers
    )
    assert in_full.scores[0] == pytest.approx(0.0)


def test_a_screen_may_be_a_two_stage_itself(problem, additive):
    screen = TwoStage(LeaveOneOut("proxy", "paragraph"), TopK(2, "paragraph"), LeaveOneOut("proxy"))
    method = TwoStage(screen, TopK(2), LeaveOneOut())
    attribution = method.attribute(problem, {"target": additive, "proxy": additive})
    assert np.flatnonzero(~attribution.is_pruned).tolist() == [0, 3]
    np.testing.assert_allclose(attribution.scores[[0, 3]], [1.5, 4.0])
    # 1 + 3 paragraphs, 1 + 5 sentences of two of them, 1 + 2 survivors.
    assert attribution.cost.forward_passes == 4 + 6 + 3
    # Best first: the survivors, the screen's second stage, and last its first stage.
    order = np.argsort(-attribution.priority, kind="stable")
    assert order.tolist() == [3, 0, 2, 4, 1, 5, 6, 7, 8, 9]


def test_ties_go_to_the_earlier_unit(problem):
    screen = Attribution(np.array([[0.0, 1, 1, 1, 0, 0, 0, 1, 0, 0]]), Cost())
    tree = problem.tree
    assert TopK(2).survivors(screen, tree).tolist() == tree.sources[[1, 2]].tolist()
    assert TopK(99).survivors(screen, tree).tolist() == tree.sources.tolist()


def test_methods_compare_and_hash_as_their_settings():
    assert hierarchical(3) == hierarchical(3) != hierarchical(2)
    assert hash(pruning(5)) == hash(pruning(5))


def test_keep_nothing_is_refused():
    with pytest.raises(InvalidInputError, match="k=0"):
        TopK(0)


def test_an_unknown_context_names_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"\['pruned', 'full'\]; got 'whole'"):
        hierarchical(1, context="whole")


def test_unknown_role_names_the_known_ones(additive):
    with pytest.raises(InvalidInputError, match=r"'proxy'.*\['target'\]"):
        scorer_for("proxy", {"target": additive})
