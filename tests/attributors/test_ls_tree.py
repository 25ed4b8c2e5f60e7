"""LS-Tree on planted likelihoods, against hand-worked fits and a fit of its own."""

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.base import Problem
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.ls_tree import LSTree
from attribot.context.partition import NupunktSplitter, build_tree
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, Paragraph
from tests.attributors.fakes import (
    SENTENCES,
    AdditiveScorer,
    RedundantScorer,
    build_problem,
    response_of,
)

WEIGHTS = [1.5, -0.5, 0.25, 4.0, 0.0, 0.125, 2.0, -3.0, 0.75, 0.5]
PARAGRAPHS = [range(2), range(2, 5), range(5, 10)]


def test_an_additive_game_is_recovered() -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    attribution = LSTree().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.stage_scores, [WEIGHTS], atol=1e-12)
    assert attribution.token_scores is not None
    np.testing.assert_allclose(
        attribution.token_scores, np.repeat(np.array(WEIGHTS)[:, None] / 7, 7, axis=1), atol=1e-12
    )
    # Ten sentences, three paragraphs, one document, and no source at all.
    assert attribution.cost.forward_passes == len(set(scorer.prompts)) == len(scorer.prompts) == 15


def test_subtrees_are_asked_alone() -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    LSTree().attribute(problem, {"target": scorer})
    asked = {
        frozenset(source for source, text in enumerate(SENTENCES) if text in prompt)
        for prompt in scorer.prompts
    }
    wanted = [[], range(10), *PARAGRAPHS, *([source] for source in range(10))]
    assert asked == {frozenset(subset) for subset in wanted}


def test_equal_sets_are_one_subtree() -> None:
    problem = build_problem((1, 1, 2))
    scorer = AdditiveScorer.planted(problem, [3.0, 1.0, 4.0, 1.5])
    attribution = LSTree().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, [3.0, 1.0, 4.0, 1.5], atol=1e-12)
    assert attribution.cost.forward_passes == 7


def test_two_copies_both_score_by_hand() -> None:
    # v is 8 for {a}, {b} and {a, b}: (a - 8)^2 + (b - 8)^2 + (a + b - 8)^2 is least at 16/3.
    problem = build_problem((2,))
    scorers = {"target": RedundantScorer.planted(problem, (0, 1), 8.0)}
    np.testing.assert_allclose(LSTree().attribute(problem, scorers).scores, [16 / 3] * 2)
    np.testing.assert_allclose(LeaveOneOut().attribute(problem, scorers).scores, 0, atol=1e-12)


def test_agrees_with_the_normal_equations_on_a_game_that_is_not_additive() -> None:
    problem = build_problem()
    values = np.array([1.0, 2.0, 6.0, 3.0, 0.5, 2.5, 7.0, 4.0, 0.0, 5.0])
    scorers = {"target": RedundantScorer(dict(zip(SENTENCES, values, strict=True)))}
    subsets = [*([source] for source in range(10)), *map(list, PARAGRAPHS), list(range(10))]
    design = np.array([np.isin(np.arange(10), subset) for subset in subsets], dtype=float)
    targets = [values[subset].max() for subset in subsets]
    wanted = np.linalg.solve(design.T @ design, design.T @ targets)
    np.testing.assert_allclose(LSTree().attribute(problem, scorers).scores, wanted, atol=1e-12)


def test_one_source() -> None:
    problem = build_problem(paragraphs=[["Only one."]])
    attribution = LSTree().attribute(problem, {"target": AdditiveScorer({"Only one.": 3.0})})
    np.testing.assert_allclose(attribution.scores, [3.0])
    assert attribution.cost.forward_passes == 2


def test_equal_sentences_and_an_empty_paragraph() -> None:
    problem = build_problem(paragraphs=[["Same.", "Same."], [], ["Other."]])
    scorer = AdditiveScorer({"Same.": 2.0, "Other.": 1.0})
    attribution = LSTree().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, [2.0, 2.0, 1.0], atol=1e-12)
    # Either copy alone is the same prompt.
    assert attribution.cost.forward_passes == len(set(scorer.prompts)) == 5


