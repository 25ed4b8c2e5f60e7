"""Nothing is computed twice: from call to call, from response to response, and after generating."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from attribot.attributors.ablation import Mask
from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.models.generation import (
    GenerationSettings,
    generate_response,
    generate_with_prefix,
    response_from_text,
)
from attribot.models.internals import attention_mass
from attribot.models.language_model import LanguageModel
from attribot.pipeline import attribute_example, attribute_responses
from attribot.scoring.base import HiddenSpans
from attribot.scoring.planning import Strategy
from attribot.scoring.readings import (
    AttentionMass,
    HeadAttention,
    LookaheadAttention,
    Reading,
    ValueWeightedAttention,
)
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, FloatArray, Response
from tests.attributors.fakes import build_problem
from tests.models.tiny import VARIANT_PARAMS, VARIANTS, Architecture, tiny_language_model
from tests.oracle import naive_token_log_likelihoods

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
SENTENCES = (
    "The castle stands on a hill.",
    " The king built it in spring.",
    " A bridge crosses the river.",
    " The river runs to the sea.",
    " It is of stone.",
    " Ships come from the north.",
    " The sea is far away.",
)
QUERY = " Who built the castle?"
ANSWER = "The king of the north."
EVERYTHING = range(len(SENTENCES))
# Without early and late sentences; what is left of the context is mostly new to a session.
PRUNED = (1, 3, 4)
# Among these, some share a prefix, two pairs differ in the last token only, and three are a token.
RESPONSE_IDS = (
    (5, 17, 101, 23, 7),
    (5, 17, 101, 40),
    (5, 17, 101, 23, 9),
    (9,),
    (5, 17),
    (11,),
    (5,),
)


@pytest.fixture(params=VARIANT_PARAMS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    settings: Any = VARIANTS[request.param]
    return tiny_language_model(request.param.split(",")[0], **settings)


def prompt_of(kept: Sequence[int]) -> str:
    return "".join(SENTENCES[source] for source in kept) + QUERY


def leave_one_out_prompts(kept: Sequence[int]) -> list[str]:
    """The prompt of the kept sentences, and those without one of them."""
    return [
        prompt_of([source for source in kept if source != removed]) for removed in (None, *kept)
    ]


def hidden(kept: Sequence[int], removed: Sequence[int], to_the_end: bool = False) -> HiddenSpans:
    """Removed sentences of `prompt_of(kept)`; the next one and the query are computed anew, or
    everything behind the first."""
    ends = np.cumsum([len(SENTENCES[source]) for source in kept])
    starts = ends - [len(SENTENCES[source]) for source in kept]
    places = [list(kept).index(source) for source in removed]
    extents = np.stack([starts, ends], axis=1)
    end = len(prompt_of(kept))
    if to_the_end:
        return HiddenSpans(extents[places], np.array([[starts[places[0]], end]]))
    behind = [place + 1 for place in places if place + 1 < len(kept)]
    return HiddenSpans(extents[places], np.concatenate([extents[behind], [[ends[-1], end]]]))


def oracle(model: LanguageModel, prompts: Sequence[str], response: Response) -> FloatArray:
    encoded = [model.encode_prompt(prompt).token_ids for prompt in prompts]
    return naive_token_log_likelihoods(model, encoded, response.token_ids)


def responses_of(model: LanguageModel) -> list[Response]:
    return [Response("", ids, model.tokenizer_sha, has_end_token=False) for ids in RESPONSE_IDS]


Ask = Callable[[ModelScorer], tuple[FloatArray, Cost]]


def asked_in_turn(response: Response) -> dict[str, Ask]:
    """The calls of one session."""

    def deleted(kept: Sequence[int]) -> Ask:
        def ask(scorer: ModelScorer) -> tuple[FloatArray, Cost]:
            scores = scorer.score(leave_one_out_prompts(kept), response)
            return scores.token_log_likelihoods, scores.cost

        return ask

    def masked(kept: Sequence[int], close_gaps: bool, **window: Any) -> Ask:
        ablations = [hidden(kept, removed, **window) for removed in (kept[:1], kept[1:3])]

        def ask(scorer: ModelScorer) -> tuple[FloatArray, Cost]:
            scores = scorer.score_masked(prompt_of(kept), ablations, response, close_gaps)
            return scores.token_log_likelihoods, scores.cost

        return ask

    def read(kept: Sequence[int], reading: Reading) -> Ask:
        def ask(scorer: ModelScorer) -> tuple[FloatArray, Cost]:
            scores = scorer.read(prompt_of(kept), response, reading)
            return scores.values, scores.cost

        return ask

    return {
        "full": deleted(EVERYTHING),
        "pruned": deleted(PRUNED),
        "masked": masked(EVERYTHING, close_gaps=True),
        "masked, gaps kept": masked(EVERYTHING, close_gaps=False),
        "masked to the end": masked(EVERYTHING, close_gaps=True, to_the_end=True),
        "masked, pruned": masked(PRUNED, close_gaps=True),
        "attention": read(EVERYTHING, AttentionMass()),
        "attention by head": read(EVERYTHING, HeadAttention()),
        "attention by value": read(EVERYTHING, ValueWeightedAttention()),
        "attention ahead": read(EVERYTHING, LookaheadAttention(3, 5)),
    }


def expected_of(model: LanguageModel, response: Response) -> dict[str, FloatArray]:
    """What the slow and obvious way gives; nothing for windows in which traces are left."""
    encoded = model.encode_prompt(prompt_of(EVERYTHING))
    prompt, without = encoded.token_ids, []
    for removed in (EVERYTHING[:1], EVERYTHING[1:3]):
        extents = hidden(EVERYTHING, removed).removed
        gone = {
            token
            for token, (start, end) in enumerate(encoded.char_spans)
            if any(low <= start and end <= high for low, high in extents)
        }
        assert 5 < len(gone) < len(prompt) / 2
        without.append(tuple(t for token, t in enumerate(prompt) if token not in gone))
    return {
        "full": oracle(model, leave_one_out_prompts(EVERYTHING), response),
        "pruned": oracle(model, leave_one_out_prompts(PRUNED), response),
        "masked to the end": naive_token_log_likelihoods(model, without, response.token_ids),
        "attention": attention_mass(model.model, prompt, response.token_ids),
    }


def test_every_call_of_a_session_equals_the_oracle_and_later_ones_compute_less(
    model: LanguageModel,
) -> None:
    response = response_from_text(model, ANSWER)
    expected = expected_of(model, response)
    opened, fresh = ModelScorer(model).opened(), ModelScorer(model)
    for number, (name, ask) in enumerate(asked_in_turn(response).items()):
        values, cost = ask(opened)
        alone, alone_cost = ask(fresh)
        np.testing.assert_allclose(values, alone, atol=TOLERANCE, rtol=0, err_msg=name)
        if name in expected:
            np.testing.assert_allclose(values, expected[name], atol=TOLERANCE, rtol=0, err_msg=name)
        if number == 0:
            assert cost.computed_tokens == alone_cost.computed_tokens
        else:
            assert cost.computed_tokens < alone_cost.computed_tokens, name
            assert cost.flops < alone_cost.flops, name


def test_masking_in_a_session_computes_what_is_new_only(model: LanguageModel) -> None:
    """States of the whole and of the pruned prompt are held: windows and the response are left."""
    response = response_from_text(model, ANSWER)
    opened = ModelScorer(model).opened()
    for kept in (EVERYTHING, PRUNED):
        opened.score(leave_one_out_prompts(kept), response)
    num_fed = len(response.token_ids) - 1
    for kept, removed in ((EVERYTHING, 2), (PRUNED, 3)):
        ablation = hidden(kept, (removed,))
        (next_start, next_end), (query_start, _) = ablation.recomputed
        starts, ends = model.encode_prompt(prompt_of(kept)).char_spans.T
        is_next = (starts >= next_start) & (ends <= next_end)
        is_query = starts >= query_start
        is_template_behind = np.arange(len(starts)) > np.flatnonzero(is_query)[-1]
        num_window = (is_next | is_query | is_template_behind).sum()
        cost = opened.score_masked(prompt_of(kept), [ablation], response, close_gaps=True).cost
        # The row of nothing removed rides along; of it, only what gives logits is computed again.
        assert cost.computed_tokens == num_window + num_fed + 1 + num_fed


def test_attention_to_a_prompt_that_is_held_in_parts_is_computed_whole(
    model: LanguageModel,
) -> None:
    """The pruned prompt's first tokens are held with the whole prompt, the others on their own."""
    response = response_from_text(model, ANSWER)
    opened = ModelScorer(model).opened()
    # Both prompts of GPT-2 would begin differently without the first sentence.
    kept = (0, 3, 4, 6)
    for sources in (EVERYTHING, kept):
        opened.score([prompt_of(sources)], response)
    tokens = opened.read(prompt_of(kept), response, AttentionMass())
    encoded = model.encode_prompt(prompt_of(kept)).token_ids
    expected = attention_mass(model.model, encoded, response.token_ids)
    np.testing.assert_allclose(tokens.values, expected, atol=TOLERANCE, rtol=0)
    assert tokens.cost.reused_tokens == 0


