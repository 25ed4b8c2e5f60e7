"""Integrated gradients: what moves along the way, and what the scores sum to."""

from typing import Any

import numpy as np
import pytest

from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.integrated_gradients import IntegratedGradients
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.models.gradients import end_token_id, integrated_gradients
from attribot.prompting import PromptTemplate
from attribot.scoring.readings import IntegratedGradients as Reading
from attribot.scoring.scorer import ModelScorer
from tests.attributors.fakes import WordLengthTokenScorer, build_problem
from tests.models.tiny import tiny_language_model


@pytest.mark.parametrize("template", ["{context}", "About {query}: {context}End."])
@pytest.mark.parametrize("is_pruned", [False, True])
def test_the_kept_context_is_moved_and_nothing_else(template: str, is_pruned: bool) -> None:
    problem = build_problem(template=PromptTemplate(template), header="# Head\n")
    if is_pruned:
        kept = problem.tree.remove(problem.tree.all_kept(), problem.tree.sources[3:5])
        problem = problem.restrict(problem.tree.kept_sources(kept), kept)
    scorer = WordLengthTokenScorer()
    IntegratedGradients(num_steps=5, baseline="end_token").attribute(problem, {"target": scorer})
    (reading,) = scorer.asked
    assert isinstance(reading, Reading)
    context = problem.tree.render(problem.kept)
    assert problem.prompt()[slice(*reading.moved)] == context
    assert reading == Reading(reading.moved, 5, "end_token")


def test_tokens_with_a_char_in_the_extent_are_moved() -> None:
    char_spans = np.array([[-1, -1], [0, 4], [4, 9], [9, 12], [12, 13], [-1, -1]])
    assert Reading((5, 10)).on_tokens(char_spans).moved == (2, 4)
    assert Reading((4, 9)).on_tokens(char_spans).moved == (2, 3)
    assert Reading((0, 13), 3).on_tokens(char_spans) == Reading((1, 5), 3)


def test_on_a_model_the_scores_are_the_values_of_the_sources_tokens() -> None:
    model = tiny_language_model("llama", num_layers=1)
    problem = build_problem((2, 3), response=response_from_text(model, "The king."))
    scorers = {"target": ModelScorer(model)}
    method = IntegratedGradients(num_steps=3, baseline="end_token")
    attribution = method.attribute(problem, scorers)
    encoded = model.encode_prompt(problem.prompt())
    start = problem.prompt().index(problem.tree.text)
    spans = encoded.char_spans
    moved = np.flatnonzero((spans[:, 0] < start + len(problem.tree.text)) & (spans[:, 1] > start))
    values = integrated_gradients(
        model.model,
        encoded.token_ids,
        model.encode_response(problem.response),
        (moved[0], moved[-1] + 1),
        3,
        end_token_id(model.model),
    )
    wanted = sum_over_source_tokens(problem, values, spans)
    np.testing.assert_allclose(attribution.scores, wanted, rtol=1e-6)
    assert np.ptp(attribution.scores) > 0.01
    gradient = GradientNorm().attribute(problem, scorers).cost
    assert attribution.cost.forward_passes == 3
    assert attribution.cost.computed_tokens == 3 * gradient.computed_tokens
    assert attribution.cost.flops == 3 * gradient.flops


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1; got 0"),
        ({"baseline": "mean"}, r"baseline must be one of \['zero', 'end_token'\]; got 'mean'"),
    ],
)
def test_settings_outside_their_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IntegratedGradients(**setting)
