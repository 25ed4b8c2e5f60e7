"""Attention rollout against the product of the whole maps, and against a case worked by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.rollout import RecordedLayer, attention_rollout
from attribot.types import FloatArray
from tests.models.test_internals import ARCHITECTURES, PROMPT, RESPONSE
from tests.models.tiny import Architecture, tiny_language_model

NUM_TOKENS = len(PROMPT) + len(RESPONSE) - 1


def product_of_maps(architecture: Architecture, window: int | None) -> FloatArray:
    """`[num_tokens, num_tokens]` the definition, on the whole maps of one eager pass."""
    model = tiny_language_model(architecture, sliding_window=window, attn_implementation="eager")
    ids = torch.tensor([(PROMPT + RESPONSE)[:NUM_TOKENS]])
    with torch.no_grad():
        output = model.model(ids, output_attentions=True, use_cache=False)
    product = np.eye(NUM_TOKENS)
    for layer in output.attentions:
        mixed = layer[0].double().numpy().mean(axis=0) + np.eye(NUM_TOKENS)
        product = mixed / mixed.sum(axis=1, keepdims=True) @ product
    return product


@pytest.mark.parametrize("rows_per_block", [1, 5, 64])
@pytest.mark.parametrize(("architecture", "window"), ARCHITECTURES)
def test_rollout_equals_the_product_of_the_maps(
    architecture: Architecture, window: int | None, rows_per_block: int
) -> None:
    model = tiny_language_model(architecture, sliding_window=window)
    rollout = attention_rollout(model.model, PROMPT, RESPONSE, rows_per_block)
    rows = product_of_maps(architecture, window)[len(PROMPT) - 1 :]
    np.testing.assert_allclose(rollout, rows.sum(axis=0)[: len(PROMPT)], rtol=0, atol=3e-6)
    assert rollout.dtype == np.float64


def test_shares_of_all_tokens_sum_to_the_rows() -> None:
    """Of one response token the last prompt token is the only row: nothing flows elsewhere."""
    model = tiny_language_model("llama").model
    assert attention_rollout(model, PROMPT, RESPONSE[:1]).sum() == pytest.approx(1.0, abs=1e-5)
    assert attention_rollout(model, PROMPT, RESPONSE).sum() < len(RESPONSE) - 0.1
    np.testing.assert_allclose(attention_rollout(model, PROMPT[:1], RESPONSE[:1]), [1.0], atol=1e-6)


def test_mean_attention_of_a_case_worked_by_hand() -> None:
    """Two heads share a key head; logits are ln 2 or 0 in the first head, all 0 in the second."""
    query = torch.tensor([[[0.0], [0.0], [1.0]], [[0.0], [0.0], [0.0]]])
    key = torch.tensor([[[2.0], [1.0], [2.0]]]).log()
    layer = RecordedLayer(query, key, 1.0, None)
    wanted = [[1 / 2, 1 / 2, 0], [(2 / 5 + 1 / 3) / 2, (1 / 5 + 1 / 3) / 2, (2 / 5 + 1 / 3) / 2]]
    np.testing.assert_allclose(layer.mean_attention(1, 3), wanted, atol=1e-6)
    windowed = RecordedLayer(query, key, 1.0, 2)
    np.testing.assert_allclose(
        windowed.mean_attention(2, 3), [[0, (1 / 3 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2]], atol=1e-6
    )


def test_no_map_is_ever_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks hold the rows asked for; what is recorded grows with the length, not its square."""
    shapes: list[tuple[int, ...]] = []
    real = RecordedLayer.mean_attention

    def noted(layer: RecordedLayer, start: int, end: int) -> torch.Tensor:
        block = real(layer, start, end)
        shapes.extend((tuple(block.shape), tuple(layer.query.shape), tuple(layer.key.shape)))
        return block

    monkeypatch.setattr(RecordedLayer, "mean_attention", noted)
    attention_rollout(tiny_language_model("llama").model, PROMPT, RESPONSE, rows_per_block=11)
    blocks = [(11, 11), (11, 22), (7, 29)]
    recorded = [(4, NUM_TOKENS, 6), (2, NUM_TOKENS, 6)]
    assert shapes == [shape for _ in range(3) for block in blocks for shape in (block, *recorded)]


def test_the_implementation_is_left_as_it_was() -> None:
    model = tiny_language_model("llama").model
    attention_rollout(model, PROMPT, RESPONSE)
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(IndexError):
        attention_rollout(model, PROMPT, (10_000, 4))
    assert model.config._attn_implementation == "sdpa"


def test_models_without_an_attention_interface_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_language_model("llama").model
    monkeypatch.setattr(type(model), "_supports_attention_backend", False)
    with pytest.raises(InvalidInputError, match="LlamaForCausalLM does not use the attention"):
        attention_rollout(model, PROMPT, RESPONSE)


@pytest.mark.parametrize(
    ("named", "what"),
    [({"softcap": 50.0}, "caps its attention"), ({"s_aux": torch.zeros(4)}, "has attention sinks")],
)
def test_attention_that_is_no_plain_softmax_is_refused(named: dict[str, Any], what: str) -> None:
    """The settings reach the attention function as a model's own do, by keyword."""
    model = tiny_language_model("llama").model
    real = type(model).forward

    def forward(*arguments: Any, **others: Any) -> Any:
        return real(*arguments, **others, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward", forward)
        with pytest.raises(InvalidInputError, match=f"LlamaAttention {what}"):
            attention_rollout(model, PROMPT, RESPONSE)
    assert model.config._attn_implementation == "sdpa"


def test_values_that_are_not_finite_are_refused() -> None:
    model = tiny_language_model("llama").model
    with torch.no_grad():
        model.get_input_embeddings().weight[PROMPT[0]] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match="the rollout of LlamaForCausalLM"):
        attention_rollout(model, PROMPT, RESPONSE)
