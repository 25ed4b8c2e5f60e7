"""Look-ahead attention against the whole maps of one eager pass over what `generate` writes."""

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.language_model import LanguageModel
from attribot.models.lookahead import lookahead_attention
from attribot.scoring.readings import LookaheadAttention
from attribot.types import FloatArray
from tests.models.test_internals import ARCHITECTURES, PROMPT
from tests.models.tiny import Architecture, tiny_language_model


def generated(model: LanguageModel, num_tokens: int) -> list[int]:
    """What the library's own greedy search writes after the prompt, end tokens ignored."""
    ids = torch.tensor([PROMPT])
    written = model.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=num_tokens,
        do_sample=False,
        eos_token_id=-1,
    )
    return [int(token) for token in written[0, len(PROMPT) :]]


def oracle(
    architecture: Architecture, window: int | None, num_lookahead: int, kernel_size: int
) -> FloatArray:
    """The definition, token by token: `[num_prompt_tokens]`."""
    eager = tiny_language_model(architecture, sliding_window=window, attn_implementation="eager")
    said = generated(eager, num_lookahead) if num_lookahead else []
    with torch.no_grad():
        output = eager.model(
            torch.tensor([[*PROMPT, *said]]), output_attentions=True, use_cache=False
        )
    maps = torch.stack(output.attentions)[:, 0].double().numpy()
    maps = maps[:, :, len(PROMPT) - 1 :, : len(PROMPT)]
    maps = maps / maps.sum(axis=-1, keepdims=True)
    reach = kernel_size // 2
    pooled = np.zeros_like(maps)
    for token in range(len(PROMPT)):
        around = maps[..., max(token - reach, 0) : token + reach + 1]
        pooled[..., token] = around.sum(axis=-1) / kernel_size
    return np.asarray(pooled.max(axis=(0, 1)).mean(axis=0))


@pytest.mark.parametrize(("num_lookahead", "kernel_size"), [(0, 1), (3, 5), (8, 13)])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_lookahead_attention_equals_the_full_maps(
    architecture: Architecture, window: int | None, num_lookahead: int, kernel_size: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window).model
    model.generation_config.eos_token_id = None
    mass = lookahead_attention(model, PROMPT, num_lookahead, kernel_size)
    wanted = oracle(architecture, window, num_lookahead, kernel_size)
    np.testing.assert_allclose(mass, wanted, rtol=0, atol=3e-6)
    assert mass.dtype == np.float64
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("as_list", [True, False])
def test_rows_behind_the_end_of_the_turn_are_not_read(as_list: bool) -> None:
    """With the third token as end token, rows are those before it: as if two were asked for."""
    model = tiny_language_model("llama")
    end = generated(model, 3)[-1]
    assert end not in generated(model, 2)
    model.model.generation_config.eos_token_id = [10_000, end] if as_list else end
    np.testing.assert_allclose(
        lookahead_attention(model.model, PROMPT, 8, 5), oracle("llama", None, 2, 5), atol=3e-6
    )


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="num_lookahead must be 0 or more; got -1"):
        LookaheadAttention(num_lookahead=-1)
    for size in (0, 4):
        with pytest.raises(InvalidInputError, match=f"kernel_size must be odd.*got {size}"):
            LookaheadAttention(kernel_size=size)


def test_values_that_are_not_finite_are_refused() -> None:
    model = tiny_language_model("llama").model
    with torch.no_grad():
        model.get_input_embeddings().weight[PROMPT[0]] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match="the attention weights of LlamaForCausalLM"):
        lookahead_attention(model, PROMPT, 2, 5)
