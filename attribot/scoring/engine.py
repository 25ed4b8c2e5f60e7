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
from typing import Literal, get_args

import numpy as np
import torch
from transformers import PreTrainedModel

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.kv_cache import why_not_reusable
from attribot.models.language_model import input_device
from attribot.models.packed_attention import why_not_packable
from attribot.scoring.batching import TokenIds
from attribot.scoring.cost import ModelGeometry, peak_memory_bytes
from attribot.scoring.packed import PackedPasses
from attribot.scoring.padded import score_padded
from attribot.types import BoolArray, Cost, FloatArray

logger = logging.getLogger(__name__)

Strategy = Literal["packed", "cached", "naive"]


@dataclass(frozen=True, eq=False)
class LikelihoodEngine:
    """Scores token sequences under one model. All strategies give equal results.

    strategy:
        "naive" computes every sequence whole.
        "cached" takes the states of a shared token prefix from the batch before.
        "packed" computes every node of the trie of all sequences once, many branches to a pass.
        What a model does not admit takes the next slower way, with one warning; see `refusals`.
    batch_size: sequences per pass of the naive and cached strategies.
    max_tokens_per_pass: of the packed strategy; bounds its memory.
    all_logits: naive and cached scoring compute logits at every position, not only those that
        predict the response: what the paper's code does, to be measured against.
    """

    model: PreTrainedModel
    strategy: Strategy = "packed"
    batch_size: int = 1
    max_tokens_per_pass: int = 2048
    all_logits: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise InvalidInputError(
                f"unknown strategy {self.strategy!r}; known: {', '.join(get_args(Strategy))}"
            )
        if self.batch_size < 1 or self.max_tokens_per_pass < 1:
            raise InvalidInputError(
                f"batch_size and max_tokens_per_pass must be at least 1; got {self.batch_size} "
                f"and {self.max_tokens_per_pass}"
            )

        if self.all_logits and self.strategy == "packed":
            raise InvalidInputError(
                "packed scoring computes the response's logits only: all_logits goes with "
                "strategy naive or cached"
            )

    @cached_property
    def geometry(self) -> ModelGeometry:
        return ModelGeometry.of(self.model)

    @cached_property
    def refusals(self) -> dict[Strategy, str]:
        """Strategies that the model does not admit, and why."""
        reasons: dict[Strategy, str | None] = {"cached": why_not_reusable(self.model)}
        reasons["packed"] = self._why_not_branching
        device = input_device(self.model).type
        if device != "cpu" and reasons["packed"] is None:
            reasons["packed"] = f"packed attention has no fused kernel for {device} devices yet"
        return {name: reason for name, reason in reasons.items() if reason is not None}

    @cached_property
    def _why_not_branching(self) -> str | None:
        """Why branches of this model cannot share a pass on any device; None where they can."""
        return why_not_reusable(self.model) or why_not_packable(self.model)

    @cached_property
    def taken_strategy(self) -> Strategy:
        """The strategy asked for, or the next slower one that the model admits."""
        order = get_args(Strategy)
        taken: Strategy = next(
            name for name in order[order.index(self.strategy) :] if name not in self.refusals
        )
        if taken != self.strategy:
            logger.warning(
                "scoring with strategy=%s instead of %s: %s",
                taken,
                self.strategy,
                self.refusals[self.strategy],
            )
        return taken

    @cached_property
    def packed_passes(self) -> PackedPasses:
        return PackedPasses.of(self.model, self.max_tokens_per_pass)

    def token_log_likelihoods(
        self, prompts: Sequence[TokenIds], response: TokenIds
    ) -> tuple[FloatArray, Cost]:
        """log p(r_j | prompt, r_1 .. r_{j-1}) [nats], `[num_prompts, num_response_tokens]`.

        Log-softmax is taken in float32 whatever the model's dtype. Equal prompts are computed once.

        Raises:
            NonFiniteLogitsError: the model gave NaN or infinite values.
        """
        index = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
        with torch.inference_mode():
            if self.taken_strategy == "packed":
                values, work = self.packed_passes.score(list(index), response)
            else:
                is_cached = self.taken_strategy == "cached"
                values, work = score_padded(
                    self.model, list(index), response, self.batch_size, is_cached, self.all_logits
                )
        self._check_finite(values)
        return values[[index[prompt] for prompt in prompts]], self._cost(work, len(response))

    def masked_token_log_likelihoods(
        self,
        prompt: TokenIds,
        response: TokenIds,
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
    ) -> tuple[FloatArray, Cost]:
        """As `token_log_likelihoods`, for one prompt and masked ablations of it.

        Returns `[1 + num_ablations, num_response_tokens]`, the whole prompt first.

        removed: `[num_ablations, num_prompt_tokens]` tokens hidden from all that is recomputed.
        recomputed: `[num_ablations, num_prompt_tokens]` tokens computed anew; the response is, too.
        close_gaps: recomputed tokens take the positions they would have after deletion.

        Raises:
            InvalidInputError: the model cannot do it, or the last token of the prompt, which
                predicts the first of the response, is not recomputed.
        """
        if not recomputed[:, -1].all():
            raise InvalidInputError("the last token of the prompt must be among the recomputed")
        if reason := self.masking_refusal(close_gaps):
            raise InvalidInputError(f"ablation=mask is not possible: {reason}; use deletion")
        with torch.inference_mode():
            values, work = self.packed_passes.score_masked(
                prompt, response, removed, recomputed, close_gaps
            )
        self._check_finite(values)
        return values, self._cost(work, len(response))

    def masking_refusal(self, close_gaps: bool) -> str | None:
        """Why parts of a prompt cannot be hidden from this model; None where they can."""
        return self._why_not_branching or (
            self.packed_passes.rotations.refusal if close_gaps else None
        )

    def _check_finite(self, values: FloatArray) -> None:
        if not np.isfinite(values).all():
            raise NonFiniteLogitsError(
                f"{type(self.model).__name__} in {self.model.dtype} gave non-finite "
                f"log-likelihoods for {int((~np.isfinite(values)).any(axis=1).sum())} of "
                f"{len(values)} prompts: try dtype=float32 and check the weights"
            )

    def _cost(self, work: Sequence[tuple[int, int]], num_logits: int) -> Cost:
        """Of sequences with (computed, reused) tokens. Padding is not counted: the counters
        describe the work, not the hardware's waste."""
        return Cost(
            forward_passes=len(work),
            computed_tokens=sum(computed for computed, _ in work),
            reused_tokens=sum(reused for _, reused in work),
            flops=sum(
                self.geometry.pass_flops(
                    computed, reused, computed if self.all_logits else num_logits
                )
                for computed, reused in work
            ),
            peak_memory_bytes=peak_memory_bytes(self.model.device),
        )
