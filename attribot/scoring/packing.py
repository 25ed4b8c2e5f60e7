"""Which tokens are computed once for many sequences, and which row of a packed pass they ride in.

The trie of all sequences is cut into branches, one per sequence: a branch follows, at every fork,
the child that leads to most sequences, and the other children begin branches of their own. Every
trie node is computed exactly once, and branches of the same depth are independent of each other:

    full       a b c d e f              branch      tokens         reaches           depth
    without c  a b d e f                full        a b c d e f    -                   0
    without b  a c d e f                without c   d e f          full[0:2]           1
                                        without b   c d e f        full[0:1]           1

Branches that earlier calls computed, and whose states are still held, are followed first: they
cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from attribot.scoring.batching import TokenIds, common_prefix_length
from attribot.types import BoolArray, IntArray


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


@dataclass(frozen=True)
class HeldBranch:
    """A branch of an earlier call, and the whole token sequence that it ends.

    Its reaches are indices among the held branches, in the order in which they are given.
    """

    branch: Branch
    sequence: TokenIds


@dataclass(frozen=True)
class BranchPlan:
    """Branches of a call, the held ones first.

    num_held: leading branches that are computed already.
    completes: for every other branch, the sequence whose logits it gives; None for none.
    """

    branches: tuple[Branch, ...]
    num_held: int
    completes: tuple[int | None, ...]


def plan_branches(
    sequences: Sequence[TokenIds], reusable: Sequence[int], held: Sequence[HeldBranch] = ()
) -> BranchPlan:
    """One new branch per sequence.

    Args:
        sequences: `[num_sequences]` distinct token ids.
        reusable: `[num_sequences]` most tokens of each that may come from another branch.
        held: branches that need not be computed.
    """
    num_held = len(held)
    # Entries are numbered with the held ones first; the path at a fork leads to the lowest of them.
    entries = [*(h.sequence for h in held), *sequences]
    order = sorted(range(len(entries)), key=lambda i: (entries[i], i))
    ordered = [entries[i] for i in order]
    shared = [0, *(common_prefix_length(a, b) for a, b in pairwise(ordered))]
    branches = [h.branch for h in held]
    completes: list[int | None] = []

    def weight(part: tuple[int, int]) -> tuple[int, int]:
        lowest = min(order[part[0] : part[1]])
        return -min(lowest, num_held), part[1] - part[0]

    # (first, last + 1) of the sorted sequences below a fork, depth of the fork, parent branch.
    pending: list[tuple[int, int, int, int | None]] = [(0, len(order), 0, None)]
    while pending:
        low, high, fork, parent = pending.pop()
        forks = []
        while high - low > 1:
            depth = min(shared[low + 1 : high])
            cuts = [i for i in range(low + 1, high) if shared[i] == depth]
            parts = list(pairwise([low, *cuts, high]))
            heavy = max(parts, key=weight)
            forks += [(*part, depth) for part in parts if part != heavy]
            low, high = heavy
        index = order[low]
        if index >= num_held:
            sequence = index - num_held
            start = min(fork, reusable[sequence])
            branches.append(_branch(sequences[sequence], start, parent, branches))
            completes.append(sequence)
            index = len(branches) - 1
        pending += [(*part, index) for part in forks]
    return BranchPlan(tuple(branches), num_held, tuple(completes))


def _branch(
    sequence: TokenIds, start: int, parent: int | None, branches: Sequence[Branch]
) -> Branch:
    """The tokens from `start` on; what stands before is reached through the parent."""
    reaches: tuple[Reach, ...] = ()
    depth = 0
    if parent is not None:
        depth = branches[parent].depth + 1
        reaches = reaches_through(parent, branches, 0, start)
    return Branch(sequence[start:], tuple(range(start, len(sequence))), reaches, depth)


def reaches_through(
    index: int, branches: Sequence[Branch], start: int, end: int, shift: int = 0, first: int = 0
) -> tuple[Reach, ...]:
    """Tokens `[start, end)` of the whole sequence that a branch of deletion ends."""
    reaches = []
    offset = 0
    own = Reach(index, 0, len(branches[index].token_ids))
    for piece in (*branches[index].reaches, own):
        length = piece.end - piece.start
        low, high = max(start - offset, 0), min(end - offset, length)
        if low < high:
            reaches.append(Reach(piece.branch, piece.start + low, piece.start + high, shift, first))
        offset += length
    return tuple(reaches)


def plan_masked_branches(
    prompt: TokenIds,
    fed: Sequence[TokenIds],
    removed: BoolArray,
    recomputed: BoolArray,
    close_gaps: bool,
    held: Sequence[HeldBranch] = (),
) -> BranchPlan:
    """Branches for the whole prompt and its masked ablations, each continued in every way.

    Sequences are numbered continuation by continuation: number `(1 + num_ablations) c + a` is the
    whole prompt (a = 0) or ablation number a - 1 of it, followed by `fed[c]`.

    A branch holds the recomputed tokens of its ablation. It reaches every run of kept tokens of
    the whole prompt; with gaps closed, a run keeps the positions under which it was computed, and
    its readers move instead, by the number of removed tokens before the run. Several continuations
    of an ablation share what it recomputes of the prompt.

    Args:
        prompt: `[num_prompt_tokens]`.
        fed: `[num_continuations]` distinct tokens fed behind the prompt.
        removed: `[num_ablations, num_prompt_tokens]` hidden tokens.
        recomputed: `[num_ablations, num_prompt_tokens]` tokens to compute anew, the last among
            them; removed ones are not.
    """
    whole = plan_branches(
        [prompt + continuation for continuation in fed], [len(prompt) - 1] * len(fed), held
    )
    branches, completes = list(whole.branches), list(whole.completes)
    trunk = whole.num_held + whole.completes.index(0)
    num_sequences = 1 + len(removed)
    completes = [None if c is None else c * num_sequences for c in completes]
    # Where the last prompt token stands is where the continuations of an ablation part.
    num_stem = len(prompt) - 1 if len(fed) > 1 else 0
    for number, (is_removed, is_asked) in enumerate(zip(removed, recomputed, strict=True), 1):
        is_own = is_asked & ~is_removed
        num_gone = np.cumsum(is_removed) if close_gaps else np.zeros(len(prompt), dtype=np.int64)
        positions = np.arange(len(prompt)) - num_gone
        runs = _runs(~is_removed & ~is_own)
        stem: tuple[Reach, ...] = ()
        if num_stem and is_own[:num_stem].any():
            branches.append(
                _masked_branch(
                    prompt, (), is_own[:num_stem], positions, runs, num_gone, trunk, branches
                )
            )
            completes.append(None)
            stem = (Reach(len(branches) - 1, 0, len(branches[-1].token_ids)),)
        is_last = is_own & (np.arange(len(prompt)) >= num_stem)
        for place, continuation in enumerate(fed):
            leaf = _masked_branch(
                prompt, continuation, is_last, positions, runs, num_gone, trunk, branches
            )
            depth = leaf.depth + bool(stem)
            branches.append(Branch(leaf.token_ids, leaf.positions, leaf.reaches + stem, depth))
            completes.append(place * num_sequences + number)
    return BranchPlan(tuple(branches), whole.num_held, tuple(completes))


def _masked_branch(
    prompt: TokenIds,
    fed: TokenIds,
    is_own: BoolArray,
    positions: IntArray,
    runs: Sequence[tuple[int, int]],
    num_gone: IntArray,
    trunk: int,
    branches: Sequence[Branch],
) -> Branch:
    """The own tokens of the prompt and those fed behind it, reaching the kept runs."""
    own = np.flatnonzero(is_own)
    behind = int(positions[-1]) + 1 + np.arange(len(fed))
    reaches = [
        reach
        for start, end in runs
        for reach in reaches_through(
            trunk, branches, start, end, int(num_gone[start]), int(is_own[:start].sum())
        )
        if reach.first < len(own) + len(fed)
    ]
    return Branch(
        tuple(prompt[i] for i in own) + fed,
        tuple(positions[own].tolist()) + tuple(behind.tolist()),
        tuple(reaches),
        branches[trunk].depth + 1,
    )


def _runs(mask: BoolArray) -> list[tuple[int, int]]:
    """`[start, end)` of the runs of True: where the mask, padded with False, changes."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def pack_rows(plan: BranchPlan, max_tokens: int) -> list[tuple[int, ...]]:
    """Rows of branches of one depth, lowest first, of at most `max_tokens` tokens.

    A longer branch has a row of its own; held branches ride in none.
    """
    rows: list[tuple[int, ...]] = []
    by_depth: dict[int, list[int]] = {}
    for index in range(plan.num_held, len(plan.branches)):
        by_depth.setdefault(plan.branches[index].depth, []).append(index)
    for depth in sorted(by_depth):
        row: list[int] = []
        num_tokens = 0
        for index in by_depth[depth]:
            length = len(plan.branches[index].token_ids)
            if row and num_tokens + length > max_tokens:
                rows.append(tuple(row))
                row, num_tokens = [], 0
            row.append(index)
            num_tokens += length
        rows.append(tuple(row))
    return rows
