import dataclasses
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.language_model import decoder_layers
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.engine import LikelihoodEngine
from tests.models.tiny import VARIANT_PARAMS, VARIANTS, tiny_language_model
from tests.oracle import naive_token_log_likelihoods

TOLERANCE = 1e-4
RESPONSE = (5, 17, 101, 23, 7)


@pytest.fixture(params=VARIANT_PARAMS)
def model(request):
    return tiny_language_model(request.param.split(",")[0], **VARIANTS[request.param])


def leave_one_out_prompts(seed=0, num_sources=7, length=59):
    """The full prompt, and the prompt without each of its sources, of 2 to 13 tokens each."""
    rng = np.random.default_rng(seed)
    ids = tuple(int(i) for i in rng.integers(4, 300, size=length))
    cuts = np.sort(rng.choice(np.arange(5, length - 3), size=num_sources + 1, replace=False))
    return [ids] + [ids[:a] + ids[b:] for a, b in pairwise(cuts)]


@pytest.mark.parametrize(
    "settings",
    [
        *({"strategy": s, "batch_size": b} for s in ("naive", "cached") for b in (1, 3, 7)),
        *({"strategy": s, "all_logits": True, "batch_size": 3} for s in ("naive", "cached")),
        *({"strategy": "packed", "max_tokens_per_pass": n} for n in (1, 61, 173, 4096)),
    ],
    ids=str,
)
def test_equals_one_whole_pass_per_prompt(model, settings):
    prompts = leave_one_out_prompts()
    engine = LikelihoodEngine(model.model, **settings)
    assert engine.taken_strategy == settings["strategy"]
    values, _ = engine.token_log_likelihoods(prompts, RESPONSE)
    expected = naive_token_log_likelihoods(model, prompts, RESPONSE)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected.sum(axis=1)) > 100 * TOLERANCE


@pytest.mark.parametrize("strategy", ["packed", "cached"])
def test_order_and_repetition_of_prompts_do_not_matter(model, strategy):
    prompts = leave_one_out_prompts(seed=1)
    engine = LikelihoodEngine(model.model, strategy, batch_size=3)
    values, cost = engine.token_log_likelihoods(prompts, RESPONSE)
    order = [*np.random.default_rng(2).permutation(len(prompts)).tolist(), 0, 0]
    shuffled, repeated_cost = engine.token_log_likelihoods([prompts[i] for i in order], RESPONSE)
    np.testing.assert_allclose(shuffled, values[order], atol=TOLERANCE, rtol=0)
    assert repeated_cost.computed_tokens == cost.computed_tokens


@pytest.mark.parametrize("strategy", ["packed", "cached"])
def test_random_ablations_that_share_nested_prefixes(model, strategy):
    rng = np.random.default_rng(3)
    ids = tuple(int(i) for i in rng.integers(4, 300, size=47))
    prompts = []
    for mask in rng.random((11, 5)) < 0.5:
        middle = tuple(t for s in range(5) if mask[s] for t in ids[5 + 7 * s : 12 + 7 * s])
        prompts.append(ids[:5] + middle + ids[40:])
    engine = LikelihoodEngine(model.model, strategy)
    values, cost = engine.token_log_likelihoods(prompts, RESPONSE)
    expected = naive_token_log_likelihoods(model, prompts, RESPONSE)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    assert cost.reused_tokens > 0


def test_response_of_one_token(model):
    prompts = leave_one_out_prompts(seed=4)
    values, _ = LikelihoodEngine(model.model).token_log_likelihoods(prompts, (9,))
    expected = naive_token_log_likelihoods(model, prompts, (9,))
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)


def test_counters_add_up():
    model = tiny_language_model("llama")
    prompts = leave_one_out_prompts()
    total = sum(len(prompt) + len(RESPONSE) - 1 for prompt in prompts)
    naive, reused, packed = (
        LikelihoodEngine(model.model, strategy).token_log_likelihoods(prompts, RESPONSE)[1]
        for strategy in ("naive", "cached", "packed")
    )
    assert (naive.forward_passes, naive.computed_tokens, naive.reused_tokens) == (8, total, 0)
    assert reused.forward_passes == 8
    assert reused.computed_tokens + reused.reused_tokens == total
    assert reused.computed_tokens < 0.7 * total
    assert reused.flops < 0.7 * naive.flops
    for name in ("forward_passes", "computed_tokens", "reused_tokens", "flops"):
        assert getattr(packed, name) == getattr(reused, name)


def test_recurrent_architecture_is_scored_whole_and_says_so(caplog):
    config = transformers.FalconH1Config(
        vocab_size=331,
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        mamba_d_ssm=16,
        mamba_n_heads=2,
        mamba_d_head=8,
        mamba_d_state=5,
        mamba_n_groups=1,
    )
    torch.manual_seed(0)
    model = tiny_language_model("llama")
    hybrid = transformers.FalconH1ForCausalLM(config).eval()
    model = dataclasses.replace(model, model=hybrid)
    prompts = leave_one_out_prompts()
    engine = LikelihoodEngine(hybrid)
    values, cost = engine.token_log_likelihoods(prompts, RESPONSE)
    expected = naive_token_log_likelihoods(model, prompts, RESPONSE)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    assert cost.reused_tokens == 0
    assert engine.taken_strategy == "naive"
    assert "recurrent state" in engine.refusals["packed"]
    assert "strategy=naive instead of packed" in caplog.text


