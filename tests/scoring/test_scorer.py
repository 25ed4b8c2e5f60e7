"""Texts in, log-likelihoods out: what a scorer adds to the engine, and what is kept on disk."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError, PromptTooLongError
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.scoring.base import HiddenSpans, Scorer, Scores, TokenScorer
from attribot.scoring.hiding import MaskedPrompt, token_anchors
from attribot.scoring.planning import Strategy
from attribot.scoring.readings import (
    AttentionMass,
    AttentionRollout,
    GradientNorm,
    GradientTimesInput,
    HeadAttention,
    IntegratedGradients,
    LookaheadAttention,
    Reading,
    ValueWeightedAttention,
)
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import StoredScorer
from attribot.types import Cost, FloatArray, IntArray, Response
from tests.models.tiny import Architecture, tiny_language_model
from tests.oracle import naive_token_log_likelihoods

TOLERANCE = 1e-4
PROMPTS = (
    "The castle stands on a hill. The king built it. Who built the castle?",
    "The king built it. Who built the castle?",
    "The castle stands on a hill. Who built the castle?",
    "Who built the castle?",
    "Wer baute die Burg? 🏰 Der König.",
)
ANSWER = "The king of the north."


def oracle(model: LanguageModel, response_ids: tuple[int, ...]) -> FloatArray:
    encoded = [model.encode_prompt(prompt).token_ids for prompt in PROMPTS]
    return naive_token_log_likelihoods(model, encoded, response_ids)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_every_strategy_and_batch_size_equals_the_oracle(
    architecture: Architecture, strategy: Strategy, batch_size: int
) -> None:
    model = tiny_language_model(architecture)
    response = response_from_text(model, ANSWER)
    scores = ModelScorer(model, strategy, batch_size).score(PROMPTS, response)
    expected = oracle(model, response.token_ids)
    np.testing.assert_allclose(scores.token_log_likelihoods, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(scores.log_likelihoods, expected.sum(axis=1), atol=TOLERANCE)
    assert scores.token_log_likelihoods.dtype == np.float64


@pytest.mark.parametrize("has_end_token", [True, False])
def test_another_tokenizer_encodes_the_response_anew(has_end_token: bool) -> None:
    writer = tiny_language_model("llama")
    reader = tiny_language_model("qwen2", vocab_size=277, seed=3)
    response = response_from_text(writer, ANSWER, add_end_token=has_end_token)
    own = tuple(reader.tokenizer(ANSWER, add_special_tokens=False)["input_ids"])
    own += (reader.tokenizer.eos_token_id,) * has_end_token
    assert own != response.token_ids
    scores = ModelScorer(reader).score(PROMPTS, response)
    np.testing.assert_allclose(
        scores.token_log_likelihoods, oracle(reader, own), atol=TOLERANCE, rtol=0
    )


def test_double_bos_is_scored_as_asked() -> None:
    """The ids differ from the usual ones by one more BOS in front, and so do the likelihoods."""
    once, twice = tiny_language_model("llama"), tiny_language_model("llama", double_bos=True)
    response = response_from_text(once, ANSWER)
    bos = (once.tokenizer.bos_token_id,)
    encoded = [bos + once.encode_prompt(prompt).token_ids for prompt in PROMPTS]
    expected = naive_token_log_likelihoods(once, encoded, response.token_ids)
    values = ModelScorer(twice).score(PROMPTS, response).token_log_likelihoods
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    usual = ModelScorer(once).score(PROMPTS, response).token_log_likelihoods
    assert np.abs(values - usual).max() > 100 * TOLERANCE


def test_a_prompt_that_fits_exactly_is_scored_and_one_more_token_is_refused() -> None:
    """The longest prompt decides, wherever it stands; nothing is cut to make it fit."""
    usual = tiny_language_model("llama")
    response = response_from_text(usual, ANSWER)
    lengths = {prompt: len(usual.encode_prompt(prompt).token_ids) for prompt in PROMPTS}
    longest = max(PROMPTS, key=lambda prompt: lengths[prompt])
    needed = lengths[longest] + len(response.token_ids)
    fitting = tiny_language_model("llama", max_positions=needed)
    values = ModelScorer(fitting).score(PROMPTS, response).token_log_likelihoods
    expected = oracle(fitting, response.token_ids)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    short = ModelScorer(tiny_language_model("llama", max_positions=needed - 1))
    message = rf"take {needed} tokens, but tiny-llama-0 accepts at most {needed - 1}: shorten"
    asked: list[Callable[[], object]] = [
        lambda: short.score(PROMPTS, response),
        lambda: short.score(PROMPTS[::-1], response),
        lambda: short.read(longest, response, AttentionMass()),
        lambda: short.read(longest, response, GradientNorm()),
    ]
    for ask in asked:
        with pytest.raises(PromptTooLongError, match=message) as caught:
            ask()
        assert (caught.value.num_tokens, caught.value.max_tokens) == (needed, needed - 1)
    short.score([prompt for prompt in PROMPTS if prompt != longest], response)


def test_what_was_asked_is_remembered_in_few_bytes() -> None:
    """Whatever its length: thousands of prompts of a long context would take gigabytes."""
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    sizes = []
    for repeats in (1, 7):
        scorer = ModelScorer(model).opened()
        prompts = [prompt * repeats for prompt in PROMPTS]
        hidden = [HiddenSpans(np.array([[i, 19]]), np.array([[19, 29]])) for i in (0, 4)]
        values = scorer.score(prompts, response).token_log_likelihoods
        scorer.score_masked(prompts[0], hidden, response, close_gaps=True)
        scorer.divergences(prompts[0], prompts[1:], response)
        assert scorer.session is not None
        sizes.append(len(pickle.dumps([*scorer.session.known])))
        again = scorer.score(prompts, response)
        np.testing.assert_allclose(again.token_log_likelihoods, values, atol=TOLERANCE, rtol=0)
        assert again.cost.computed_tokens == 0
    assert sizes[0] == sizes[1]


def test_masks_of_one_prompt_are_read_off_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its tokens stand is found once for all; what is asked twice or hides nothing, too."""
    model, prompt = tiny_language_model("llama"), PROMPTS[0]
    calls: list[str] = []

    def counted(text: str, char_spans: IntArray) -> IntArray:
        calls.append(text)
        return token_anchors(text, char_spans)

    monkeypatch.setattr("attribot.scoring.hiding.token_anchors", counted)
    nothing, rest = np.zeros((0, 2), dtype=np.int64), np.array([[0, 29]])
    hidden = [np.array([[0, 19]]), nothing, np.array([[4, 19]]), np.array([[0, 19]])]
    masked = MaskedPrompt.of(model, prompt, [HiddenSpans(each, rest) for each in hidden])
    assert calls == [prompt]
    assert masked.rows == (1, 0, 2, 1)
    assert masked.removed.shape == (2, len(model.encode_prompt(prompt).token_ids))
    keys = [masked.key(row, (5,), True) for row in range(3)]
    assert len({*keys, masked.key(1, (5,), False), masked.key(1, (7,), True)}) == 5


