"""Which tokens are computed once for many sequences, and which row of a packed pass they ride in.

The trie of all sequences is cut into branches, one per sequence: a branch follows, at every fork,
the child that leads to most sequences, and the other children begin branches of their own. Every
trie node is computed exactly once, and branches of the same depth are independent of each other:

    full       a b c d e f              branch      tokens         reaches           depth
    without c  a b d e f                full        a b c d e f    -                   0
    without b  a c d e f                without c   d e f          full[0:2]           1
                                        without b   c d e f        full[0:1]           1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from attribot.scoring.batching import TokenIds, common_prefix_length
from attribot.types import BoolArray


@dataclass(frozen=True)
class Reach:
    """Tokens of an earlier branch that a branch attends to.

    branch: index of the earlier branch.
    start, end: among that branch's own tokens.
    shift: added to the positions of the attending tokens for this part only.
    first: the branch's tokens before this one do not attend to the part, because it follows them.
    """

    branch: int
    start: int
    end: int
    shift: int = 0
    first: int = 0


@dataclass(frozen=True)
class Branch:
    """A run of tokens that is computed together.

    token_ids: `[num_tokens]`.
    positions: `[num_tokens]`, increasing.
    reaches: what it attends to besides itself, all in branches of lower depth.
    depth: branches of one depth do not depend on each other.
    """

    token_ids: TokenIds
    positions: tuple[int, ...]
    reaches: tuple[Reach, ...]
    depth: int

    @property
    def num_reused(self) -> int:
        return sum(reach.end - reach.start for reach in self.reaches)


def plan_branches(
    sequences: Sequence[TokenIds], reusable: Sequence[int]
) -> tuple[list[Branch], list[int]]:
    """Branches, and for each of them the index of the sequence that it completes.

    Args:
        sequences: `[num_sequences]` distinct token ids.
        reusable: `[num_sequences]` most tokens of each that may come from another branch.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    ordered = [sequences[i] for i in order]
    shared = [0, *(common_prefix_length(a, b) for a, b in pairwise(ordered))]
    branches: list[Branch] = []
    completes: list[int] = []
    # (first, last + 1) of the sorted sequences below a fork, depth of the fork, parent branch.
    pending: list[tuple[int, int, int, int | None]] = [(0, len(order), 0, None)]
    while pending:
        low, high, fork, parent = pending.pop()
        forks = []
        while high - low > 1:
            depth = min(shared[low + 1 : high])
            cuts = [i for i in range(low + 1, high) if shared[i] == depth]
            parts = list(pairwise([low, *cuts, high]))
            heavy = max(parts, key=lambda part: part[1] - part[0])
            forks += [(*part, depth) for part in parts if part != heavy]
            low, high = heavy
        sequence = order[low]
        start = min(fork, reusable[sequence])
        branches.append(_branch(sequences[sequence], start, parent, branches))
        completes.append(sequence)
        pending += [(*part, len(branches) - 1) for part in forks]
    return branches, completes


def _branch(
    sequence: TokenIds, start: int, parent: int | None, branches: Sequence[Branch]
) -> Branch:
    """The tokens from `start` on; what stands before is reached through the parent."""
    reaches: list[Reach] = []
    depth = 0
    if parent is not None:
        above = branches[parent]
        depth = above.depth + 1
        left = start
        for reach in above.reaches:
            taken = min(reach.end - reach.start, left)
            if taken:
                reaches.append(Reach(reach.branch, reach.start, reach.start + taken))
            left -= taken
        if left:
            reaches.append(Reach(parent, 0, left))
    positions = tuple(range(start, len(sequence)))
    return Branch(sequence[start:], positions, tuple(reaches), depth)


def plan_masked_branches(
    sequence: TokenIds, removed: BoolArray, recomputed: BoolArray, close_gaps: bool
) -> list[Branch]:
    """The whole sequence, then one branch per masked ablation of it.

    A branch holds the recomputed tokens of its ablation. It reaches every run of kept tokens of
    the whole sequence; with gaps closed, a run keeps the positions under which it was computed, and
    its readers move instead, by the number of removed tokens before the run.

    Args:
        sequence: `[num_tokens]`.
        removed: `[num_ablations, num_tokens]` hidden tokens.
        recomputed: `[num_ablations, num_tokens]` tokens to compute anew; removed ones are not.
    """
    positions = np.arange(len(sequence))
    ids = np.array(sequence)
    branches = [Branch(sequence, tuple(positions.tolist()), (), 0)]
    for is_removed, is_asked in zip(removed, recomputed, strict=True):
        is_own = is_asked & ~is_removed
        num_gone = np.cumsum(is_removed) if close_gaps else np.zeros(len(sequence), dtype=np.int64)
        is_reused = ~is_removed & ~is_own
        # Runs of reused tokens start and end where the indicator, padded with False, changes.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], is_reused, [False]])))
        reaches = tuple(
            Reach(0, int(start), int(end), int(num_gone[start]), int(is_own[:start].sum()))
            for start, end in edges.reshape(-1, 2)
        )
        new_positions = (positions - num_gone)[is_own]
        branches.append(
            Branch(tuple(ids[is_own].tolist()), tuple(new_positions.tolist()), reaches, 1)
        )
    return branches


def pack_rows(branches: Sequence[Branch], max_tokens: int) -> list[tuple[int, ...]]:
    """Rows of branches of one depth, lowest first, of at most `max_tokens` tokens.

    A longer branch has a row of its own.
    """
    rows: list[tuple[int, ...]] = []
    by_depth: dict[int, list[int]] = {}
    for index, branch in enumerate(branches):
        by_depth.setdefault(branch.depth, []).append(index)
    for depth in sorted(by_depth):
        row: list[int] = []
        num_tokens = 0
        for index in by_depth[depth]:
            length = len(branches[index].token_ids)
            if row and num_tokens + length > max_tokens:
                rows.append(tuple(row))
                row, num_tokens = [], 0
            row.append(index)
            num_tokens += length
        rows.append(tuple(row))
    return rows