@pytest.mark.parametrize("strategy", ["packed", "cached", "naive"])
def test_what_was_asked_before_costs_nothing(strategy: Strategy) -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    scorer = ModelScorer(model, strategy).opened()
    prompts = leave_one_out_prompts(EVERYTHING)
    ablations = [hidden(EVERYTHING, removed) for removed in ((0,), (1, 2))]
    first = scorer.score(prompts, response)
    again = scorer.score(prompts[::-1], response)
    assert again.cost == Cost()
    np.testing.assert_array_equal(again.token_log_likelihoods, first.token_log_likelihoods[::-1])
    masked = scorer.score_masked(prompts[0], ablations, response, close_gaps=True)
    again = scorer.score_masked(prompts[0], ablations[::-1], response, close_gaps=True)
    assert again.cost == Cost()
    np.testing.assert_array_equal(again.token_log_likelihoods, masked.token_log_likelihoods[::-1])
    # Hiding nothing is asking for the whole prompt, which is known.
    nothing = HiddenSpans(np.empty((0, 2), dtype=np.int64), ablations[0].recomputed)
    whole = scorer.score_masked(prompts[0], [nothing], response, close_gaps=False)
    assert whole.cost == Cost()
    np.testing.assert_allclose(
        whole.token_log_likelihoods, first.token_log_likelihoods[:1], atol=TOLERANCE, rtol=0
    )
    # Only the new prompt is scored, and a kept gap is another question than a closed one.
    mixed = scorer.score([prompts[3], prompt_of(PRUNED), prompts[1]], response)
    assert mixed.cost.forward_passes == 1
    assert scorer.score_masked(prompts[0], ablations, response, False).cost.forward_passes > 0


