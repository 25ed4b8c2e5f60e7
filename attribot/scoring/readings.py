"""What a model's internals can show of each prompt token, read in one pass or a few.

A reading is plain settings; `models.internals`, `.lookahead`, `.rollout` and `.gradients` hold the
arithmetic. The prompt has n tokens, the response m; the rows that predict the response are those
of the positions n-1 .. n+m-2. A_{l,h}(r, t) is the attention of row r to token t in head h of
layer l.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from attribot.errors import InvalidInputError
from attribot.types import IntArray

Baseline = Literal["zero", "end_token"]


@dataclass(frozen=True)
class Reading:
    """The base of all readings; its fields are the settings that its numbers depend on.

    name: identifies the reading where its answers are stored, together with its fields.
    """

    name: ClassVar[str]


@dataclass(frozen=True)
class AttentionMass(Reading):
    """`[num_prompt_tokens]` attention that the rows predicting the response pay to each token.

    mass(t) = sum over layers l, rows r of mean over heads h of A_{l,h}(r, t)
    """

    name = "attention_mass"


@dataclass(frozen=True)
class HeadAttention(Reading):
    """`[num_layers, num_heads, num_prompt_tokens]` the same attention, head by head.

    mass(l, h, t) = sum over rows r of A_{l,h}(r, t)
    """

    name = "head_attention"


@dataclass(frozen=True)
class ValueWeightedAttention(Reading):
    """`[num_prompt_tokens]` attention times the L1 norm of the value vector that it moves.

    mass(t) = sum over layers l of mean over heads h of
              ||v_{l,g(h)}(t)||_1  sum over rows r of A_{l,h}(r, t)

    with g(h) the key-value head that head h reads.
    """

    name = "value_weighted_attention"


@dataclass(frozen=True)
class AttentionRollout(Reading):
    """`[num_prompt_tokens]` attention from the rows predicting the response, through all layers.

    rollout(t) = sum over rows r of (M_L M_{L-1} ... M_1)(r, t)
    M_l = (mean over heads h of A_{l,h} + I) / 2
    """

    name = "attention_rollout"


@dataclass(frozen=True)
class LookaheadAttention(Reading):
    """`[num_prompt_tokens]` attention from the last prompt token and tokens generated after it.

    mass(t) = mean over these rows r of max over layers l, heads h of
              mean over the `kernel_size` tokens u around t of A_{l,h}(r, u)

    See `models.lookahead` for the borders; the response is not read.

    num_lookahead: tokens that the model generates greedily.
    kernel_size: odd.
    """

    name = "lookahead_attention"
    num_lookahead: int = 8
    kernel_size: int = 13

    def __post_init__(self) -> None:
        if self.num_lookahead < 0:
            raise InvalidInputError(f"num_lookahead must be 0 or more; got {self.num_lookahead}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise InvalidInputError(
                f"kernel_size must be odd, so that it has a middle; got {self.kernel_size}"
            )


@dataclass(frozen=True)
class GradientNorm(Reading):
    """`[num_prompt_tokens]` L2 norm of d log p(response) / d input embedding [nats per unit]."""

    name = "gradient_norm"


@dataclass(frozen=True)
class GradientTimesInput(Reading):
    """`[num_prompt_tokens]` < d log p(response) / d e(t), e(t) >, e the input embeddings [nats]."""

    name = "gradient_times_input"


@dataclass(frozen=True)
class IntegratedGradients(Reading):
    """`[num_prompt_tokens]` the same along the straight way from a baseline to the prompt [nats].

        value(t) = < e(t) - b, 1/K sum over steps k = 1 .. K of d log p(response) / d e(t) at a_k >

    at a_k, moved tokens have the embeddings b + (k - 1/2) / K (e(t) - b), all others their own;
    those have the value 0.

    moved: `[start, end)` of what is moved: chars of the prompt where a scorer is asked, tokens
        where an engine is.
    num_steps: K.
    baseline: b is "zero", or the embedding of the model's "end_token".
    """

    name = "integrated_gradients"
    moved: tuple[int, int]
    num_steps: int = 16
    baseline: Baseline = "zero"

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise InvalidInputError(f"num_steps must be at least 1; got {self.num_steps}")
        if self.baseline not in get_args(Baseline):
            raise InvalidInputError(
                f"baseline must be one of {list(get_args(Baseline))}; got {self.baseline!r}"
            )

    def on_tokens(self, char_spans: IntArray) -> IntegratedGradients:
        """The same for an engine: every token with a char in the extent is moved.

        char_spans: `[num_prompt_tokens, 2]`; see `TokenScores`.
        """
        start, end = self.moved
        inside = np.flatnonzero((char_spans[:, 0] < end) & (char_spans[:, 1] > start))
        return replace(self, moved=(int(inside[0]), int(inside[-1]) + 1))
