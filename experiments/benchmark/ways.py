"""The ways that the benchmark compares, and the prompts it gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from attribot.scoring.batching import TokenIds
from attribot.scoring.engine import LikelihoodEngine
from attribot.types import Cost

NUM_RESPONSE_TOKENS = 32
NUM_HEAD_TOKENS = 40
NUM_QUERY_TOKENS = 24
NUM_BATCHED = 4
WINDOW = 64


@dataclass(frozen=True)
class Cell:
    """A prompt of so many tokens, its sources of equal length between its head and the query."""

    num_tokens: int
    num_sources: int

    @property
    def extents(self) -> list[tuple[int, int]]:
        """Tokens `[start, end)` of every source."""
        edges = np.linspace(
            NUM_HEAD_TOKENS, self.num_tokens - NUM_QUERY_TOKENS, self.num_sources + 1
        )
        edges = edges.astype(int)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))

    @property
    def has_room(self) -> bool:
        return self.num_tokens >= NUM_HEAD_TOKENS + NUM_QUERY_TOKENS + self.num_sources

    def token_ids(self, vocab_size: int) -> tuple[TokenIds, TokenIds]:
        """Prompt and response, in which equal tokens are as far apart as the vocabulary allows:
        prompts without different sources share no more than what stands before these."""
        shuffled = np.random.default_rng(0).permutation(vocab_size)
        ids = np.resize(shuffled, self.num_tokens + NUM_RESPONSE_TOKENS).tolist()
        return tuple(ids[: self.num_tokens]), tuple(ids[self.num_tokens :])


@dataclass(frozen=True, eq=False)
class Way:
    """A way to score the whole prompt of a cell and the prompt without each of its sources.

    window: tokens recomputed behind a source that is hidden; None deletes sources.
    """

    engine: LikelihoodEngine
    window: int | None = None

    @property
    def refusal(self) -> str | None:
        """Why the model does not admit the way; None where it does."""
        if self.window is not None:
            return self.engine.masking_refusal(close_gaps=True)
        return self.engine.refusals.get(self.engine.strategy)

    @property
    def module(self) -> PreTrainedModel:
        """What its forward passes are made with."""
        packs = self.window is not None or self.engine.taken_strategy == "packed"
        return self.engine.packed_passes.view if packs else self.engine.model

    def expected_tokens(self, cell: Cell) -> int:
        """Tokens to compute, in closed form; batches may compute somewhat more.

        With L the length of the whole sequence: naive L + sum_i (L - length of source i), prefix
        reuse L + sum_i (L - end of source i), masking L + sum_i (window, query, response).
        """
        length = cell.num_tokens + NUM_RESPONSE_TOKENS - 1
        context_end = cell.num_tokens - NUM_QUERY_TOKENS
        if self.window is not None:
            parts = [
                min(self.window, context_end - end) + length - context_end
                for _, end in cell.extents
            ]
        elif self.engine.strategy == "naive":
            parts = [length - (end - start) for start, end in cell.extents]
        else:
            parts = [length - end for _, end in cell.extents]
        return length + sum(parts)

    def score(self, cell: Cell) -> Cost:
        """Full prompt and every ablation."""
        prompt, response = cell.token_ids(self.engine.model.config.get_text_config().vocab_size)
        if self.window is None:
            ablated = [prompt[:start] + prompt[end:] for start, end in cell.extents]
            return self.engine.token_log_likelihoods([prompt, *ablated], response)[1]
        places = np.arange(len(prompt))
        removed = np.array([(places >= start) & (places < end) for start, end in cell.extents])
        behind = [(places >= end) & (places < end + self.window) for _, end in cell.extents]
        recomputed = np.array(behind) | (places >= len(prompt) - NUM_QUERY_TOKENS)
        return self.engine.masked_token_log_likelihoods(
            prompt, response, removed, recomputed, close_gaps=True
        )[1]


def ways_of(model: PreTrainedModel) -> dict[str, Way]:
    """By name, in the order of the tables."""
    return {
        "naive-all-logits": Way(LikelihoodEngine(model, "naive", all_logits=True)),
        "naive": Way(LikelihoodEngine(model, "naive")),
        "cached-all-logits": Way(LikelihoodEngine(model, "cached", all_logits=True)),
        "cached": Way(LikelihoodEngine(model, "cached")),
        "batched": Way(LikelihoodEngine(model, "cached", batch_size=NUM_BATCHED)),
        "packed": Way(LikelihoodEngine(model, "packed")),
        "masked": Way(LikelihoodEngine(model, "packed"), window=WINDOW),
    }
