"""Scores by token of the response, and of spans of it."""

from __future__ import annotations

import numpy as np
import pytest

from attribot.attributors.base import Attributor
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, Cost
from tests.attributors.fakes import AdditiveScorer, build_problem
from tests.models.tiny import tiny_language_model
from tests.oracle import naive_token_log_likelihoods

TOLERANCE = 1e-4
ANSWER = "The king of the north."
HIERARCHICAL = TwoStage(LeaveOneOut(level="paragraph"), TopK(1, "paragraph"), LeaveOneOut())


@pytest.mark.parametrize("method", [LeaveOneOut(), HIERARCHICAL, LeaveOneOut(level="paragraph")])
def test_scores_by_token_add_up(method: Attributor) -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    problem = build_problem((2, 3), response=response)
    attribution = method.attribute(problem, {"target": ModelScorer(model)})
    num_tokens = len(response.token_ids)
    assert attribution.token_scores is not None
    assert attribution.token_scores.shape == (5, num_tokens)
    sums = attribution.token_scores.sum(axis=1)
    np.testing.assert_allclose(sums, attribution.scores, atol=1e-9, rtol=0)
    spans = [attribution.span_scores(*span) for span in ((0, 2), (2, 3), (3, num_tokens))]
    np.testing.assert_allclose(sum(spans), attribution.scores, atol=1e-9, rtol=0)
    np.testing.assert_array_equal(attribution.span_scores(2, 3), attribution.token_scores[:, 2])
    # Each span matters by itself: no two are alike.
    assert np.nanmin(np.abs(spans[0] - spans[1])) > TOLERANCE


def test_a_span_is_what_its_own_tokens_lose() -> None:
    """The same sources without one, and the log-likelihoods of two tokens alone, by the oracle."""
    model = tiny_language_model("llama")
    problem = build_problem((2, 3), response=response_from_text(model, ANSWER))
    attribution = LeaveOneOut().attribute(problem, {"target": ModelScorer(model)})
    removals = [[], *([node] for node in problem.tree.sources)]
    prompts = [model.encode_prompt(problem.prompt(removed)).token_ids for removed in removals]
    likelihoods = naive_token_log_likelihoods(model, prompts, problem.response.token_ids)
    values = likelihoods[:, 1:3].sum(axis=1)
    np.testing.assert_allclose(
        attribution.span_scores(1, 3), values[0] - values[1:], atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("span", [(0, 0), (3, 2), (-1, 2), (0, 8), (7, 8)])
def test_a_span_outside_the_response_is_refused(span: tuple[int, int]) -> None:
    problem = build_problem((2, 3))
    scorer = AdditiveScorer.planted(problem, (1.0, 2.0, 3.0, 4.0, 5.0))
    attribution = LeaveOneOut().attribute(problem, {"target": scorer})
    message = rf"within the response's 7 tokens; got \[{span[0]}, {span[1]}\)"
    with pytest.raises(InvalidInputError, match=message):
        attribution.span_scores(*span)


def test_a_method_that_scores_whole_responses_has_no_spans() -> None:
    attribution = Attribution(np.zeros((1, 5)), Cost())
    with pytest.raises(InvalidInputError, match=r"no scores by token: use .* leave-one-out"):
        attribution.span_scores(0, 1)
