"""Attention rollout without attention maps.

Rollout multiplies the maps of all layers. What is wanted of the product are a few rows, summed: a
vector that is pushed through the layers from the last to the first,

    f <- f (A_l + I) / 2

needs no product of matrices, and of every map one block of rows at a time. One pass records the
queries and keys of all layers, then the maps are computed again from them, block by block.

Memory, for N tokens: layers x N x (heads + key-value heads) x head_dim numbers of the model's
dtype, and about 3 x heads x ROWS_PER_BLOCK x N float32 numbers; no map `[N, N]` is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from attribot.errors import InvalidInputError
from attribot.models.internals import attention_implementation, check_finite
from attribot.models.language_model import input_device
from attribot.types import FloatArray

IMPLEMENTATION = "attribot_recorded"
ROWS_PER_BLOCK = 64


@dataclass(frozen=True, eq=False)
class RecordedLayer:
    """What the attention maps of one layer are computed from.

    query: `[num_heads, num_tokens, head_dim]`; key: `[num_kv_heads, num_tokens, head_dim]`, both
        with positions rotated in.
    scaling: of the attention logits.
    window: tokens that a token sees, itself included; None without a limit.
    """

    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    window: int | None

    def mean_attention(self, start: int, end: int) -> torch.Tensor:
        """Rows `[start, end)` of the map, mean over heads: `[end - start, end]` in float32."""
        num_kv_heads, _, head_dim = self.key.shape
        rows = self.query[:, start:end].float().reshape(num_kv_heads, -1, head_dim)
        logits = rows @ self.key[:, :end].float().transpose(1, 2) * self.scaling
        logits = logits.view(-1, end - start, end)
        positions = torch.arange(end, device=logits.device)
        distances = positions[start:, None] - positions
        is_hidden = distances < 0
        if self.window is not None:
            is_hidden |= distances >= self.window
        return logits.masked_fill_(is_hidden, -torch.inf).softmax(-1).mean(0)


@torch.inference_mode()
def attention_rollout(
    model: PreTrainedModel,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    rows_per_block: int = ROWS_PER_BLOCK,
) -> FloatArray:
    """Rollout from the rows that predict the response: `[num_prompt_tokens]`.

        R = M_L M_{L-1} ... M_1        M_l = (mean over heads of A_l + I) / 2
        rollout(t) = sum over rows r = n-1 .. n+m-2 of R(r, t)

    The rows of A_l sum to one, so those of M_l do as well.

    Raises:
        InvalidInputError: the model's attention is no plain softmax, or cannot be exchanged.
        NonFiniteLogitsError: the rollout holds NaN or infinity.
    """
    if not model._supports_attention_backend:
        raise InvalidInputError(
            f"attention rollout is not possible: {type(model).__name__} does not use the attention "
            "interface of transformers"
        )
    ids = torch.tensor([[*prompt_ids, *response_ids[:-1]]], device=input_device(model))
    layers: list[RecordedLayer] = []
    AttentionInterface.register(IMPLEMENTATION, _attend_recorded)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    with attention_implementation(model, IMPLEMENTATION):
        model(ids, use_cache=False, logits_to_keep=1, recorded=layers)
    flow = torch.zeros(ids.shape[1])
    flow[len(prompt_ids) - 1 :] = 1.0
    while layers:
        flow = _pushed_through(layers.pop(), flow, rows_per_block)
    return check_finite(model, flow[: len(prompt_ids)].double().cpu().numpy(), "rollout")


def _pushed_through(layer: RecordedLayer, flow: torch.Tensor, rows_per_block: int) -> torch.Tensor:
    """`flow (A + I) / 2`: `[num_tokens]`."""
    flow = flow.to(layer.query.device)
    pushed = flow.clone()
    for start in range(0, len(flow), rows_per_block):
        end = min(start + rows_per_block, len(flow))
        pushed[:end] += flow[start:end] @ layer.mean_attention(start, end)
    return pushed / 2


def _attend_recorded(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    recorded: list[RecordedLayer],
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by PyTorch's fused kernel; notes in `recorded` what it was computed from.

    The signature is that of transformers' attention interface.
    """
    if softcap is not None or s_aux is not None:
        what = "caps its attention logits" if softcap is not None else "has attention sinks"
        raise InvalidInputError(
            f"attention rollout is not possible: {type(module).__name__} {what}, which it does not "
            "account for; use another attributor"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    recorded.append(RecordedLayer(query[0], key[0], scaling, sliding_window))
    return sdpa_attention_forward(
        module,
        query,
        key,
        value,
        attention_mask,
        scaling=scaling,
        sliding_window=sliding_window,
        **named,
    )
