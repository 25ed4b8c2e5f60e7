"""Attention read off the last rows against the whole maps of one eager pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.internals import (
    attention_mass,
    head_attention,
    value_weighted_attention,
)
from attribot.types import FloatArray
from tests.models.tiny import Architecture, tiny_language_model

# 23 prompt tokens, 7 response tokens; a window of 11 hides most of the prompt.
PROMPT = tuple(np.random.default_rng(0).integers(4, 331, 23).tolist())
RESPONSE = tuple(np.random.default_rng(1).integers(4, 331, 7).tolist())
ARCHITECTURES = [
    ("llama", None),
    ("qwen2", None),
    ("gpt2", None),
    ("mistral", 11),
    ("gemma3", 11),
]


def full_maps(
    architecture: Architecture,
    window: int | None,
    prompt: tuple[int, ...] = PROMPT,
    response: tuple[int, ...] = RESPONSE,
) -> FloatArray:
    """`[num_layers, num_heads, num_rows, num_prompt_tokens]` of the rows that predict the response,
    off the whole maps of one eager pass."""
    model = tiny_language_model(architecture, sliding_window=window, attn_implementation="eager")
    with torch.no_grad():
        output = model.model(
            torch.tensor([prompt + response]), output_attentions=True, use_cache=False
        )
    maps = torch.stack(output.attentions)[:, 0].double().numpy()
    rows = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
    return np.asarray(maps[:, :, rows, : len(prompt)])


@pytest.mark.parametrize("rows_per_pass", [1, 3, 32])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_attention_mass_equals_the_full_maps(
    architecture: Architecture, window: int | None, rows_per_pass: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    mass = attention_mass(model.model, PROMPT, RESPONSE, rows_per_pass)
    wanted = full_maps(architecture, window).mean(axis=1).sum(axis=(0, 1))
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)
    assert mass.dtype == np.float64


@pytest.mark.parametrize("rows_per_pass", [3, 32])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_attention_by_head_equals_the_full_maps(
    architecture: Architecture, window: int | None, rows_per_pass: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    mass = head_attention(model.model, PROMPT, RESPONSE, rows_per_pass)
    wanted = full_maps(architecture, window).sum(axis=2)
    assert mass.shape == wanted.shape == (3, 4, len(PROMPT))
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)


def value_norms(architecture: Architecture, window: int | None) -> FloatArray:
    """`[num_layers, num_heads, num_prompt_tokens]` off the layers that make the value vectors."""
    model = tiny_language_model(architecture, sliding_window=window).model
    values: list[torch.Tensor] = []
    for name, module in model.named_modules():
        if name.endswith("v_proj"):
            module.register_forward_hook(lambda *call: values.append(call[2]))
        elif name.endswith("c_attn"):
            module.register_forward_hook(lambda *call: values.append(call[2].chunk(3, dim=-1)[2]))
    with torch.no_grad():
        model(torch.tensor([PROMPT]), use_cache=False)
    states = torch.stack(values)[:, 0]
    by_head = states.view(*states.shape[:2], -1, 6).abs().sum(-1).transpose(1, 2)
    return np.asarray(by_head.repeat_interleave(4 // by_head.shape[1], dim=1).double().numpy())


@pytest.mark.parametrize("rows_per_pass", [3, 32])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_value_weighted_attention_equals_the_full_maps(
    architecture: Architecture, window: int | None, rows_per_pass: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    mass = value_weighted_attention(model.model, PROMPT, RESPONSE, rows_per_pass)
    by_head = full_maps(architecture, window).sum(axis=2) * value_norms(architecture, window)
    np.testing.assert_allclose(mass, by_head.mean(axis=1).sum(axis=0), rtol=1e-5, atol=1e-5)
    assert mass.dtype == np.float64


def test_values_of_a_model_without_key_and_value_states_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_language_model("llama").model
    monkeypatch.setattr(type(model), "_is_stateful", True)
    with pytest.raises(InvalidInputError, match="not possible: LlamaForCausalLM keeps a recurrent"):
        value_weighted_attention(model, PROMPT, RESPONSE)


def test_layers_of_differing_head_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_language_model("llama")
    real = type(model.model).forward

    def forward(*arguments: Any, **named: Any) -> Any:
        output = real(*arguments, **named)
        if output.attentions is not None:
            first, *others = output.attentions
            output.attentions = (first[:, :3], *others)
        return output

    monkeypatch.setattr(type(model.model), "forward", forward)
    attention_mass(model.model, PROMPT, RESPONSE)
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM have 3 or 4 heads: attention by"):
        head_attention(model.model, PROMPT, RESPONSE)
    assert model.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("prompt", "response"), [(PROMPT[:1], RESPONSE), (PROMPT, RESPONSE[:1])])
def test_attention_mass_of_one_token(prompt: tuple[int, ...], response: tuple[int, ...]) -> None:
    mass = attention_mass(tiny_language_model("llama").model, prompt, response)
    wanted = full_maps("llama", None, prompt, response).mean(axis=1).sum(axis=(0, 1))
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)


def test_attention_mass_leaves_the_implementation_as_it_was() -> None:
    model = tiny_language_model("llama")
    attention_mass(model.model, PROMPT, RESPONSE)
    assert model.model.config._attn_implementation == "sdpa"
    out_of_vocabulary = (*RESPONSE, 10_000, 4)
    with pytest.raises(IndexError):
        attention_mass(model.model, PROMPT, out_of_vocabulary)
    assert model.model.config._attn_implementation == "sdpa"


def test_a_model_that_returns_no_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_language_model("llama")
    monkeypatch.setattr(model.model, "set_attn_implementation", lambda _name: None)
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM returns no attention weights"):
        attention_mass(model.model, PROMPT, RESPONSE)


@pytest.mark.parametrize("function", [attention_mass, head_attention, value_weighted_attention])
def test_values_that_are_not_finite_are_refused(function: Callable[..., FloatArray]) -> None:
    model = tiny_language_model("llama")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[PROMPT[0]] = torch.nan
    with pytest.raises(
        NonFiniteLogitsError,
        match=r"the attention weights( or values)? of LlamaForCausalLM in torch.float32 hold",
    ):
        function(model.model, PROMPT, RESPONSE)
