"""Log-likelihoods of one response after many prompts, all given as token ids.

A sequence is a prompt followed by the response without its last token. The logits that predict the
response's m tokens stand at the last m positions of the sequence:

    ids        p1 p2 p3 r1 r2            (response r1 r2 r3)
    logits            r1 r2 r3           computed for these positions only
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from attribot.errors import NonFiniteLogitsError
from attribot.models.kv_cache import PrefixStates, why_not_reusable
from attribot.models.language_model import input_device
from attribot.scoring.batching import Batch, TokenIds, plan_batches
from attribot.scoring.cost import ModelGeometry, peak_memory_bytes
from attribot.types import Cost, FloatArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LikelihoodEngine:
    """Scores token sequences under one model.

    prefix_reuse: take the states of a shared token prefix from the sequence before instead of
        computing them again: equal results, about half the cost for leave-one-out. Models that
        cannot do it are scored whole, with one warning; `prefix_reuse_refusal` says why.
    batch_size: sequences per forward pass. Rows are right-padded, which causal attention never
        sees.
    """

    model: PreTrainedModel
    prefix_reuse: bool = True
    batch_size: int = 1

    @cached_property
    def geometry(self) -> ModelGeometry:
        return ModelGeometry.of(self.model)

    @cached_property
    def prefix_reuse_refusal(self) -> str | None:
        """Why prefixes are computed again although reuse was asked for; None where they are not."""
        reason = why_not_reusable(self.model) if self.prefix_reuse else None
        if reason:
            logger.warning("scoring every prompt whole: %s", reason)
        return reason

    def token_log_likelihoods(
        self, prompts: Sequence[TokenIds], response: TokenIds
    ) -> tuple[FloatArray, Cost]:
        """log p(r_j | prompt, r_1 .. r_{j-1}) [nats], `[num_prompts, num_response_tokens]`.

        Log-softmax is taken in float32 whatever the model's dtype. Equal prompts are computed once.

        Raises:
            NonFiniteLogitsError: the model gave NaN or infinite values.
        """
        unique = list(dict.fromkeys(prompts))
        sequences = [prompt + response[:-1] for prompt in unique]
        batches = plan_batches(
            sequences,
            [len(prompt) - 1 for prompt in unique],
            self.batch_size,
            self.prefix_reuse and self.prefix_reuse_refusal is None,
        )
        out = np.empty((len(unique), len(response)))
        states, cost = PrefixStates.empty(), Cost()
        with torch.inference_mode():
            for batch, following in zip(batches, [*batches[1:], None], strict=True):
                keeps_states = following is not None and following.num_reused > 0
                rows, cache = self._forward(batch, states, sequences, response, keeps_states)
                out[list(batch.rows)] = rows
                if cache is not None:
                    length = len(sequences[batch.rows[-1]])
                    states = PrefixStates.of(cache, len(batch.rows) - 1, length)
                cost += self._cost(batch, sequences, len(response))
        if not np.isfinite(out).all():
            raise NonFiniteLogitsError(
                f"{type(self.model).__name__} in {self.model.dtype} gave non-finite "
                f"log-likelihoods for {int((~np.isfinite(out)).any(axis=1).sum())} of "
                f"{len(unique)} prompts: try dtype=float32 and check the weights"
            )
        index = {prompt: row for row, prompt in enumerate(unique)}
        return out[[index[prompt] for prompt in prompts]], cost

    def _forward(
        self,
        batch: Batch,
        states: PrefixStates,
        sequences: Sequence[TokenIds],
        response: TokenIds,
        keeps_states: bool,
    ) -> tuple[FloatArray, DynamicCache | None]:
        """`[batch_size, num_response_tokens]` and the cache, where it is wanted."""
        device = input_device(self.model)
        suffixes = [sequences[row][batch.num_reused :] for row in batch.rows]
        width, num_logits = max(map(len, suffixes)), len(response)
        input_ids = torch.zeros((len(suffixes), width), dtype=torch.long)
        for row, suffix in enumerate(suffixes):
            input_ids[row, : len(suffix)] = torch.tensor(suffix)
        positions = torch.arange(batch.num_reused, batch.num_reused + width)
        starts = [len(suffix) - num_logits for suffix in suffixes]
        wanted = torch.arange(min(starts), max(starts) + num_logits)
        uses_cache = keeps_states or batch.num_reused > 0
        cache = states.as_cache(batch.num_reused, len(suffixes)) if uses_cache else None
        logits = self.model(
            input_ids=input_ids.to(device),
            position_ids=positions.expand(len(suffixes), -1).to(device),
            past_key_values=cache,
            use_cache=uses_cache,
            logits_to_keep=wanted.to(device),
        ).logits
        targets = torch.tensor(response, device=logits.device)
        rows = []
        for row, start in enumerate(starts):
            offset = start - min(starts)
            log_probs = logits[row, offset : offset + num_logits].float().log_softmax(-1)
            rows.append(log_probs.gather(-1, targets[:, None])[:, 0])
        return torch.stack(rows).double().cpu().numpy(), cache if keeps_states else None

    def _cost(self, batch: Batch, sequences: Sequence[TokenIds], num_logits: int) -> Cost:
        """Padding is not counted: the counters describe the work, not the hardware's waste."""
        lengths = [len(sequences[row]) - batch.num_reused for row in batch.rows]
        return Cost(
            forward_passes=len(batch.rows),
            computed_tokens=sum(lengths),
            reused_tokens=batch.num_reused * len(batch.rows),
            flops=sum(
                self.geometry.pass_flops(length, batch.num_reused, num_logits) for length in lengths
            ),
            peak_memory_bytes=peak_memory_bytes(self.model.device),
        )
