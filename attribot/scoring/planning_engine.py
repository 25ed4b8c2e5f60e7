"""A run that is only planned: an engine that counts and computes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attribot.errors import InvalidInputError
from attribot.scoring.batching import TokenIds
from attribot.scoring.held import HeldStates
from attribot.scoring.internals_reader import ReadingPlan
from attribot.scoring.planning import Pair, WorkPlanner
from attribot.scoring.readings import Reading
from attribot.types import BoolArray, Cost, FloatArray


@dataclass(frozen=True, eq=False)
class PlanningEngine:
    """Takes the place of a `LikelihoodEngine`: counts what that would compute, computes nothing.

    Answers are drawn at random from what is asked, equal for equal questions: methods that decide
    by them take an arbitrary course, whose cost is that of the real one on average.

    planner: with the real engine's settings.
    masking_refusal: the real engine's.
    """

    planner: WorkPlanner
    masking_refusal: Callable[[bool], str | None]

    def pair_log_likelihoods(
        self, pairs: Sequence[Pair], held: HeldStates | None = None
    ) -> tuple[list[FloatArray], Cost]:
        """See `LikelihoodEngine`."""
        distinct = list(dict.fromkeys(pairs))
        cost = self.planner.of_pairs(distinct, held or HeldStates())
        return [_drawn(pair, len(pair[1])) for pair in pairs], cost

    def pair_divergences(
        self, base: Pair, pairs: Sequence[Pair], held: HeldStates | None = None
    ) -> tuple[list[FloatArray], Cost]:
        """See `LikelihoodEngine`."""
        held = held or HeldStates()
        cost = self.planner.of_pairs([base], held)
        cost += self.planner.of_pairs(list(dict.fromkeys(pairs)), held.copied())
        return [-_drawn((base, pair), len(pair[1])) for pair in pairs], cost

    def masked_log_likelihoods(
        self,
        prompt: TokenIds,
        responses: Sequence[TokenIds],
        removed: BoolArray,
        recomputed: BoolArray,
        close_gaps: bool,
        held: HeldStates | None = None,
    ) -> tuple[list[FloatArray], Cost]:
        """See `LikelihoodEngine`."""
        if reason := self.masking_refusal(close_gaps):
            raise InvalidInputError(f"ablation=mask is not possible: {reason}; use deletion")
        cost = self.planner.of_masks(prompt, responses, removed, recomputed, held or HeldStates())
        # Nothing hidden is the question that `pair_log_likelihoods` answers.
        hidden = ["", *(f", {row.tobytes()!r}" for row in removed)]
        answers = []
        for response in responses:
            # A prompt is long and its masks are many: what they share is read once.
            shared = zlib.crc32(f"({prompt!r}, {response!r}".encode())
            seeds = [zlib.crc32(f"{row})".encode(), shared) for row in hidden]
            answers.append(np.stack([_drawn_from(seed, len(response)) for seed in seeds]))
        return answers, cost

    def read(
        self,
        prompt: TokenIds,
        response: TokenIds,
        reading: Reading,
        held: HeldStates | None = None,
    ) -> tuple[FloatArray, Cost]:
        """See `LikelihoodEngine`."""
        held = held or HeldStates()
        plan = ReadingPlan.of(prompt, response, reading, self.planner.strategy, held)
        if plan.shared_prefix and not plan.num_reused:
            held.hold_prefix(plan.shared_prefix, None)
        values = _drawn((prompt, response), plan.shape(self.planner.geometry))
        return values, plan.cost(self.planner)


def _drawn(question: object, shape: int | tuple[int, ...]) -> FloatArray:
    """Log-likelihoods of uniform random probabilities."""
    return _drawn_from(zlib.crc32(repr(question).encode()), shape)


def _drawn_from(seed: int, shape: int | tuple[int, ...]) -> FloatArray:
    return np.asarray(np.log(np.random.default_rng(seed).uniform(0.01, 1.0, shape)))