def test_sessions_do_not_profit_from_each_other() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, ANSWER)
    scorer = ModelScorer(model)
    prompts = leave_one_out_prompts(EVERYTHING)
    first, *others = (
        replace(s.score(prompts, response).cost, peak_memory_bytes=0)
        for s in (scorer.opened(), scorer.opened(), scorer, scorer, scorer.opened().opened())
    )
    assert others == [first] * 4


def test_a_session_may_start_with_ablations_and_meet_the_whole_prompt_later(
    model: LanguageModel,
) -> None:
    """The first call's first prompt is held; the whole one then branches off it."""
    response = response_from_text(model, ANSWER)
    scorer = ModelScorer(model).opened()
    for prompts in (
        leave_one_out_prompts(PRUNED)[1:],
        leave_one_out_prompts(EVERYTHING)[4:],
        [prompt_of(EVERYTHING) + " And why?"],
        leave_one_out_prompts(EVERYTHING),
    ):
        values = scorer.score(prompts, response).token_log_likelihoods
        expected = oracle(model, prompts, response)
        np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("strategy", ["packed", "cached", "naive"])
def test_responses_together_equal_one_call_each(
    model: LanguageModel, strategy: Strategy, batch_size: int
) -> None:
    responses = responses_of(model)
    prompts = leave_one_out_prompts(PRUNED)
    scorer = ModelScorer(model, strategy, batch_size)
    together, cost = scorer.score_responses(prompts, responses)
    separate = sum((scorer.score(prompts, response).cost for response in responses), Cost())
    for values, response in zip(together, responses, strict=True):
        expected = oracle(model, prompts, response)
        np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    if strategy == "naive":
        assert replace(cost, peak_memory_bytes=0) == replace(separate, peak_memory_bytes=0)
    else:
        assert cost.computed_tokens < separate.computed_tokens / 2


@pytest.mark.parametrize("close_gaps", [True, False])
def test_responses_to_masked_prompts_equal_one_call_each(
    model: LanguageModel, close_gaps: bool
) -> None:
    responses, prompt = responses_of(model), prompt_of(EVERYTHING)
    ablations = [
        hidden(EVERYTHING, (0,)),
        hidden(EVERYTHING, (2, 4)),
        hidden(EVERYTHING, (3,), to_the_end=True),
        # No window: of the prompt only the part of the chat template behind it is anew.
        replace(hidden(EVERYTHING, (5,)), recomputed=np.array([[len(prompt) - 2, len(prompt)]])),
    ]
    scorer = ModelScorer(model)
    together, cost = scorer.score_masked_responses(prompt, ablations, responses, close_gaps)
    separate = Cost()
    for values, response in zip(together, responses, strict=True):
        one = scorer.score_masked(prompt, ablations, response, close_gaps)
        separate += one.cost
        np.testing.assert_allclose(values, one.token_log_likelihoods, atol=TOLERANCE, rtol=0)
    assert cost.computed_tokens < separate.computed_tokens / 2


