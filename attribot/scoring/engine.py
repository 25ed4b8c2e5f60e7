"""Log-likelihoods of one response after many prompts, all given as token ids.

A sequence is a prompt followed by the response without its last token. The logits that predict the
response's m tokens stand at the last m positions of the sequence:

    ids        p1 p2 p3 r1 r2            (response r1 r2 r3)
    logits            r1 r2 r3           computed for these positions only
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from attribot.errors import InvalidInputError, NonFiniteLogitsError
from attribot.models.flex_packed import why_not_flex
from attribot.models.kv_cache import PrefixStates, why_not_reusable
from attribot.models.language_model import input_device
from attribot.models.memory import peak_memory
from attribot.models.packed_attention import packed_kernel, why_not_packable
from attribot.scoring.batching import TokenIds
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.divergence import KeptDistributions
from attribot.scoring.held import HeldStates
from attribot.scoring.internals_reader import ReadingPlan, read_internals
from attribot.scoring.packed import PackedPasses
from attribot.scoring.padded import Reduction, response_log_probs, score_padded
from attribot.scoring.planning import (
    PackedPlan,
    Pair,
    Strategy,
    Work,
    WorkPlanner,
    padded_batches,
    padded_work,
)
from attribot.scoring.readings import Reading
from attribot.types import BoolArray, Cost, FloatArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LikelihoodEngine:
    """Scores token sequences under one model. All strategies give equal results.

    strategy:
        "naive" computes every sequence whole.
        "cached" takes the states of a shared token prefix from the batch before.
        "packed" computes every node of the trie of all sequences once, many branches to a pass.
        What a model does not admit takes the next slower way, with one warning; see `refusals`.
    batch_size: sequences per pass of the naive and cached strategies.
    max_tokens_per_pass: of packed scoring.
    max_memory_gb: passes of packed scoring are narrowed until weights, held states and the widest
        pass are estimated to fit [1e9 bytes]; see `MemoryEstimate`. None: no bound.
    all_logits: naive and cached scoring compute logits at every position, not only those that
        predict the response: what the paper's code does, to be measured against.
    """

    model: PreTrainedModel
    strategy: Strategy = "packed"
    batch_size: int = 1
    max_tokens_per_pass: int = 2048
    max_memory_gb: float | None = None
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
        if self.max_memory_gb is not None and self.max_memory_gb <= 0:
            raise InvalidInputError(f"max_memory_gb must be positive; got {self.max_memory_gb}")
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
        device = input_device(self.model)
        if device.type != "cpu" and reasons["packed"] is None:
            is_flexible = packed_kernel(device) == "flex"
            reasons["packed"] = (
                why_not_flex(self.model)
                if is_flexible
                else f"packed attention has no fused kernel for {device.type} devices"
            )
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
        return PackedPasses.of(self.model)

    @cached_property
    def planner(self) -> WorkPlanner:
        """Counts what a call computes, with the strategy that is taken."""
        return WorkPlanner(
            self.geometry,
            self.taken_strategy,
            self.batch_size,
            self.max_tokens_per_pass,
            None if self.max_memory_gb is None else self.max_memory_gb * 1e9,
            self.all_logits,
        )

    def token_log_likelihoods(
        self, prompts: Sequence[TokenIds], response: TokenIds
    ) -> tuple[FloatArray, Cost]:
        """log p(r_j | prompt, r_1 .. r_{j-1}) [nats], `[num_prompts, num_response_tokens]`.

        As `pair_log_likelihoods`, for one response after every prompt.
        """
        rows, cost = self.pair_log_likelihoods([(prompt, response) for prompt in prompts])
        return np.stack(rows), cost

    def pair_log_likelihoods(
        self, pairs: Sequence[Pair], held: HeldStates | None = None
    ) -> tuple[list[FloatArray], Cost]:
        """Token log-likelihoods [nats], `[num_response_tokens]` each, of (prompt, response) pairs.

        Log-softmax is taken in float32 whatever the model's dtype. Equal pairs are computed once,
        and what several responses share of a prompt, too (by all strategies but "naive").

        held: states of earlier calls; packed scoring takes them over and adds its own.

        Raises:
            NonFiniteLogitsError: the model gave NaN or infinite values.
        """
        return self._reduced(pairs, held or HeldStates(), response_log_probs)

    def pair_divergences(
        self, base: Pair, pairs: Sequence[Pair], held: HeldStates | None = None
    ) -> tuple[list[FloatArray], Cost]:
        """Jensen-Shannon divergences [nats], `[num_response_tokens]` each, of the next-token
        distributions along every pair from those along `base`; all have one response.

        The base has a pass of its own, before all others. Packed scoring goes on from its states;
        other strategies compute anew what the pairs share with it.

        held, Raises: as in `pair_log_likelihoods`.
        """
        held = held or HeldStates()
        kept = KeptDistributions.empty()
        _, cost = self._reduced([base], held, kept.keep)
        # The room for held states is for whole contexts, not for one of many ablations.
        values, more = self._reduced(pairs, held.copied(), kept.divergences)
        return values, cost + more

    def _reduced(
        self, pairs: Sequence[Pair], held: HeldStates, reduce: Reduction
    ) -> tuple[list[FloatArray], Cost]:
        """What `reduce` makes of the logits of every pair."""
        distinct = list(dict.fromkeys(pairs))
        with torch.inference_mode():
            if self.taken_strategy == "packed":
                plan = PackedPlan.of_pairs(distinct, held)
                answers, work = self._run(plan, held, reduce), plan.work()
            else:
                batches = padded_batches(distinct, self.batch_size, self.taken_strategy == "cached")
                answers = score_padded(self.model, distinct, batches, reduce, self.all_logits)
                work = padded_work(distinct, batches)
        self._check_finite(answers)
        index = {pair: row for row, pair in enumerate(distinct)}
        return [answers[index[pair]] for pair in pairs], self._cost(work)

    def masked_token_log_likelihoods(
        self,
        prompt: TokenIds,
        response: TokenIds,
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
    ) -> tuple[FloatArray, Cost]:
        """As `masked_log_likelihoods`, for one response: `[1 + num_ablations, ...]`."""
        (values,), cost = self.masked_log_likelihoods(
            prompt, [response], removed, recomputed, close_gaps
        )
        return values, cost

    def masked_log_likelihoods(
        self,
        prompt: TokenIds,
        responses: Sequence[TokenIds],
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
        held: HeldStates | None = None,
    ) -> tuple[list[FloatArray], Cost]:
        """As `pair_log_likelihoods`, for one prompt and masked ablations of it.

        Returns one array `[1 + num_ablations, num_response_tokens]` per response, the whole prompt
        first.

        removed: `[num_ablations, num_prompt_tokens]` tokens hidden from all that is recomputed.
        recomputed: `[num_ablations, num_prompt_tokens]` tokens computed anew; responses are, too.
        close_gaps: recomputed tokens take the positions they would have after deletion.

        Raises:
            InvalidInputError: the model cannot do it, or the last token of the prompt, which
                predicts the first of the response, is not recomputed.
        """
        if not recomputed[:, -1].all():
            raise InvalidInputError("the last token of the prompt must be among the recomputed")
        if reason := self.masking_refusal(close_gaps):
            raise InvalidInputError(f"ablation=mask is not possible: {reason}; use deletion")
        held = held or HeldStates()
        plan = PackedPlan.of_masks(prompt, responses, removed, recomputed, close_gaps, held)
        with torch.inference_mode():
            answers = self._run(plan, held, response_log_probs)
        self._check_finite(answers)
        rows = 1 + len(removed)
        grouped = [np.stack(answers[i * rows : (i + 1) * rows]) for i in range(len(responses))]
        return grouped, self._cost(plan.work())

    def _run(self, plan: PackedPlan, held: HeldStates, reduce: Reduction) -> list[FloatArray]:
        return self.packed_passes.run(plan, held, self.planner.pass_width(plan), reduce)

    def read(
        self,
        prompt: TokenIds,
        response: TokenIds,
        reading: Reading,
        held: HeldStates | None = None,
    ) -> tuple[FloatArray, Cost]:
        """Numbers per prompt token, `[..., num_prompt_tokens]`; see `scoring.readings`.

        held: as in `pair_log_likelihoods`; what a reading shares is taken over and left.

        Raises:
            InvalidInputError: the model cannot show what is to be read.
            NonFiniteLogitsError: it shows NaN or infinity.
        """
        held = held or HeldStates()
        plan = ReadingPlan.of(prompt, response, reading, self.taken_strategy, held)
        cache = self._prefix_cache(plan.shared_prefix, held) if plan.shared_prefix else None
        values = read_internals(self.model, prompt, response, reading, cache)
        return values, self._measured(plan.cost(self.planner))

    @torch.inference_mode()
    def _prefix_cache(self, prefix: TokenIds, held: HeldStates) -> DynamicCache:
        """States of a prompt's head, held or computed now."""
        states = held.prefix_states(prefix)
        if states is None:
            cache = PrefixStates.empty().as_cache(0, 1)
            ids = torch.tensor([prefix], device=input_device(self.model))
            self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            states = PrefixStates.of(cache, 0, len(prefix))
            held.hold_prefix(prefix, states)
        return states.as_cache(len(prefix), 1)

    def masking_refusal(self, close_gaps: bool) -> str | None:
        """Why parts of a prompt cannot be hidden from this model; None where they can."""
        return self._why_not_branching or (
            self.packed_passes.rotations.refusal if close_gaps else None
        )

    def _check_finite(self, answers: Sequence[FloatArray]) -> None:
        if num_bad := sum(not np.isfinite(answer).all() for answer in answers):
            raise NonFiniteLogitsError(
                f"{type(self.model).__name__} in {self.model.dtype} gave non-finite "
                f"log-likelihoods for {num_bad} of {len(answers)} prompts: try dtype=float32 and "
                f"check the weights"
            )

    def _cost(self, work: Sequence[Work]) -> Cost:
        return self._measured(self.planner.cost(work))

    def _measured(self, cost: Cost) -> Cost:
        """The cost with the memory in use, where the system tells."""
        peak = peak_memory(self.model.device)
        return replace(cost, peak_memory_bytes=0 if math.isnan(peak) else int(peak))
