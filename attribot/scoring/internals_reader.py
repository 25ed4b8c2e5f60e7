"""From a reading to what computes it and what that costs: all an engine need know of readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import DynamicCache, PreTrainedModel

from attribot.errors import InvalidInputError
from attribot.models.gradients import (
    end_token_id,
    gradient_norms,
    gradient_times_input,
    integrated_gradients,
)
from attribot.models.internals import (
    attention_mass,
    head_attention,
    value_weighted_attention,
)
from attribot.models.lookahead import lookahead_attention
from attribot.models.rollout import attention_rollout
from attribot.scoring.batching import TokenIds
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.held import HeldStates
from attribot.scoring.planning import Strategy, Work, WorkPlanner
from attribot.scoring.readings import (
    AttentionMass,
    AttentionRollout,
    GradientNorm,
    GradientTimesInput,
    HeadAttention,
    IntegratedGradients,
    LookaheadAttention,
    Reading,
    ValueWeightedAttention,
)
from attribot.types import Cost, FloatArray

# Readings of the last rows only: they go on from states of the prompt but its last token.
FROM_STATES = (AttentionMass, HeadAttention, ValueWeightedAttention, LookaheadAttention)


def read_internals(
    model: PreTrainedModel,
    prompt: TokenIds,
    response: TokenIds,
    reading: Reading,
    cache: DynamicCache | None,
) -> FloatArray:
    """`[..., num_prompt_tokens]`; see the reading.

    cache: states of `ReadingPlan.shared_prefix`; None where that is empty.

    Raises:
        InvalidInputError: the reading is unknown, or the model cannot show it.
        NonFiniteLogitsError: the numbers hold NaN or infinity.
    """
    match reading:
        case AttentionMass():
            return attention_mass(model, prompt, response, cache=cache)
        case HeadAttention():
            return head_attention(model, prompt, response, cache=cache)
        case ValueWeightedAttention():
            return value_weighted_attention(model, prompt, response, cache=cache)
        case AttentionRollout():
            return attention_rollout(model, prompt, response)
        case LookaheadAttention(num_lookahead, kernel_size):
            return lookahead_attention(model, prompt, num_lookahead, kernel_size, cache)
        case GradientNorm():
            return gradient_norms(model, prompt, response)
        case GradientTimesInput():
            return gradient_times_input(model, prompt, response)
        case IntegratedGradients(moved, num_steps, baseline):
            baseline_id = None if baseline == "zero" else end_token_id(model)
            return integrated_gradients(model, prompt, response, moved, num_steps, baseline_id)
    raise _unknown(reading)


@dataclass(frozen=True)
class ReadingPlan:
    """What a reading computes, known before it is computed.

    shared_prefix: tokens whose states it takes over from earlier calls, or leaves to later ones.
    num_reused: of them, those whose states are held already: all or none.
    """

    prompt: TokenIds
    response: TokenIds
    reading: Reading
    shared_prefix: TokenIds
    num_reused: int

    @classmethod
    def of(
        cls,
        prompt: TokenIds,
        response: TokenIds,
        reading: Reading,
        strategy: Strategy,
        held: HeldStates,
    ) -> ReadingPlan:
        is_shared = strategy == "packed" and isinstance(reading, FROM_STATES)
        prefix = prompt[:-1] if is_shared else ()
        num_reused = len(prefix) if prefix and held.covers(prefix) else 0
        return cls(prompt, response, reading, prefix, num_reused)

    def cost(self, planner: WorkPlanner) -> Cost:
        """Of the passes that read it."""
        num_tokens = len(self.prompt) + len(self.response) - 1
        match self.reading:
            case AttentionMass() | HeadAttention() | ValueWeightedAttention():
                # The one logit is computed, not read.
                return planner.cost([Work(num_tokens - self.num_reused, self.num_reused, 1)])
            case AttentionRollout():
                # The maps are computed once more: of attention's two products, the first.
                cost = planner.cost([Work(num_tokens, 0, 1)])
                maps = planner.geometry.attention_flops(num_tokens, 0) / 2
                return replace(cost, flops=cost.flops + maps)
            case LookaheadAttention(num_lookahead):
                length = len(self.prompt)
                steps = [Work(1, length + step, 1) for step in range(num_lookahead)]
                return planner.cost([Work(length - self.num_reused, self.num_reused, 1), *steps])
            case GradientNorm() | GradientTimesInput():
                return self._gradient_cost(planner, num_steps=1)
            case IntegratedGradients(num_steps=num_steps):
                return self._gradient_cost(planner, num_steps)
        raise _unknown(self.reading)

    def _gradient_cost(self, planner: WorkPlanner, num_steps: int) -> Cost:
        """Of forward and backward passes, which end at the embeddings and count as much again."""
        num_tokens = len(self.prompt) + len(self.response) - 1
        cost = planner.cost([Work(num_tokens, 0, len(self.response))] * num_steps)
        return replace(cost, flops=2 * cost.flops)

    def shape(self, geometry: ModelGeometry) -> tuple[int, ...]:
        """Of the numbers read."""
        leading: Sequence[int] = ()
        if isinstance(self.reading, HeadAttention):
            leading = (geometry.num_layers, geometry.num_heads)
        return (*leading, len(self.prompt))


def _unknown(reading: Reading) -> InvalidInputError:
    return InvalidInputError(
        f"no engine knows how to read {reading!r}: name it in scoring.internals_reader"
    )
