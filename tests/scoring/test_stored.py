"""Answers that are kept: shared by methods, each of which is told what it would cost alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.racing import Racing
from attribot.attributors.two_stage import TwoStage
from attribot.content_cache import ContentCache
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.pipeline import attribute_example
from attribot.scoring.base import HiddenSpans, MaskScorer, Openable, Scorer, TokenScorer
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.planning import Strategy
from attribot.scoring.readings import (
    AttentionMass,
    AttentionRollout,
    HeadAttention,
    IntegratedGradients,
    LookaheadAttention,
    Reading,
    ValueWeightedAttention,
)
from attribot.scoring.readings import GradientNorm as GradientNormReading
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import SharedScorer, StoredScorer
from attribot.types import Cost, FloatArray, Response
from tests.attributors.fakes import build_problem
from tests.models.tiny import tiny_language_model

TOLERANCE = 1e-4
PROMPT = "The castle stands on a hill. The king built it. Who built the castle?"
PROMPTS = (PROMPT, "The king built it. Who built the castle?", "Who built the castle?")
QUERY = np.array([[47, len(PROMPT)]])
ABLATIONS = (
    HiddenSpans(np.array([[0, 28]]), QUERY),
    HiddenSpans(np.array([[28, 47]]), QUERY),
    HiddenSpans(np.array([[0, 28]]), QUERY, num_following=2),
    HiddenSpans(np.array([[0, 28]]), np.array([[28, len(PROMPT)]])),
)
METHODS: dict[str, Attributor] = {
    "loo": LeaveOneOut(),
    "masked": LeaveOneOut(ablation=Mask()),
    "attention": Attention(),
    "gradient": GradientNorm(),
    "paragraphs": LeaveOneOut(level="paragraph"),
    "hierarchical": TwoStage(LeaveOneOut(level="paragraph"), TopK(1, "paragraph"), LeaveOneOut()),
    "screened": TwoStage(Attention(), TopK(2), LeaveOneOut()),
    "race": Racing(LeaveOneOut(ablation=Mask()), LeaveOneOut(), places=2, heat=1),
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_language_model("llama")


@pytest.fixture(scope="module")
def response(model: LanguageModel) -> Response:
    return response_from_text(model, "The king of the north.")


@pytest.fixture(scope="module")
def problem(response: Response) -> Problem:
    return build_problem((2, 3), response=response)


@pytest.fixture
def engine_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every call that reaches an engine, and so a model."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(LikelihoodEngine, name)

        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return real(*arguments, **named)

        return call

    for name in (
        "pair_log_likelihoods",
        "masked_log_likelihoods",
        "read",
    ):
        monkeypatch.setattr(LikelihoodEngine, name, noted(name))
    return calls


def counted(cost: Cost) -> Cost:
    """What is counted, without what is measured."""
    return replace(cost, wall_seconds=0.0, peak_memory_bytes=0)


Answer = tuple[FloatArray, Cost]
Ask = Callable[[Any, Response], Answer]


def masked(ablations: Sequence[HiddenSpans], close_gaps: bool) -> Ask:
    def ask(scorer: MaskScorer, response: Response) -> Answer:
        scores = scorer.score_masked(PROMPT, ablations, response, close_gaps)
        return scores.token_log_likelihoods, scores.cost

    return ask


def by_token(reading: Reading) -> Ask:
    def ask(scorer: TokenScorer, response: Response) -> Answer:
        scores = scorer.read(PROMPT, response, reading)
        return scores.values, scores.cost

    return ask


def deleted(scorer: Scorer, response: Response) -> Answer:
    scores = scorer.score(PROMPTS, response)
    return scores.token_log_likelihoods, scores.cost


ASKS: dict[str, Ask] = {
    "deleted": deleted,
    "masked": masked(ABLATIONS, close_gaps=True),
    "masked, gaps kept": masked(ABLATIONS, close_gaps=False),
    "attention": by_token(AttentionMass()),
    "attention by head": by_token(HeadAttention()),
    "values": by_token(ValueWeightedAttention()),
    "rollout": by_token(AttentionRollout()),
    "lookahead": by_token(LookaheadAttention(2, 5)),
    "gradient": by_token(GradientNormReading()),
    "gradients along a way": by_token(IntegratedGradients((3, 20), num_steps=2)),
}


@pytest.mark.parametrize("name", ASKS)
def test_stored_answers_equal_the_model_and_are_computed_once(
    model: LanguageModel, response: Response, name: str, engine_calls: list[str], tmp_path: Path
) -> None:
    """By the same scorer, a session of it, and another one that opens the file anew."""
    ask, scorer = ASKS[name], ModelScorer(model)
    expected, expected_cost = ask(scorer, response)
    with ContentCache(tmp_path / "scores.sqlite") as cache:
        stored = StoredScorer(scorer, cache)
        values, cost = ask(stored, response)
        np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
        assert counted(cost) == counted(expected_cost)
        assert len(engine_calls) == 2
        for again in (stored, stored.opened()):
            repeated, free = ask(again, response)
            np.testing.assert_array_equal(repeated, values)
            assert free == Cost()
    with ContentCache(tmp_path / "scores.sqlite") as cache:
        repeated, free = ask(StoredScorer(ModelScorer(model), cache), response)
    np.testing.assert_array_equal(repeated, values)
    assert free == Cost()
    assert len(engine_calls) == 2


def test_stored_token_scores_keep_their_places(model: LanguageModel, response: Response) -> None:
    stored = StoredScorer(ModelScorer(model), ContentCache())
    for _ in range(2):
        spans = stored.read(PROMPT, response, AttentionMass()).char_spans
        np.testing.assert_array_equal(spans, model.encode_prompt(PROMPT).char_spans)


@pytest.mark.parametrize(
    ("reading", "kind"),
    [(AttentionMass(), "attention_mass"), (GradientNormReading(), "gradient_norm")],
)
def test_answers_stored_before_readings_had_classes_are_found(
    model: LanguageModel, response: Response, reading: Reading, kind: str
) -> None:
    cache = ContentCache()
    key = {
        "kind": kind,
        "model": model.fingerprint,
        "prompt": PROMPT,
        "response": list(response.token_ids),
    }
    cache.put(key, [1.0, 2.0])
    scores = StoredScorer(ModelScorer(model), cache).read(PROMPT, response, reading)
    assert (scores.values.tolist(), scores.cost) == ([1.0, 2.0], Cost())


def test_only_masks_that_are_missing_are_computed(
    model: LanguageModel, response: Response, engine_calls: list[str]
) -> None:
    """Whatever is asked otherwise is another question: window, gaps, following tokens, response."""
    stored = StoredScorer(ModelScorer(model), ContentCache())
    first, _ = masked(ABLATIONS[:2], close_gaps=True)(stored, response)
    mixed, cost = masked(ABLATIONS[::-1], close_gaps=True)(stored, response)
    np.testing.assert_array_equal(mixed[[3, 2]], first)
    expected, _ = masked(ABLATIONS[::-1], close_gaps=True)(ModelScorer(model), response)
    np.testing.assert_allclose(mixed, expected, atol=TOLERANCE, rtol=0)
    # The two that are new, and the whole prompt that they branch off.
    assert cost.forward_passes == 3
    assert len(engine_calls) == 3
    other = response_from_text(model, "A bridge.")
    for ask, said in (
        (masked(ABLATIONS, close_gaps=False), response),
        (masked(ABLATIONS, close_gaps=True), other),
        (deleted, response),
        (by_token(AttentionMass()), response),
        (by_token(GradientNormReading()), response),
        (by_token(HeadAttention()), response),
        (by_token(LookaheadAttention(2, 5)), response),
        (by_token(LookaheadAttention(3, 5)), response),
        (by_token(LookaheadAttention(3, 7)), response),
        (by_token(AttentionMass()), other),
    ):
        before = len(engine_calls)
        values, _ = ask(stored, said)
        assert len(engine_calls) == before + 1
        expected, _ = ask(ModelScorer(model), said)
        np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)


def test_stored_and_shared_scorers_answer_all_protocols(model: LanguageModel) -> None:
    scorer = ModelScorer(model)
    stored = StoredScorer(scorer, ContentCache())
    for kept in (stored, SharedScorer(stored, scorer.planning())):
        for protocol in (Scorer, MaskScorer, TokenScorer, Openable):
            assert isinstance(kept, protocol)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["packed", "cached", "naive"])
@pytest.mark.parametrize(
    "order",
    [tuple(METHODS), tuple(METHODS)[::-1], ("race", "masked", "hierarchical", "loo", "race")],
    ids=["in turn", "backwards", "twice"],
)
def test_shared_answers_are_the_models_and_their_costs_those_of_a_method_alone(
    model: LanguageModel, problem: Problem, strategy: Strategy, order: Sequence[str]
) -> None:
    """Whatever was stored before, and although the answers come from a scorer of other settings."""
    plain = ModelScorer(model, strategy, batch_size=2)
    stored = StoredScorer(ModelScorer(model), ContentCache()).opened()
    for name in order:
        shared = SharedScorer(stored, plain.planning())
        attribution = attribute_example(problem, METHODS[name], {"target": shared})
        alone = attribute_example(problem, METHODS[name], {"target": plain})
        np.testing.assert_allclose(
            attribution.stage_scores, alone.stage_scores, atol=TOLERANCE, rtol=0, err_msg=name
        )
        assert counted(attribution.cost) == counted(alone.cost), name
        # What a plan estimates of memory is not what was measured.
        assert attribution.cost.peak_memory_bytes == 0


def test_methods_that_share_ask_the_model_once(
    model: LanguageModel, problem: Problem, engine_calls: list[str]
) -> None:
    scorer = ModelScorer(model)
    shared = SharedScorer(StoredScorer(scorer, ContentCache()).opened(), scorer.planning())
    for name in METHODS:
        attribute_example(problem, METHODS[name], {"target": shared})
    num_calls = len(engine_calls)
    for name in METHODS:
        attribute_example(problem, METHODS[name], {"target": shared})
    assert len(engine_calls) == num_calls
    # The race finds all of its questions answered: its estimates were "masked", its scores "loo".
    assert num_calls < len(METHODS)


def test_a_shared_scorer_counts_within_a_method_what_is_asked_twice_once(
    model: LanguageModel, response: Response
) -> None:
    scorer = ModelScorer(model)
    shared = SharedScorer(StoredScorer(scorer, ContentCache()).opened(), scorer.planning())
    opened = shared.opened()
    first = opened.score(PROMPTS, response)
    assert counted(first.cost) == counted(scorer.score(PROMPTS, response).cost)
    again = opened.score(PROMPTS, response)
    assert counted(again.cost) == Cost()
    np.testing.assert_array_equal(again.token_log_likelihoods, first.token_log_likelihoods)
    # Another method begins its count anew.
    assert counted(shared.opened().score(PROMPTS, response).cost) == counted(first.cost)