def test_a_response_without_tokens_is_refused() -> None:
    model = tiny_language_model("llama")
    for sha in (model.tokenizer_sha, "another tokenizer"):
        with pytest.raises(InvalidInputError, match="the response is empty"):
            ModelScorer(model).score(PROMPTS, Response("", (), sha, has_end_token=False))


def test_a_model_scorer_answers_both_protocols() -> None:
    scorer = ModelScorer(tiny_language_model("llama"))
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, TokenScorer)


@pytest.mark.parametrize(
    ("reading", "leading"),
    [
        (AttentionMass(), ()),
        (HeadAttention(), (3, 4)),
        (ValueWeightedAttention(), ()),
        (AttentionRollout(), ()),
        (GradientNorm(), ()),
        (GradientTimesInput(), ()),
        (IntegratedGradients((0, 20), num_steps=1), ()),
    ],
)
def test_token_scores_are_aligned_and_cost_one_pass(
    reading: Reading, leading: tuple[int, ...]
) -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    scores = ModelScorer(model).read(PROMPTS[0], response, reading)
    encoded = model.encode_prompt(PROMPTS[0])
    assert scores.values.shape == (*leading, len(encoded.token_ids))
    np.testing.assert_array_equal(scores.char_spans, encoded.char_spans)
    num_tokens = len(encoded.token_ids) + len(response.token_ids) - 1
    assert (scores.cost.forward_passes, scores.cost.computed_tokens) == (1, num_tokens)
    planned = ModelScorer(model).planning().read(PROMPTS[0], response, reading)
    assert planned.values.shape == scores.values.shape
    assert planned.cost == replace(scores.cost, peak_memory_bytes=0)


