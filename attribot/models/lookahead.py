"""Attention that a model pays to its prompt while it begins to answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional
from transformers import Cache, PreTrainedModel

from attribot.models.internals import (
    attention_implementation,
    attention_pass,
    check_finite,
    prefix_states,
)
from attribot.models.language_model import input_device
from attribot.types import FloatArray


@torch.inference_mode()
def lookahead_attention(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    num_lookahead: int,
    kernel_size: int,
    cache: Cache | None = None,
) -> FloatArray:
    """Attention from the last prompt token and the tokens generated next: `[num_prompt_tokens]`.

        mass(t) = mean over rows r of max over layers l, heads h of
                  sum over u = t - k .. t + k of B_{l,h}(r, u) / kernel_size

    B(r, .) is the attention of row r to the prompt, divided by its sum, and zero outside of it;
    k = (kernel_size - 1) / 2. Rows are those of the last prompt token and of `num_lookahead` greedy
    tokens after it, up to the row that predicts the end of the turn. Passes behind that one are
    made, not read, so that the cost does not depend on what is generated. Memory: layers x heads x
    (n + num_lookahead) weights.

    cache: states of the prompt but its last token, where they are at hand.

    Raises:
        InvalidInputError: the model cannot show its attention weights.
        NonFiniteLogitsError: the weights hold NaN or infinity.
    """
    num_prompt, ends = len(prompt_ids), _end_ids(model)
    cache = prefix_states(model, prompt_ids[:-1]) if cache is None else cache
    token, has_ended = int(prompt_ids[-1]), False
    rows: list[FloatArray] = []
    with attention_implementation(model, "eager"):
        for step in range(1 + num_lookahead):
            ids = torch.tensor([[token]], device=input_device(model))
            weights, logits = attention_pass(model, ids, cache)
            if not has_ended:
                rows.append(_pooled_maximum(weights, num_prompt, step, kernel_size))
            token = int(logits.argmax())
            has_ended |= token in ends
    return check_finite(model, np.mean(rows, axis=0), "attention weights")


def _pooled_maximum(
    layers: Sequence[torch.Tensor], num_prompt: int, num_generated: int, kernel_size: int
) -> FloatArray:
    """`[num_prompt_tokens]` of one row, from its weights `[num_heads, 1, num_keys]` per layer."""
    maxima = []
    for weights in layers:
        row = weights[:, 0].float()
        # Sliding-window layers forget early keys: the last key is always the row itself.
        forgotten = num_prompt + num_generated - row.shape[1]
        to_prompt = functional.pad(row, (forgotten, 0))[:, :num_prompt]
        shares = to_prompt / to_prompt.sum(1, keepdim=True)
        pooled = functional.avg_pool1d(shares, kernel_size, stride=1, padding=kernel_size // 2)
        maxima.append(pooled.amax(0).cpu().double().numpy())
    return np.asarray(np.max(maxima, axis=0))


def _end_ids(model: PreTrainedModel) -> frozenset[int]:
    """Tokens that end a turn."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in ids if token is not None)
