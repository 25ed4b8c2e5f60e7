"""Scoring the branches of a plan, many to a forward pass.

`packing` says what a branch is, `models.packed_attention` how branches attend.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import PreTrainedModel

from attribot.models.flex_packed import why_not_flex
from attribot.models.language_model import input_device
from attribot.models.packed_attention import packed_kernel, packed_view
from attribot.models.packed_row import BranchStates, Kernel, PackedBranch, PackedRow, ReachedPart
from attribot.models.rotations import QueryRotations
from attribot.scoring.held import HeldStates
from attribot.scoring.packing import pack_rows
from attribot.scoring.padded import Reduction
from attribot.scoring.planning import PackedPlan
from attribot.types import FloatArray

logger = logging.getLogger(__name__)

Answers = dict[int, FloatArray]
"""`[num_response_tokens]` what a reduction makes of the logits, by index of the answer."""


@dataclass(frozen=True, eq=False)
class PackedPasses:
    """Runs branches through a view of a model; the model itself stays as it is.

    kernel: by which rows attend.
    """

    view: PreTrainedModel
    kernel: Kernel = "flash"

    @classmethod
    def of(cls, model: PreTrainedModel) -> PackedPasses:
        is_flexible = why_not_flex(model) is None
        kernel = packed_kernel(input_device(model)) if is_flexible else "flash"
        return cls(packed_view(model), kernel)

    @cached_property
    def rotations(self) -> QueryRotations:
        return QueryRotations(self.view)

    def run(
        self, plan: PackedPlan, held: HeldStates, max_tokens: int, reduce: Reduction
    ) -> list[FloatArray]:
        """What `reduce` makes of the logits of every answer; the trunk's states go to `held`.

        max_tokens: of one pass; a longer branch has a pass of its own.
        """
        branches = plan.branches.branches
        rows = pack_rows(plan.branches, max_tokens)
        last_row = {
            r.branch: i for i, row in enumerate(rows) for b in row for r in branches[b].reaches
        }
        if held.takes_trunk(plan):
            last_row[plan.trunk] = len(rows)
        states = {index: s for index, s in enumerate(held.states) if s is not None}
        for index in last_row:
            if index >= plan.branches.num_held:
                positions = torch.tensor(branches[index].positions, device=input_device(self.view))
                states[index] = BranchStates(positions)
        answers: Answers = {}
        for number, row in enumerate(rows):
            self._score_row(row, plan, states, reduce, answers)
            for index in [i for i in states if last_row.get(i, number) == number]:
                del states[index]
        held.hold_trunk(plan, states.get(plan.trunk))
        return [answers[index] for index in range(plan.num_answers)]

    def _score_row(
        self,
        row: Sequence[int],
        plan: PackedPlan,
        states: dict[int, BranchStates],
        reduce: Reduction,
        answers: Answers,
    ) -> None:
        """Adds the row's answers; a row that does not fit the memory is halved."""
        try:
            logits = self._forward(row, plan, states)
        except torch.OutOfMemoryError:
            if len(row) == 1:
                raise
            logger.warning("out of memory with %d branches in a pass: halving it", len(row))
            for part in (row[: len(row) // 2], row[len(row) // 2 :]):
                self._score_row(part, plan, states, reduce, answers)
            return
        start = 0
        for index in row:
            end = start + plan.num_logits(index)
            for answer, response in plan.read_off(index):
                answers[answer] = reduce(logits[end - len(response) : end], response)
            start = end

    def _forward(
        self, row: Sequence[int], plan: PackedPlan, states: dict[int, BranchStates]
    ) -> torch.Tensor:
        """Logits `[sum of the branches' num_logits, vocab_size]`."""
        device = input_device(self.view)
        branches = plan.branches.branches
        packed, wanted, start = [], [], 0
        for index in row:
            branch = branches[index]
            end = start + len(branch.token_ids)
            packed.append(
                PackedBranch(
                    start,
                    end,
                    torch.tensor(branch.positions, device=device),
                    tuple(
                        ReachedPart(states[r.branch], r.start, r.end, r.shift, r.first)
                        for r in branch.reaches
                    ),
                    states.get(index),
                )
            )
            wanted.append(torch.arange(end - plan.num_logits(index), end))
            start = end
        is_moved = any(reach.shift for index in row for reach in branches[index].reaches)
        rotations = self.rotations if is_moved and not self.rotations.is_without_effect else None
        logits: torch.Tensor = self.view(
            input_ids=torch.tensor(
                [[token for index in row for token in branches[index].token_ids]], device=device
            ),
            position_ids=torch.cat([branch.positions for branch in packed])[None],
            use_cache=False,
            logits_to_keep=torch.cat(wanted).to(device),
            packed=PackedRow(tuple(packed), rotations, self.kernel),
        ).logits
        return logits[0]
