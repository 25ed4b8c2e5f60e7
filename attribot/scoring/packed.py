"""Scoring the branches of a trie, many to a forward pass.

`packing` says what a branch is, `models.packed_attention` how branches attend.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedModel

from attribot.models.language_model import input_device
from attribot.models.packed_attention import (
    BranchStates,
    PackedBranch,
    PackedRow,
    ReachedPart,
    packed_view,
)
from attribot.models.rotations import QueryRotations
from attribot.scoring.batching import TokenIds
from attribot.scoring.packing import (
    Branch,
    pack_rows,
    plan_branches,
    plan_masked_branches,
)
from attribot.scoring.padded import response_log_probs
from attribot.types import BoolArray, FloatArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PackedPasses:
    """Runs branches through a view of a model; the model itself stays as it is.

    max_tokens: of one pass; a longer branch has a pass of its own.
    """

    view: PreTrainedModel
    max_tokens: int

    @classmethod
    def of(cls, model: PreTrainedModel, max_tokens: int) -> PackedPasses:
        return cls(packed_view(model), max_tokens)

    @cached_property
    def rotations(self) -> QueryRotations:
        return QueryRotations(self.view)

    def score(
        self, prompts: Sequence[TokenIds], response: TokenIds
    ) -> tuple[FloatArray, list[tuple[int, int]]]:
        """Log-likelihoods `[num_prompts, num_response_tokens]` [nats] of distinct prompts.

        The second value holds (computed tokens, reused tokens) of each sequence.
        """
        sequences = [prompt + response[:-1] for prompt in prompts]
        branches, completes = plan_branches(sequences, [len(prompt) - 1 for prompt in prompts])
        values = self.score_branches(branches, response)
        order = np.argsort(completes)
        work = [(len(branches[i].token_ids), branches[i].num_reused) for i in order]
        return values[order], work

    def score_masked(
        self,
        prompt: TokenIds,
        response: TokenIds,
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
    ) -> tuple[FloatArray, list[tuple[int, int]]]:
        """As `score`, for the whole prompt and its masked ablations: `[1 + num_ablations, ...]`.

        removed, recomputed: `[num_ablations, num_prompt_tokens]`.
        """
        num_fed = len(response) - 1
        branches = plan_masked_branches(
            prompt + response[:-1],
            np.pad(removed, ((0, 0), (0, num_fed))),
            np.pad(recomputed, ((0, 0), (0, num_fed)), constant_values=True),
            close_gaps,
        )
        work = [(len(branch.token_ids), branch.num_reused) for branch in branches]
        return self.score_branches(branches, response), work

    def score_branches(self, branches: Sequence[Branch], response: TokenIds) -> FloatArray:
        """`[num_branches, num_response_tokens]` [nats], the response at the end of each branch."""
        device = input_device(self.view)
        rows = pack_rows(branches, self.max_tokens)
        last_row = {
            r.branch: i for i, row in enumerate(rows) for b in row for r in branches[b].reaches
        }
        states = {
            index: BranchStates(torch.tensor(branches[index].positions, device=device))
            for index in last_row
        }
        out = np.empty((len(branches), len(response)))
        for number, row in enumerate(rows):
            self._score_row(row, branches, states, response, out)
            for index in [i for i in states if last_row[i] == number]:
                del states[index]
        return out

    def _score_row(
        self,
        row: Sequence[int],
        branches: Sequence[Branch],
        states: dict[int, BranchStates],
        response: TokenIds,
        out: FloatArray,
    ) -> None:
        """Fills the row's lines of `out`; a row that does not fit the memory is halved."""
        try:
            logits = self._forward(row, branches, states, len(response))
        except torch.OutOfMemoryError:
            if len(row) == 1:
                raise
            logger.warning("out of memory with %d branches in a pass: halving it", len(row))
            for part in (row[: len(row) // 2], row[len(row) // 2 :]):
                self._score_row(part, branches, states, response, out)
            return
        for place, index in enumerate(row):
            own = logits[place * len(response) : (place + 1) * len(response)]
            out[index] = response_log_probs(own, response)

    def _forward(
        self,
        row: Sequence[int],
        branches: Sequence[Branch],
        states: dict[int, BranchStates],
        num_logits: int,
    ) -> torch.Tensor:
        """Logits `[len(row) * num_logits, vocab_size]` at the end of every branch of the row."""
        device = input_device(self.view)
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
            wanted.append(torch.arange(end - num_logits, end))
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
            packed=PackedRow(tuple(packed), rotations),
        ).logits
        return logits[0]
