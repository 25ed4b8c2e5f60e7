"""Attention of many branches packed in one row, each over states computed earlier and itself.

A branch attends to parts of branches of earlier rows and, causally, to itself, but never to another
branch of its row:

    earlier   t0 t1 t2 t3 t4 t5 t6 t7
    row       [b0 b1 b2] [c0 c1]          branch b reaches t[0:5], branch c reaches t[0:2]

Each part is attended to on its own by a kernel that also gives the log-sum-exp of the attention
logits; the partial results are then merged exactly:

    out = sum_i exp(lse_i - lse) out_i        lse = log sum_i exp(lse_i)

No state is copied, cropped or repeated. On CPUs PyTorch's flash kernel attends branch by branch,
without a mask except where a sliding window ends inside a part; `flex_packed` attends whole rows on
GPUs. The layout of a row travels through the keyword arguments of the model's forward pass; models
are prepared once by `packed_view`, which leaves the original untouched.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from attribot.models.flex_packed import attend_flex
from attribot.models.packed_row import (
    Kernel,
    PackedRow,
    Part,
    merge_parts,
)

IMPLEMENTATION = "attribot_packed"


def packed_view(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model's modules that shares its weights and attends by `PackedRow`s.

    The view accepts `packed=PackedRow(...)` in its forward pass, and nothing else but such passes.
    """
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared)
    AttentionInterface.register(IMPLEMENTATION, attend_packed)
    AttentionMaskInterface.register(IMPLEMENTATION, _no_mask)
    view.config._attn_implementation = IMPLEMENTATION
    view.config.get_text_config()._attn_implementation = IMPLEMENTATION
    return view


def why_not_packable(model: PreTrainedModel) -> str | None:
    """Why branches of this model cannot be packed, or None where its attention admits it."""
    name, config = type(model).__name__, model.config.get_text_config()
    if not model._supports_attention_backend:
        return f"{name} does not use the attention interface of transformers"
    if getattr(config, "attn_logit_softcapping", None):
        return f"{name} caps its attention logits, which the flash kernel cannot"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return f"{name} has attention sinks, which the flash kernel cannot"
    return None


def attend_packed(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed: PackedRow,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed row; the signature is that of transformers' attention interface.

    query: `[1, num_heads, num_tokens, head_dim]`; key, value: `[1, num_kv_heads, ...]`, positions
    already rotated in. Returns `[1, num_tokens, num_heads, head_dim]`.
    """
    assert attention_mask is None
    layer: int = module.layer_idx  # type: ignore[assignment]
    for branch in packed.branches:
        if branch.states is not None:
            own = slice(branch.start, branch.end)
            branch.states.layers[layer] = (key[:, :, own], value[:, :, own])
    attend = attend_flex if packed.kernel == "flex" else _attend_flash
    out = attend(query, key, value, packed, layer, scaling, sliding_window)
    return out.transpose(1, 2), None


def packed_kernel(device: torch.device) -> Kernel:
    """What computes packed attention on a device; `why_not_flex` says of which models it cannot."""
    return "flex" if device.type == "cuda" else "flash"


def _attend_flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedRow,
    layer: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attention of the row, branch by branch and part by part."""
    out = torch.empty_like(query)
    for branch in packed.branches:
        own = slice(branch.start, branch.end)
        q, k, v = query[:, :, own], key[:, :, own], value[:, :, own]
        parts = [_own_part(q, k, v, branch.positions, scaling, window)]
        for reach in branch.reaches:
            keys, values = reach.states.layers[layer]
            seen = slice(reach.start, reach.end)
            moved, is_seen = q[:, :, reach.first :], None
            if reach.shift and packed.rotations is not None:
                shift = torch.tensor([reach.shift], device=query.device)
                moved = packed.rotations.apply(moved, shift, layer)
            if window is not None:
                positions = branch.positions[reach.first :] + reach.shift
                is_seen = positions[:, None] - reach.states.positions[seen] < window
            part = _earlier_part(moved, keys[:, :, seen], values[:, :, seen], is_seen, scaling)
            parts.append(_from_token(reach.first, part))
        out[:, :, own] = merge_parts(parts)
    return out


def _own_part(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    positions: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> Part:
    """Causal attention of a branch to itself."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    if window is None or int(positions[-1] - positions[0]) < window:
        return _flash(q, k, v, scaling, is_causal=True)
    distances = positions[:, None] - positions
    mask = _additive((distances >= 0) & (distances < window), q.dtype)
    return _flash(q, k, v, scaling, mask=mask)


def _earlier_part(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    is_seen: torch.Tensor | None,
    scaling: float | None,
) -> Part:
    """Attention of a branch to a part of an earlier one.

    is_seen: `[num_tokens, num_keys]` the keys inside each query's window; None without windows.

    The queries that share a key-value head are folded into rows, so that no key is repeated.
    """
    num_heads, num_tokens, head_dim = q.shape[1:]
    groups = num_heads // k.shape[1]
    mask, num_seeing = None, num_tokens
    if is_seen is not None and not is_seen.all():
        # Tokens so far behind that they see nothing of the part come last: they take no part.
        num_seeing = int(is_seen.any(dim=1).sum())
        if num_seeing == 0:
            return torch.zeros_like(q), q.new_full(q.shape[:3], -math.inf, dtype=torch.float32)
        mask = _additive(is_seen[:num_seeing], q.dtype).repeat(groups, 1)
    folded = q[:, :, :num_seeing].reshape(1, k.shape[1], groups * num_seeing, head_dim)
    out, lse = _flash(folded, k, v, scaling, mask=mask)
    out = out.reshape(1, num_heads, num_seeing, head_dim)
    lse = lse.reshape(1, num_heads, num_seeing)
    if num_seeing < num_tokens:
        missing = num_tokens - num_seeing
        out = nn.functional.pad(out, (0, 0, 0, missing))
        lse = nn.functional.pad(lse, (0, missing), value=-math.inf)
    return out, lse


def _from_token(first: int, part: Part) -> Part:
    """The part for a branch whose tokens before `first` see nothing of it."""
    out, lse = part
    if first:
        out = nn.functional.pad(out, (0, 0, first, 0))
        lse = nn.functional.pad(lse, (first, 0), value=-math.inf)
    return out, lse


def _flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float | None,
    is_causal: bool = False,
    mask: torch.Tensor | None = None,
) -> Part:
    """Attention with its log-sum-exp in float32, by PyTorch's flash kernel where there is one."""
    if q.device.type != "cpu":
        return attend_densely(q, k, v, scaling, is_causal, mask)
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, attn_mask=mask, scale=scaling
    )
    return out, lse


def attend_densely(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float | None,
    is_causal: bool,
    mask: torch.Tensor | None,
) -> Part:
    """The same by plain matrix products, on any device; holds all logits of the part at once."""
    logits = (q @ k.transpose(-1, -2)).float() * (scaling or q.shape[-1] ** -0.5)
    if is_causal:
        ahead = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        logits = logits.masked_fill(ahead, -math.inf)
    if mask is not None:
        logits = logits + mask
    lse = logits.logsumexp(-1)
    return (logits - lse[..., None]).exp().to(v.dtype) @ v, lse


def _additive(is_seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where seen, -inf elsewhere."""
    return torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device).masked_fill(
        ~is_seen, -math.inf
    )


def _no_mask(*_: Any, **__: Any) -> None:
    """Branches carry their own causality."""
