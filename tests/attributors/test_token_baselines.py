"""Attention and gradient norm: token values to source scores, on a scorer of known values."""

from collections.abc import Callable

import numpy as np
import pytest

from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.gradient_norm import GradientNorm
from attribot.errors import InvalidInputError
from attribot.prompting import PromptTemplate
from attribot.types import Cost, FloatArray
from tests.attributors.fakes import AdditiveScorer, WordLengthTokenScorer, build_problem

BASELINES = [
    (Attention(), lambda lengths: float(np.sum(lengths))),
    (GradientNorm(), lambda lengths: float(np.linalg.norm(lengths))),
]
TEMPLATES = [
    PromptTemplate(),
    PromptTemplate("{context}"),
    PromptTemplate("About {query}: {context}End."),
]


def expected(some_problem: Problem, combine: Callable[[list[int]], float]) -> FloatArray:
    """`combine` of the word lengths of each candidate's text."""
    tree = some_problem.tree
    scores = np.full(tree.num_sources, np.nan)
    for source in np.flatnonzero(some_problem.candidates):
        scores[source] = combine([len(word) for word in tree.source_text(int(source)).split()])
    return scores


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("attributor", "combine"), BASELINES)
def test_scores_combine_the_tokens_of_each_source(
    attributor: Attributor, combine: Callable[[list[int]], float], template: PromptTemplate
) -> None:
    full = build_problem(template=template)
    attribution = attributor.attribute(full, {"target": WordLengthTokenScorer()})
    np.testing.assert_allclose(attribution.scores, expected(full, combine), rtol=1e-12)
    assert attribution.cost == Cost(forward_passes=1)
    assert attribution.base_log_likelihood is None


@pytest.mark.parametrize(("attributor", "combine"), BASELINES)
def test_a_pruned_context_shifts_the_sources(
    attributor: Attributor, combine: Callable[[list[int]], float]
) -> None:
    full = build_problem(header="# Head\n")
    tree = full.tree
    kept = tree.remove(tree.all_kept(), [*tree.units("paragraph")[:1], tree.sources[3]])
    candidates = tree.kept_sources(kept)
    candidates[-1] = False
    pruned = full.restrict(candidates, kept)
    scores = attributor.attribute(pruned, {"target": WordLengthTokenScorer()}).scores
    np.testing.assert_allclose(scores, expected(pruned, combine), rtol=1e-12)
    assert np.isnan(scores).sum() == 4


@pytest.mark.parametrize(("attributor", "combine"), BASELINES)
def test_equal_sentences_and_empty_paragraphs(
    attributor: Attributor, combine: Callable[[list[int]], float]
) -> None:
    odd = build_problem(paragraphs=[["Same words.", "Same words."], [], ["Same words."]])
    scores = attributor.attribute(odd, {"target": WordLengthTokenScorer()}).scores
    np.testing.assert_allclose(scores, [combine([4, 6])] * 3, rtol=1e-12)


@pytest.mark.parametrize("attributor", [Attention("proxy"), GradientNorm("proxy")])
def test_the_role_is_honoured_and_checked(attributor: Attributor) -> None:
    attributor.attribute(build_problem(), {"proxy": WordLengthTokenScorer()})
    with pytest.raises(InvalidInputError, match=r"no model has the role 'proxy'.*\['target'\]"):
        attributor.attribute(build_problem(), {"target": WordLengthTokenScorer()})
    with pytest.raises(InvalidInputError, match="AdditiveScorer, which is no TokenScorer"):
        attributor.attribute(build_problem(), {"proxy": AdditiveScorer({})})
