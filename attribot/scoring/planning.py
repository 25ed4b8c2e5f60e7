"""What a call computes, known before it is computed: the work of every strategy.

The engine runs what is planned here and counts its cost from the same plan; a run that is only
planned therefore counts what the real one would, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from attribot.scoring.batching import Batch, TokenIds, plan_batches
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.held import HeldStates
from attribot.scoring.memory import MemoryEstimate
from attribot.scoring.packing import BranchPlan, plan_branches, plan_masked_branches
from attribot.types import BoolArray, Cost

Strategy = Literal["packed", "cached", "naive"]
Pair = tuple[TokenIds, TokenIds]
"""A prompt and a response."""


@dataclass(frozen=True)
class Work:
    """Of one sequence, or of a part that sequences share.

    computed, reused: token positions computed / taken from earlier states.
    logits: positions whose logits are computed; 0 for a part that gives none.
    """

    computed: int
    reused: int
    logits: int


@dataclass(frozen=True)
class PackedPlan:
    """The branches of a call, and what is read off them.

    sequences: `[num_sequences]` distinct token ids, the prompt and all but the last response token.
    readings: per sequence, the answers read at its end: (index of the answer, response).
    """

    branches: BranchPlan
    sequences: tuple[TokenIds, ...]
    readings: tuple[tuple[tuple[int, TokenIds], ...], ...]

    @classmethod
    def of_pairs(cls, pairs: Sequence[Pair], held: HeldStates) -> PackedPlan:
        """One answer per pair."""
        readings: dict[TokenIds, list[tuple[int, TokenIds]]] = {}
        for answer, (prompt, response) in enumerate(pairs):
            readings.setdefault(prompt + response[:-1], []).append((answer, response))
        reusable = [
            len(sequence) - max(len(response) for _, response in read)
            for sequence, read in readings.items()
        ]
        branches = plan_branches(list(readings), reusable, held.branches)
        return cls(branches, tuple(readings), tuple(map(tuple, readings.values())))

    @classmethod
    def of_masks(
        cls,
        prompt: TokenIds,
        responses: Sequence[TokenIds],
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
        held: HeldStates,
    ) -> PackedPlan:
        """Answer number `(1 + num_ablations) r + a`: response r after the whole prompt (a = 0) or
        after ablation a - 1."""
        fed: dict[TokenIds, list[tuple[int, TokenIds]]] = {}
        for place, response in enumerate(responses):
            fed.setdefault(response[:-1], []).append((place, response))
        branches = plan_masked_branches(
            prompt, list(fed), removed, recomputed, close_gaps, held.branches
        )
        num_sequences = 1 + len(removed)
        readings = tuple(
            tuple((place * num_sequences + number, response) for place, response in read)
            for read in fed.values()
            for number in range(num_sequences)
        )
        sequences = tuple(prompt + f for f in fed for _ in range(num_sequences))
        return cls(branches, sequences, readings)

    @property
    def num_answers(self) -> int:
        return sum(map(len, self.readings))

    def num_logits(self, index: int) -> int:
        """Positions at the end of a branch whose logits are wanted."""
        return max((len(response) for _, response in self.read_off(index)), default=0)

    def read_off(self, index: int) -> tuple[tuple[int, TokenIds], ...]:
        """The answers read at the end of a new branch: (index of the answer, response)."""
        sequence = self.branches.completes[index - self.branches.num_held]
        return () if sequence is None else self.readings[sequence]

    @property
    def trunk(self) -> int:
        """The branch that ends the first sequence, the one worth keeping for later calls."""
        return self.branches.num_held + self.branches.completes.index(0)

    def work(self) -> list[Work]:
        """Of every new branch."""
        return [
            Work(len(branch.token_ids), branch.num_reused, self.num_logits(index))
            for index, branch in enumerate(self.branches.branches)
            if index >= self.branches.num_held
        ]


@dataclass(frozen=True)
class WorkPlanner:
    """Counts what calls to a `LikelihoodEngine` of these settings would compute.

    See there for the settings; no weights are needed. Costs hold the estimated peak of memory.
    """

    geometry: ModelGeometry
    strategy: Strategy = "packed"
    batch_size: int = 1
    max_tokens_per_pass: int = 2048
    max_memory_bytes: float | None = None
    all_logits: bool = False

    def of_pairs(self, pairs: Sequence[Pair], held: HeldStates) -> Cost:
        """Of scoring distinct pairs; a packed plan leaves its trunk in `held`."""
        if self.strategy == "packed":
            return self._of_packed(PackedPlan.of_pairs(pairs, held), held)
        reuses = self.strategy == "cached"
        batches = padded_batches(pairs, self.batch_size, reuses)
        estimate = MemoryEstimate(self.geometry)
        peak = max(
            estimate.padded_bytes(
                [len(pairs[row][0]) + len(pairs[row][1]) - 1 for row in batch.rows],
                sum(len(pairs[row][1]) for row in batch.rows),
                reuses,
            )
            for batch in batches
        )
        return replace(self.cost(padded_work(pairs, batches)), peak_memory_bytes=peak)

    def of_masks(
        self,
        prompt: TokenIds,
        responses: Sequence[TokenIds],
        removed: BoolArray,
        recomputed: BoolArray,
        held: HeldStates,
    ) -> Cost:
        """Of masked ablations, which are packed whatever the strategy."""
        plan = PackedPlan.of_masks(prompt, responses, removed, recomputed, True, held)
        return self._of_packed(plan, held)

    def pass_width(self, plan: PackedPlan) -> int:
        """Most tokens of a pass of this call, so that it stays within the memory allowed."""
        estimate = MemoryEstimate(self.geometry)
        return estimate.widest_pass(plan, self.max_tokens_per_pass, self.max_memory_bytes)

    def _of_packed(self, plan: PackedPlan, held: HeldStates) -> Cost:
        peak = MemoryEstimate(self.geometry).peak_bytes(plan, self.pass_width(plan))
        held.hold_trunk(plan, None)
        return replace(self.cost(plan.work()), peak_memory_bytes=peak)

    def cost(self, work: Sequence[Work]) -> Cost:
        """Padding is not counted: the counters describe the work, not the hardware's waste."""
        return Cost(
            forward_passes=sum(part.logits > 0 for part in work),
            computed_tokens=sum(part.computed for part in work),
            reused_tokens=sum(part.reused for part in work),
            flops=sum(
                self.geometry.pass_flops(
                    part.computed, part.reused, part.computed if self.all_logits else part.logits
                )
                for part in work
            ),
        )


def padded_batches(pairs: Sequence[Pair], batch_size: int, prefix_reuse: bool) -> list[Batch]:
    """Batches of the sequences of all pairs."""
    sequences = [prompt + response[:-1] for prompt, response in pairs]
    reusable = [len(prompt) - 1 for prompt, _ in pairs]
    return plan_batches(sequences, reusable, batch_size, prefix_reuse)


def padded_work(pairs: Sequence[Pair], batches: Sequence[Batch]) -> list[Work]:
    """Of scoring batch by batch, in no particular order."""
    lengths = [len(prompt) + len(response) - 1 for prompt, response in pairs]
    return [
        Work(lengths[row] - batch.num_reused, batch.num_reused, len(pairs[row][1]))
        for batch in batches
        for row in batch.rows
    ]
