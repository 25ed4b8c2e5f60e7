"""Packed attention of whole rows by FlexAttention: one call for the row itself, and one for every
part of an earlier branch that its branches reach.

Keys of one branch stand at increasing positions, so what a query sees of them is always one
interval, whatever limits it: its branch, causality, the part it reaches, or a sliding window:

    is_seen(q, k) = low(q) <= k < high(q)

The intervals are data of one and the same mask function, so that a row of any layout runs through
the same compiled kernel. Attention over all branches of the row `b c` of `packed_attention`:

    row          [b0 b1 b2 c0 c1]           earlier      t0 t1 t2 t3 t4 t5 t6 t7
    low, high      0  0  0  3  3            low, high    b: 0, 5       c: 0, 2
                   1  2  3  4  5

Tested on CPU through the unfused reference implementation; not yet measured on a GPU.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.attention import flex_attention as flex
from transformers import PreTrainedModel

from attribot.models.packed_row import (
    BranchStates,
    PackedBranch,
    PackedRow,
    Part,
    QueryGroup,
    ReachedPart,
    merge_parts,
)

BLOCK = 128
"""Tokens of a block of the mask; FlexAttention's default."""

MIN_HEAD_DIM = 16
"""The narrowest matrix product of Triton."""

MAX_COMPILED = 64
"""Kernels kept. Two to four are compiled per number of heads, head dimension and dtype; the limit
of 8 that PyTorch sets would not last for three models."""


def why_not_flex(model: PreTrainedModel) -> str | None:
    """Why FlexAttention has no fused kernel for a model on CUDA devices, or None where it has."""
    name, config = type(model).__name__, model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim < MIN_HEAD_DIM:
        return f"{name} has heads of {head_dim} dimensions; FlexAttention takes {MIN_HEAD_DIM} on"
    if model.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"{name} is in {model.dtype}; FlexAttention takes float32, float16 and bfloat16"
    if find_spec("triton") is None:
        return "FlexAttention compiles its kernels with triton, which is not installed"
    return None


