"""The layout of a row of packed branches, which every layer's attention reads.

A layout travels through the keyword arguments of the model's forward pass, see `packed_attention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch.nn.attention.flex_attention import BlockMask

from attribot.models.rotations import QueryRotations

Kernel = Literal["flash", "flex"]
"""What computes the attention of a row: PyTorch's flash kernel for CPUs, branch by branch, or
FlexAttention, all branches at once."""


@dataclass(frozen=True, eq=False)
class BranchStates:
    """Key and value states of the tokens of one branch, filled layer by layer.

    layers: per layer index a key and a value tensor `[1, num_kv_heads, num_tokens, head_dim]`.
    positions: `[num_tokens]`.
    """

    positions: torch.Tensor
    layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReachedPart:
    """Part of an earlier branch that a branch attends to.

    start, end: tokens `[start, end)` of that branch.
    shift: added to the positions of the branch's queries for this part. A branch whose positions
        close the gap of a removed source sees what follows the gap as if it had moved along.
    first: the branch's tokens before this one do not attend to the part.
    """

    states: BranchStates
    start: int
    end: int
    shift: int = 0
    first: int = 0


@dataclass(frozen=True, eq=False)
class PackedBranch:
    """Where one branch stands in the row, and what it reaches.

    start, end: its tokens are `row[start:end]`.
    positions: `[end - start]`, increasing.
    reaches: parts of earlier branches.
    states: where to leave its own states for later branches; None where none will ask.
    """

    start: int
    end: int
    positions: torch.Tensor
    reaches: tuple[ReachedPart, ...]
    states: BranchStates | None = None


@dataclass(frozen=True, eq=False)
class QueryGroup:
    """Tokens of a row that attend to one sequence of keys in one call of FlexAttention.

    states: whose keys; None for those of the row itself.
    tokens: `[num_queries]` the attending tokens of the row.
    shifts: `[num_queries]` added to their positions; None where none moves.
    mask: `[padded num_queries, num_keys]` which keys each of them sees.
    """

    states: BranchStates | None
    tokens: torch.Tensor
    shifts: torch.Tensor | None
    mask: BlockMask


@dataclass(frozen=True, eq=False)
class PackedRow:
    """The layout of a row, for the attention of every layer.

    branches: one after the other, covering the row.
    rotations: how queries move by the shifts that branches ask for; None where none does, or where
        positions are part of the token embeddings and attention knows nothing of them.
    kernel: what computes the attention.
    query_groups: of FlexAttention, per sliding window and device; filled by the first layer that
        asks, so that no mask is built twice.
    """

    branches: tuple[PackedBranch, ...]
    rotations: QueryRotations | None = None
    kernel: Kernel = "flash"
    query_groups: dict[tuple[int | None, torch.device], tuple[QueryGroup, ...]] = field(
        default_factory=dict, init=False
    )


Part = tuple[torch.Tensor, torch.Tensor]
"""Partial attention: output `[1, num_heads, num_tokens, head_dim]` and log-sum-exp of the logits
`[1, num_heads, num_tokens]`."""


def merge_parts(parts: Sequence[Part]) -> torch.Tensor:
    """Attention over the union of the parts' keys."""
    if len(parts) == 1:
        return parts[0][0]
    lse = torch.stack([part[1] for part in parts])
    weights = torch.softmax(lse, dim=0).to(parts[0][0].dtype)[..., None]
    merged = parts[0][0] * weights[0]
    for (out, _), weight in zip(parts[1:], weights[1:], strict=True):
        merged = torch.addcmul(merged, out, weight)
    return merged
