"""Methods of one pass: token values to source scores, on a scorer of known values."""

from collections.abc import Callable

import numpy as np
import pytest

from attribot.attributors.attention import Attention
from attribot.attributors.attention_rollout import AttentionRollout
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.gradient_times_input import GradientTimesInput
from attribot.attributors.integrated_gradients import IntegratedGradients
from attribot.attributors.speculative_prefill import SpeculativePrefill
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.attributors.value_attention import ValueAttention
from attribot.errors import InvalidInputError
from attribot.prompting import PromptTemplate
from attribot.scoring.readings import (
    AttentionMass,
    LookaheadAttention,
    Reading,
    ValueWeightedAttention,
)
from attribot.scoring.readings import AttentionRollout as AttentionRolloutReading
from attribot.scoring.readings import GradientNorm as GradientNormReading
from attribot.scoring.readings import GradientTimesInput as GradientTimesInputReading
from attribot.types import Cost, FloatArray
from tests.attributors.fakes import AdditiveScorer, WordLengthTokenScorer, build_problem, tree_of

BASELINES = [
    (Attention(), lambda lengths: float(np.sum(lengths))),
    (AttentionRollout(), lambda lengths: float(np.sum(lengths))),
    (ValueAttention(), lambda lengths: float(np.sum(lengths))),
    (SpeculativePrefill("target"), lambda lengths: float(np.mean(lengths))),
    (GradientNorm(), lambda lengths: float(np.linalg.norm(lengths))),
    (GradientTimesInput(), lambda lengths: float(np.sum(lengths))),
    (IntegratedGradients(), lambda lengths: float(np.sum(lengths))),
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


@pytest.mark.parametrize(
    ("attributor", "reading"),
    [
        (Attention(), AttentionMass()),
        (AttentionRollout(), AttentionRolloutReading()),
        (ValueAttention(), ValueWeightedAttention()),
        (GradientNorm(), GradientNormReading()),
        (GradientTimesInput(), GradientTimesInputReading()),
        (SpeculativePrefill("target"), LookaheadAttention(8, 13)),
        (SpeculativePrefill("target", 3, 5), LookaheadAttention(3, 5)),
    ],
)
def test_each_method_asks_for_its_reading_once(attributor: Attributor, reading: Reading) -> None:
    scorer = WordLengthTokenScorer()
    attributor.attribute(build_problem(), {"target": scorer})
    assert scorer.asked == [reading]


def test_numbers_with_more_dimensions_are_summed_by_source() -> None:
    problem = build_problem(paragraphs=[["One two.", "Three."]])
    tokens = WordLengthTokenScorer().read(problem.prompt(), problem.response, AttentionMass())
    weights = np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 0.5]])
    values = weights[..., None] * tokens.values
    sums = sum_over_source_tokens(
        problem.restrict(np.array([True, False])), values, tokens.char_spans
    )
    assert sums.shape == (2, 3, 2)
    np.testing.assert_allclose(sums[..., 0], weights * (3 + 4), rtol=1e-12)
    assert np.isnan(sums[..., 1]).all()


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


@pytest.mark.parametrize(
    "attributor",
    [
        Attention("proxy"),
        AttentionRollout("proxy"),
        ValueAttention("proxy"),
        GradientNorm("proxy"),
        GradientTimesInput("proxy"),
        IntegratedGradients("proxy"),
        SpeculativePrefill(),
    ],
)
def test_the_role_is_honoured_and_checked(attributor: Attributor) -> None:
    attributor.attribute(build_problem(), {"proxy": WordLengthTokenScorer()})
    with pytest.raises(InvalidInputError, match=r"no model has the role 'proxy'.*\['target'\]"):
        attributor.attribute(build_problem(), {"target": WordLengthTokenScorer()})
    with pytest.raises(InvalidInputError, match="AdditiveScorer, which is no TokenScorer"):
        attributor.attribute(build_problem(), {"proxy": AdditiveScorer({})})


def test_a_source_without_a_token_of_its_own_scores_zero() -> None:
    """The word before it holds its only char."""
    tree = tree_of([["Alpha", "!", "Beta."]], sentence_separator="")
    problem = Problem.of(tree, "Who?", build_problem().response)
    scores = SpeculativePrefill("target").attribute(problem, {"target": WordLengthTokenScorer()})
    np.testing.assert_array_equal(scores.scores, [11.0, 0.0, 0.0])