@pytest.mark.parametrize("num_lookahead", [0, 3])
def test_lookahead_costs_a_pass_over_the_prompt_and_one_per_token(num_lookahead: int) -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    reading = LookaheadAttention(num_lookahead)
    cost = ModelScorer(model).read(PROMPTS[0], response, reading).cost
    length = len(model.encode_prompt(PROMPTS[0]).token_ids)
    assert cost.forward_passes == 1 + num_lookahead
    assert cost.computed_tokens == length + num_lookahead
    assert cost.reused_tokens == sum(range(length, length + num_lookahead))


def test_what_a_reading_generates_must_fit_the_context_window() -> None:
    length = len(tiny_language_model("llama").encode_prompt(PROMPTS[0]).token_ids)
    short = tiny_language_model("llama", max_positions=length + 4)
    response = Response("", (9,), short.tokenizer_sha, False)
    ModelScorer(short).read(PROMPTS[0], response, LookaheadAttention(4))
    with pytest.raises(PromptTooLongError, match=f"take {length + 5} tokens"):
        ModelScorer(short).read(PROMPTS[0], response, LookaheadAttention(5))


@dataclass(frozen=True)
class EarWax(Reading):
    name = "ear_wax"


def test_a_reading_that_no_engine_knows_is_refused() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    for scorer in (ModelScorer(model), ModelScorer(model).planning()):
        with pytest.raises(InvalidInputError, match=r"no engine knows how to read EarWax\(\)"):
            scorer.read(PROMPTS[0], response, EarWax())


@dataclass(frozen=True, eq=False)
class Counting(ModelScorer):
    """Notes the prompts that it really scores."""

    asked: list[str] = field(default_factory=list)

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        self.asked.extend(prompts)
        return super().score(prompts, response)


def test_stored_answers_equal_fresh_ones_and_cost_nothing() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    fresh = ModelScorer(model).score(PROMPTS, response)
    counting = Counting(model)
    stored = StoredScorer(counting, ContentCache())
    first = stored.score(PROMPTS, response)
    np.testing.assert_array_equal(first.token_log_likelihoods, fresh.token_log_likelihoods)
    assert replace(first.cost, peak_memory_bytes=0) == replace(fresh.cost, peak_memory_bytes=0)
    second = stored.score(PROMPTS[::-1], response)
    np.testing.assert_array_equal(second.token_log_likelihoods, fresh.token_log_likelihoods[::-1])
    assert second.cost == Cost()
    assert counting.asked == list(PROMPTS)


def test_only_what_is_missing_is_computed() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    counting = Counting(model)
    stored = StoredScorer(counting, ContentCache())
    stored.score(PROMPTS[1:3], response)
    mixed = stored.score(PROMPTS, response)
    assert counting.asked == [*PROMPTS[1:3], PROMPTS[0], *PROMPTS[3:]]
    expected = oracle(model, response.token_ids)
    np.testing.assert_allclose(mixed.token_log_likelihoods, expected, atol=TOLERANCE, rtol=0)


def test_another_model_prompt_or_response_is_another_key() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    cases = [
        (model, PROMPTS[0], response),
        (tiny_language_model("llama", seed=1), PROMPTS[0], response),
        (tiny_language_model("llama", double_bos=True), PROMPTS[0], response),
        (model, PROMPTS[0] + " ", response),
        (model, PROMPTS[0], response_from_text(model, ANSWER, add_end_token=False)),
        (model, PROMPTS[0], response_from_text(model, ANSWER[:-1])),
    ]
    with ContentCache() as cache:
        for language_model, prompt, said in cases:
            counting = Counting(language_model)
            StoredScorer(counting, cache).score([prompt], said)
            assert counting.asked == [prompt]
        for language_model, prompt, said in cases:
            counting = Counting(language_model)
            values = StoredScorer(counting, cache).score([prompt], said).token_log_likelihoods
            assert counting.asked == []
            ids = language_model.encode_prompt(prompt).token_ids
            expected = naive_token_log_likelihoods(language_model, [ids], said.token_ids)
            np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    """A cache that is opened again, and a model that is loaded again."""
    path = tmp_path / "scores.sqlite"
    response = response_from_text(tiny_language_model("llama"), ANSWER)
    answers, asked = [], []
    for _ in range(2):
        counting = Counting(tiny_language_model("llama"))
        with ContentCache(path) as cache:
            answers.append(StoredScorer(counting, cache).score(PROMPTS, response))
        asked.append(len(counting.asked))
    assert asked == [len(PROMPTS), 0]
    np.testing.assert_array_equal(
        answers[0].token_log_likelihoods, answers[1].token_log_likelihoods
    )