def test_other_kept_sources_stay_and_removed_ones_stay_away() -> None:
    full = build_problem()
    scorer = AdditiveScorer.planted(full, WEIGHTS)
    kept = full.tree.remove(full.tree.all_kept(), [full.tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 2, 3, 9])
    attribution = LSTree().attribute(full.restrict(candidates, kept), {"target": scorer})
    np.testing.assert_allclose(
        attribution.scores, np.where(candidates, WEIGHTS, np.nan), atol=1e-12
    )
    # Four sentences, the paragraph of two of them, the document, and no candidate.
    assert attribution.cost.forward_passes == len(scorer.prompts) == 7
    assert all(SENTENCES[1] in prompt for prompt in scorer.prompts)
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


def test_headers_stay_in_every_prompt() -> None:
    problem = build_problem(header="A header. ")
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    LSTree().attribute(problem, {"target": scorer})
    assert {prompt.count("A header. ") for prompt in scorer.prompts} == {3}


def test_a_role_that_is_not_filled() -> None:
    with pytest.raises(InvalidInputError, match=r"no model has the role 'proxy'.*\['target'\]"):
        LSTree("proxy").attribute(build_problem(), {"target": AdditiveScorer({})})


def test_the_ablation_is_the_one_asked_for() -> None:
    with pytest.raises(InvalidInputError, match="AdditiveScorer cannot mask parts of a prompt"):
        LSTree(ablation=Mask()).attribute(build_problem(), {"target": AdditiveScorer({})})


@pytest.mark.parametrize("budget", [2, 3, 5, 6, 14, 15, 99])
def test_a_budget_reaches_the_document_then_paragraphs_then_drawn_sentences(budget: int) -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    scores = LSTree(budget=budget).attribute(problem, {"target": scorer}).scores
    asked = [
        [source for source, text in enumerate(SENTENCES) if text in prompt]
        for prompt in scorer.prompts
    ]
    assert asked[:2] == [[], [*range(10)]]
    assert len(asked) == min(budget, 15)
    assert sorted(asked[2:5]) == [list(p) for p in PARAGRAPHS if list(p) in asked[2:5]]
    assert all(len(subset) == 1 for subset in asked[5:])
    # An additive game: the fit is exact, and of all exact fits the one of least norm.
    design = np.array([np.isin(np.arange(10), subset) for subset in asked[1:]], dtype=float)
    np.testing.assert_allclose(scores, np.linalg.pinv(design) @ design @ WEIGHTS, atol=1e-12)


def test_sources_that_no_set_tells_apart_are_equal() -> None:
    problem = build_problem()
    scorers = {"target": AdditiveScorer.planted(problem, WEIGHTS)}
    wanted = [np.mean([WEIGHTS[source] for source in paragraph]) for paragraph in PARAGRAPHS]
    scores = LSTree(budget=5).attribute(problem, scorers).scores
    np.testing.assert_allclose(scores, np.repeat(wanted, [2, 3, 5]), atol=1e-12)


def test_a_budget_that_does_not_reach_every_document() -> None:
    with pytest.raises(InvalidInputError, match="at least 2 forward passes; got budget=1"):
        LSTree(budget=1)
    documents = tuple(Document((Paragraph(text, (len(text),)),)) for text in SENTENCES[:3])
    tree = build_tree(Example("1", "none", "none", "Who?", documents), NupunktSplitter())
    problem = Problem.of(tree, "Who?", response_of())
    scorer = AdditiveScorer.planted(problem, WEIGHTS[:3])
    with pytest.raises(InvalidInputError, match=r"3 candidate.* at least 4 .* got budget=3"):
        LSTree(budget=3).attribute(problem, {"target": scorer})
    scores = LSTree(budget=4).attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, WEIGHTS[:3], atol=1e-12)
