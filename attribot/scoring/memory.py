"""How much memory a call takes, known before it is run; and how wide its passes may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attribot.errors import InvalidInputError
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.packing import pack_rows

if TYPE_CHECKING:
    from attribot.scoring.planning import PackedPlan

# Passes narrower than this cost more in overhead than they save in memory.
NARROWEST_PASS = 128


@dataclass(frozen=True)
class MemoryEstimate:
    """Closed form of the memory of a call, from a model's geometry.

        weights
        + states held for later branches:   2 L d_kv a                              per token
        + activations of the widest pass:   (4 d + 4 d_attn + 2 d_kv + 3 d_mlp) a   per token
        + logits of that pass:              V a                                     per logit

    with a bytes per value. What a process needs besides, its libraries and the allocator's waste,
    comes on top: on a CPU about half a gigabyte. Source: ours.
    """

    geometry: ModelGeometry

    def state_bytes(self, num_tokens: int) -> int:
        """Of key and value states."""
        g = self.geometry
        return 2 * g.num_layers * g.kv_width * g.value_bytes * num_tokens

    def pass_bytes(self, num_tokens: int, num_logits: int) -> int:
        """Of activations and logits of one pass."""
        g = self.geometry
        per_token = 4 * g.hidden_size + 4 * g.attention_width + 2 * g.kv_width + 3 * g.mlp_width
        return g.value_bytes * (per_token * num_tokens + g.vocab_size * num_logits)

    def peak_bytes(self, plan: PackedPlan, max_tokens: int) -> int:
        """Of a call whose passes have at most `max_tokens` tokens, the weights included."""
        branches = plan.branches.branches
        rows = pack_rows(plan.branches, max_tokens)
        reached = {reach.branch for branch in branches for reach in branch.reaches}
        held = set(range(plan.branches.num_held)) | reached | {plan.trunk}
        widest = max(
            self.pass_bytes(
                sum(len(branches[i].token_ids) for i in row), sum(plan.num_logits(i) for i in row)
            )
            for row in rows
        )
        states = self.state_bytes(sum(len(branches[i].token_ids) for i in held))
        return self.geometry.weight_bytes + states + widest

    def padded_bytes(self, lengths: Sequence[int], num_logits: int, keeps_states: bool) -> int:
        """Of one padded batch of sequences of these lengths, the weights included."""
        num_tokens = len(lengths) * max(lengths)
        states = self.state_bytes(num_tokens) if keeps_states else 0
        return self.geometry.weight_bytes + states + self.pass_bytes(num_tokens, num_logits)

    def widest_pass(self, plan: PackedPlan, max_tokens: int, max_bytes: float | None) -> int:
        """The largest pass, halved from `max_tokens` on, with which the call stays in bounds.

        Raises:
            InvalidInputError: not even the narrowest does.
        """
        width = max_tokens
        while max_bytes is not None and self.peak_bytes(plan, width) > max_bytes:
            if width <= NARROWEST_PASS:
                raise InvalidInputError(
                    f"scoring {len(plan.sequences)} prompts of up to "
                    f"{max(map(len, plan.sequences)):,} tokens needs about "
                    f"{self.peak_bytes(plan, width) / 1e9:.2f} GB with passes of {width} tokens; "
                    f"max_memory_gb={max_bytes / 1e9:.2f} is not enough: raise it, or load the "
                    f"model in a smaller dtype"
                )
            width //= 2
        return width