def attend_flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: PackedRow,
    layer: int,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attention of the row, as `packed_attention` defines it.

    query: `[1, num_heads, num_tokens, head_dim]`; key, value: `[1, num_kv_heads, ...]`. Returns the
    shape of query. Partial results are merged in float32, one group after the other.
    """
    place = (window, query.device)
    if place not in packed.query_groups:
        packed.query_groups[place] = query_groups(packed, window, query.device)
    own, *earlier = packed.query_groups[place]
    out, lse = _attend_group(own, query, key, value, scaling)
    out = out.float()
    for group in earlier:
        assert group.states is not None
        moved = query[:, :, group.tokens]
        if group.shifts is not None and packed.rotations is not None:
            moved = packed.rotations.apply(moved, group.shifts, layer)
        part = _attend_group(group, moved, *group.states.layers[layer], scaling)
        before = out[:, :, group.tokens], lse[:, :, group.tokens]
        out[:, :, group.tokens] = merge_parts([before, part])
        lse[:, :, group.tokens] = torch.logaddexp(before[1], part[1])
    return out.to(query.dtype)


def query_groups(
    packed: PackedRow, window: int | None, device: torch.device
) -> tuple[QueryGroup, ...]:
    """The row's tokens that attend to the row itself, and those that attend to earlier branches.

    A branch may reach several parts of one earlier branch: its n-th reach is in the n-th group.
    """
    readers: dict[tuple[BranchStates, int], list[tuple[PackedBranch, ReachedPart]]]
    readers = defaultdict(list)
    for branch in packed.branches:
        num_reaches = Counter[BranchStates]()
        for reach in branch.reaches:
            readers[reach.states, num_reaches[reach.states]].append((branch, reach))
            num_reaches[reach.states] += 1
    earlier = (_earlier_group(reads, window, device) for reads in readers.values())
    return (_own_group(packed.branches, window, device), *earlier)


def _own_group(
    branches: Sequence[PackedBranch], window: int | None, device: torch.device
) -> QueryGroup:
    """All tokens, each seeing its own branch up to itself."""
    tokens = torch.arange(branches[-1].end, device=device)
    lows = []
    for branch in branches:
        positions = branch.positions.to(device)
        lows.append(branch.start + _first_in_window(positions, positions, window))
    return QueryGroup(
        None, tokens, None, interval_mask(torch.cat(lows), tokens + 1, num_keys=len(tokens))
    )


def _earlier_group(
    reads: Sequence[tuple[PackedBranch, ReachedPart]], window: int | None, device: torch.device
) -> QueryGroup:
    """The tokens of some branches, each seeing what its branch reaches of one earlier branch."""
    states = reads[0][1].states
    keys = states.positions.to(device)
    tokens, shifts, lows, highs = [], [], [], []
    for branch, reach in reads:
        tokens.append(torch.arange(branch.start + reach.first, branch.end, device=device))
        shifts.append(torch.full_like(tokens[-1], reach.shift))
        highs.append(torch.full_like(tokens[-1], reach.end))
        positions = branch.positions[reach.first :].to(device) + reach.shift
        lows.append(_first_in_window(keys, positions, window).clamp(min=reach.start))
    is_moved = any(reach.shift for _, reach in reads)
    return QueryGroup(
        states,
        torch.cat(tokens),
        torch.cat(shifts) if is_moved else None,
        interval_mask(torch.cat(lows), torch.cat(highs), len(keys)),
    )


def _first_in_window(
    key_positions: torch.Tensor, query_positions: torch.Tensor, window: int | None
) -> torch.Tensor:
    """`[num_queries]` index of the first key fewer than `window` positions behind each query."""
    if window is None:
        return torch.zeros_like(query_positions)
    return torch.searchsorted(key_positions, query_positions - window, right=True)


def interval_mask(low: torch.Tensor, high: torch.Tensor, num_keys: int) -> flex.BlockMask:
    """The mask by which query i sees the keys `[low[i], high[i])`; queries are padded, seeing none.

    Blocks are found from the intervals: the usual `create_block_mask` writes out every pair.

    Queries are padded to whole blocks, two at least, and two blocks of keys are listed at least.
    A kernel for any size is compiled once, but PyTorch compiles anew where a size is 1, and
    FlexAttention takes another kernel for fewer than 128 queries.
    """
    num_blocks = max(2, -(-len(low) // BLOCK))
    padding = (0, num_blocks * BLOCK - len(low))
    low, high = (nn.functional.pad(bound.int(), padding) for bound in (low, high))
    begin = torch.arange(max(2, -(-num_keys // BLOCK)), device=low.device) * BLOCK
    lows, highs = low.view(num_blocks, BLOCK, 1), high.view(num_blocks, BLOCK, 1)
    is_touched = ((lows < highs) & (lows < begin + BLOCK) & (begin < highs)).any(dim=1)
    is_full = ((lows <= begin) & (begin + BLOCK <= highs)).all(dim=1)

    def is_seen(
        _batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return (low[query] <= key) & (key < high[query])

    return flex.BlockMask.from_kv_blocks(
        *_listed(is_touched & ~is_full),
        *_listed(is_full),
        BLOCK_SIZE=BLOCK,
        mask_mod=is_seen,
        seq_lengths=(len(low), num_keys),
    )


def _listed(is_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Per block of queries the number of key blocks, and the key blocks, those that are in first.

    is_in: `[num_query_blocks, num_key_blocks]`. Returns it led by dimensions for batch and head.
    """
    order = is_in.int().argsort(dim=-1, descending=True, stable=True)
    return is_in.sum(dim=-1).int()[None, None], order.int()[None, None]


def _attend_group(
    group: QueryGroup,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> Part:
    """Attention of the group's queries; where they see nothing, 0 with a log-sum-exp of -inf."""
    num_queries = query.shape[2]
    missing = group.mask.shape[-2] - num_queries
    padded = nn.functional.pad(query, (0, 0, 0, missing))
    out, lse = _flex_with_lse(padded, key, value, group.mask, scaling)
    return out[:, :, :num_queries], lse[:, :, :num_queries]


def _flex_with_lse(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: flex.BlockMask,
    scaling: float | None,
) -> Part:
    """FlexAttention, fused where there is a compiler for it."""
    arguments: dict[str, Any] = {"block_mask": mask, "scale": scaling, "enable_gqa": True}
    if not hasattr(flex, "AuxRequest"):  # before PyTorch 2.9
        out, lse = _kernel(query.device)(query, key, value, return_lse=True, **arguments)
        return out, lse
    wanted = flex.AuxRequest(lse=True)
    out, aux = _kernel(query.device)(query, key, value, return_aux=wanted, **arguments)
    return out, aux.lse


def _kernel(device: torch.device) -> Callable[..., Any]:
    """FlexAttention for tensors of a device; the reference implementation where none is fused."""
    reference: Callable[..., Any] = flex.flex_attention
    return _fused() if device.type == "cuda" else reference


@cache
def _fused() -> Callable[..., Any]:
    """FlexAttention compiled for sizes that change from row to row.

    Where it may not compile another kernel it fails (`fullgraph`) instead of writing out all
    attention logits.
    """
    # Before PyTorch 2.13 the limit can be raised for the whole process only, which is the user's
    # to do: the error says how.
    has_limit = "recompile_limit" in signature(torch.compile).parameters
    limit: dict[str, Any] = {"recompile_limit": MAX_COMPILED} if has_limit else {}
    compiled: Callable[..., Any] = torch.compile(
        flex.flex_attention, dynamic=True, fullgraph=True, **limit
    )
    return compiled