def test_non_finite_logits_are_an_error():
    model = tiny_language_model("llama").model
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(NonFiniteLogitsError, match=r"8 of 8 prompts.*float32"):
        LikelihoodEngine(model).token_log_likelihoods(leave_one_out_prompts(), RESPONSE)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_flops_agree_with_the_counter_of_pytorch(architecture):
    """PyTorch counts attention as the full square; ours is causal: the difference is exact."""
    model = tiny_language_model(architecture, attn_implementation="eager").model
    num_tokens, num_logits = 41, 7
    geometry = ModelGeometry.of(model)
    ids = torch.zeros((1, num_tokens), dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(ids, use_cache=False, logits_to_keep=num_logits)
    above_diagonal = num_tokens * (num_tokens - 1) / 2
    square = 4 * geometry.num_layers * geometry.attention_width * above_diagonal
    expected = geometry.pass_flops(num_tokens, 0, num_logits) + square
    # Rotary angles are a matrix product too: 2 x head_dim/2 per token and rope variant.
    assert counter.get_total_flops() == pytest.approx(expected, rel=2e-3)


def test_all_logits_cost_more_and_change_nothing():
    model = tiny_language_model("llama").model
    prompts = leave_one_out_prompts()
    few = LikelihoodEngine(model, "naive").token_log_likelihoods(prompts, RESPONSE)[1]
    every = LikelihoodEngine(model, "naive", all_logits=True)
    cost = every.token_log_likelihoods(prompts, RESPONSE)[1]
    num_more = few.computed_tokens - len(RESPONSE) * few.forward_passes
    geometry = every.geometry
    assert cost.flops - few.flops == 2 * geometry.hidden_size * geometry.vocab_size * num_more


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"all_logits": True}, "naive or cached"),
        ({"strategy": "fast"}, "packed, cached, naive"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        LikelihoodEngine(tiny_language_model("llama").model, **settings)


def test_reused_tokens_cost_only_their_attention():
    geometry = ModelGeometry(2, 12, 12, 31, 1000, 2000, 4, 24, 8000, 4, 2)
    whole = geometry.pass_flops(10, 0, 3)
    head, tail = geometry.pass_flops(6, 0, 0), geometry.pass_flops(4, 6, 3)
    assert head + tail == whole


def test_geometry_counts_the_blocks_matrices_only():
    model = tiny_language_model("llama").model
    per_layer = 24 * 24 + 2 * 24 * 12 + 24 * 24 + 3 * 24 * 37
    geometry = ModelGeometry.of(model)
    assert geometry.block_parameters == len(decoder_layers(model)) * per_layer
    assert geometry.attention_width == 24


def test_a_row_that_does_not_fit_the_memory_is_halved(monkeypatch, caplog):
    model = tiny_language_model("llama").model
    prompts = leave_one_out_prompts()
    engine = LikelihoodEngine(model)
    expected, _ = engine.token_log_likelihoods(prompts, RESPONSE)
    forward = engine.packed_passes.view.forward

    def small_memory(*args, input_ids, **kwargs):
        if input_ids.shape[1] > 100:
            raise torch.OutOfMemoryError("made up")
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(engine.packed_passes.view, "forward", small_memory)
    values, _ = engine.token_log_likelihoods(prompts, RESPONSE)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE, rtol=0)
    assert "halving" in caplog.text


def test_one_branch_that_does_not_fit_is_an_error(monkeypatch):
    engine = LikelihoodEngine(tiny_language_model("llama").model)

    def no_memory(*_, **__):
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(engine.packed_passes.view, "forward", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        engine.token_log_likelihoods(leave_one_out_prompts(), RESPONSE)


def test_the_model_itself_is_left_as_it_was():
    model = tiny_language_model("llama").model
    engine = LikelihoodEngine(model)
    engine.token_log_likelihoods(leave_one_out_prompts(), RESPONSE)
    assert model.config._attn_implementation == "sdpa"
    view = dict(engine.packed_passes.view.named_parameters())
    assert all(view[name] is parameter for name, parameter in model.named_parameters())


def test_threads_share_an_engine():
    engine = LikelihoodEngine(tiny_language_model("llama").model)
    sets = [leave_one_out_prompts(seed) for seed in range(4)]
    expected = [engine.token_log_likelihoods(prompts, RESPONSE)[0] for prompts in sets]
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda p: engine.token_log_likelihoods(p, RESPONSE)[0], sets))
    np.testing.assert_allclose(values, expected, atol=1e-6)
