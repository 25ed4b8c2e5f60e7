"""Key and value states of a token prefix, kept so that a later prompt need not compute them again.

    states = PrefixStates.empty()
    cache = states.as_cache(num_tokens=0, batch_size=1)
    model(input_ids, past_key_values=cache, use_cache=True)
    states = PrefixStates.of(cache, row=0, num_tokens=len(input_ids))
    cache = states.as_cache(num_tokens=17, batch_size=4)      # the first 17 tokens, four times

Invariant: position t of every layer holds the states of token t, for all t < num_tokens. That is
why the caches are `DynamicCache`s without a configuration: with one, sliding-window layers would
drop the states that left the window, and nothing earlier could be reused. Attention masks still
apply the window, because they come from the model's configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@dataclass(frozen=True, eq=False)
class PrefixStates:
    """Per layer a key and a value tensor `[1, num_kv_heads, num_tokens, head_dim]`."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @classmethod
    def empty(cls) -> PrefixStates:
        return cls(())

    @classmethod
    def of(cls, cache: DynamicCache, row: int, num_tokens: int) -> PrefixStates:
        """The first `num_tokens` states of one batch row."""
        layers = []
        for layer in cache.layers:
            assert isinstance(layer, DynamicLayer)
            assert layer.keys is not None
            assert layer.values is not None
            rows = slice(row, row + 1)
            layers.append((layer.keys[rows, :, :num_tokens], layer.values[rows, :, :num_tokens]))
        return cls(tuple(layers))

    @property
    def num_tokens(self) -> int:
        return int(self.layers[0][0].shape[2]) if self.layers else 0

    def as_cache(self, num_tokens: int, batch_size: int) -> DynamicCache:
        """A cache with the first `num_tokens` states in each of `batch_size` rows."""
        assert num_tokens <= self.num_tokens
        if num_tokens == 0:
            return DynamicCache()
        return DynamicCache(
            [
                (
                    keys[:, :, :num_tokens].expand(batch_size, -1, -1, -1),
                    values[:, :, :num_tokens].expand(batch_size, -1, -1, -1),
                )
                for keys, values in self.layers
            ]
        )


@dataclass(frozen=True, eq=False)
class ComputedPrefix:
    """Tokens at the head of later prompts, and their states.

    token_ids: `[num_tokens]`.
    """

    token_ids: tuple[int, ...]
    states: PrefixStates


def why_not_reusable(model: PreTrainedModel) -> str | None:
    """Why prefixes of this model cannot be reused, or None where they can.

    Recurrent and linear-attention layers keep a running state that cannot be cut back to a prefix.
    """
    if model._is_stateful:
        return f"{type(model).__name__} keeps a recurrent state, which cannot be cut to a prefix"
    reusable = (DynamicLayer, DynamicSlidingWindowLayer)
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    if odd := sorted(kind.__name__ for kind in kinds if kind not in reusable):
        return f"{type(model).__name__} uses caches that hold no prefix: {', '.join(odd)}"
    return None