def test_generating_leaves_the_same_response_and_the_states_of_the_prompt(
    model: LanguageModel,
) -> None:
    prompts = leave_one_out_prompts(EVERYTHING)
    for temperature in (0.0, 0.7):
        settings = GenerationSettings(max_new_tokens=7, temperature=temperature)
        response, prefix = generate_with_prefix(model, prompts[0], settings)
        assert response == generate_response(
            model, prompts[0], max_new_tokens=7, temperature=temperature
        )
        assert prefix is not None
        encoded = model.encode_prompt(prompts[0]).token_ids
        assert prefix.token_ids == encoded + response.token_ids[:-1]
        whole = ModelScorer(model).opened(prefix).score(prompts[:1], response)
        # What predicts the response: the last prompt token, and all but the last of the response.
        assert whole.cost.computed_tokens == len(response.token_ids)
        assert whole.cost.reused_tokens == len(encoded) - 1
        scorer = ModelScorer(model)
        scores = scorer.opened(prefix).score(prompts, response)
        expected = oracle(model, prompts, response)
        np.testing.assert_allclose(scores.token_log_likelihoods, expected, atol=TOLERANCE, rtol=0)
        alone = scorer.opened().score(prompts, response).cost
        assert alone.computed_tokens - scores.cost.computed_tokens == len(encoded) - 1


def test_other_calls_take_over_what_generating_has_left(model: LanguageModel) -> None:
    prompt = prompt_of(EVERYTHING)
    response, prefix = generate_with_prefix(model, prompt, GenerationSettings(max_new_tokens=7))
    encoded = model.encode_prompt(prompt).token_ids
    attention = ModelScorer(model).opened(prefix).read(prompt, response, AttentionMass())
    expected = attention_mass(model.model, encoded, response.token_ids)
    np.testing.assert_allclose(attention.values, expected, atol=TOLERANCE, rtol=0)
    assert attention.cost.computed_tokens == len(response.token_ids)
    ablations = [hidden(EVERYTHING, (2,))]
    masked, alone = (
        scorer.score_masked(prompt, ablations, response, close_gaps=True)
        for scorer in (ModelScorer(model).opened(prefix), ModelScorer(model))
    )
    np.testing.assert_allclose(
        masked.token_log_likelihoods, alone.token_log_likelihoods, atol=TOLERANCE, rtol=0
    )
    saved = alone.cost.computed_tokens - masked.cost.computed_tokens
    assert saved == len(encoded) - 1


def test_a_recurrent_model_leaves_no_states_and_its_sessions_score_whole() -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 331,
        "hidden_size": 24,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "mamba_d_ssm": 16,
        "mamba_n_heads": 2,
        "mamba_d_head": 8,
        "mamba_d_state": 5,
        "mamba_n_groups": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    config = transformers.FalconH1Config(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hybrid = transformers.FalconH1ForCausalLM(config).eval()
    model = replace(tiny_language_model("llama"), model=hybrid)
    prompts = leave_one_out_prompts(PRUNED)
    response, prefix = generate_with_prefix(model, prompts[0], GenerationSettings(max_new_tokens=5))
    assert response == generate_response(model, prompts[0], max_new_tokens=5)
    assert prefix is None
    scorer = ModelScorer(model).opened(prefix)
    scores = scorer.score(prompts, response)
    expected = oracle(model, prompts, response)
    np.testing.assert_allclose(scores.token_log_likelihoods, expected, atol=TOLERANCE, rtol=0)
    assert scores.cost.reused_tokens == 0
    assert scorer.score(prompts, response).cost == Cost()


HIERARCHICAL = TwoStage(LeaveOneOut(level="paragraph"), TopK(1, "paragraph"), LeaveOneOut())
METHODS: dict[str, Attributor] = {
    "leave one out": LeaveOneOut(),
    "masked": LeaveOneOut(ablation=Mask()),
    "attention": Attention(),
    "hierarchical": HIERARCHICAL,
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_attributing_responses_together_equals_one_by_one(
    architecture: Architecture, name: str
) -> None:
    model = tiny_language_model(architecture)
    problem = build_problem((2, 3))
    responses = [
        *(response_from_text(model, text) for text in (ANSWER, "The king of stone.", "A bridge.")),
        *responses_of(model)[:2],
    ]
    scorers = {"target": ModelScorer(model), "embedder": object()}
    together = attribute_responses(problem, responses, METHODS[name], scorers)
    one_by_one = [
        attribute_example(replace(problem, response=response), METHODS[name], scorers)
        for response in responses
    ]
    for shared, alone in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(
            shared.stage_scores, alone.stage_scores, atol=10 * TOLERANCE, rtol=0
        )
    costs = [sum(a.cost.computed_tokens for a in part) for part in (together, one_by_one)]
    assert costs[0] < costs[1]
    if name in ("leave one out", "masked"):
        # The first bears all: what is asked about the others was scored along.
        assert [a.cost for a in together[1:]] == [Cost()] * (len(responses) - 1)
