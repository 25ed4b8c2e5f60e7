"""Moving queries that were rotated to one position on to another."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class QueryRotations:
    """Moves rotated queries to other positions, by the model's own rotary embedding.

    R(p + shift) q = R(shift) R(p) q, so a query that stands at position p only needs one more turn.
    """

    model: PreTrainedModel

    @cached_property
    def refusal(self) -> str | None:
        """Why queries of this model cannot be moved, or None where they can."""
        name = type(self.model).__name__
        if self.is_without_effect:
            return None
        rotary = getattr(self.model.get_decoder(), "rotary_emb", None)
        if rotary is None or self._apply_rotary is None:
            return f"{name} has no rotary position embedding of the usual form"
        kinds = rotary.rope_type
        kinds = set(kinds.values()) if isinstance(kinds, dict) else {kinds}
        if odd := kinds - {"default", "linear", "llama3", "yarn"}:
            return f"{name} turns positions by an amount that depends on the length: {odd}"
        return None

    @cached_property
    def is_without_effect(self) -> bool:
        """Positions are learned vectors added to the token embeddings: nothing turns."""
        has_rotary = hasattr(self.model.get_decoder(), "rotary_emb")
        return not has_rotary and self._apply_rotary is None

    @cached_property
    def _apply_rotary(self) -> Any:
        module = sys.modules[type(self.model).__module__]
        return getattr(module, "apply_rotary_pos_emb", None)

    def apply(self, query: torch.Tensor, shifts: torch.Tensor, layer: int) -> torch.Tensor:
        """`[1, num_heads, num_tokens, head_dim]` the queries of a layer, moved by `shifts`.

        shifts: `[num_tokens]` each query's own, or `[1]` one for all.
        """
        rotary: Any = self.model.get_decoder().rotary_emb
        prefix, arguments = "", tuple[str, ...]()
        if isinstance(rotary.rope_type, dict):
            layer_type = self.model.config.get_text_config().layer_types[layer]
            prefix, arguments = f"{layer_type}_", (layer_type,)
        cos, sin = rotary(query[:, 0], shifts[None], *arguments)
        # The scaling of the attention logits that some variants put into cos and sin is in the
        # queries already.
        scaling = getattr(rotary, f"{prefix}attention_scaling", 1.0)
        cos, sin = cos / scaling, sin / scaling
        moved: torch.Tensor = self._apply_rotary(query, query[:, :1], cos, sin)[0]
        return moved
