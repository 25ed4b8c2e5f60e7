"""Frozen values that cross the borders between stages: examples, responses, costs, attributions.

Shapes are in back-ticks, units in brackets. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from attribot.errors import InvalidInputError

Level = Literal["document", "paragraph", "sentence"]
LEVELS: tuple[Level, ...] = get_args(Level)

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a document.

    text: the paragraph exactly as given.
    sentence_ends: char offsets where each sentence ends, the last being `len(text)`, when the data
        set says so itself; None lets the sentence splitter decide.
    header: text rendered before the paragraph, never scored.
    """

    text: str
    sentence_ends: tuple[int, ...] | None = None
    header: str = ""


@dataclass(frozen=True)
class Document:
    """A document of the context: its paragraphs, a rendered header, and what is never rendered."""

    paragraphs: tuple[Paragraph, ...]
    header: str = ""
    document_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GoldSpan:
    """Annotated evidence: chars `[start, end)` of the text of one paragraph of one document."""

    document: int
    paragraph: int
    start: int
    end: int


@dataclass(frozen=True)
class Separators:
    """Text appended to each unit of a level when the context is rendered.

    A sentence that already ends in white space gets no sentence separator.
    """

    sentence: str = " "
    paragraph: str = "\n\n"
    document: str = ""


@dataclass(frozen=True)
class Example:
    """One open-book question of a data set, as read: nothing split, rendered or tokenised yet."""

    example_id: str
    dataset: str
    split: str
    query: str
    documents: tuple[Document, ...]
    answer: str | None = None
    gold: tuple[GoldSpan, ...] = ()
    separators: Separators = Separators()


@dataclass(frozen=True)
class Response:
    """The text whose likelihood is attributed.

    text: without special tokens.
    token_ids: `[num_response_tokens]` ids under the tokenizer that wrote it; the end-of-turn token
        is part of them where it was produced.
    tokenizer_sha: identifies that tokenizer; another tokenizer re-encodes `text`.
    has_end_token: the last id is the end-of-turn token.
    """

    text: str
    token_ids: tuple[int, ...]
    tokenizer_sha: str
    has_end_token: bool


@dataclass(frozen=True)
class Cost:
    """What some scoring cost.

    forward_passes: sequences sent through a model (a batch of three counts three).
    computed_tokens, reused_tokens: token positions computed / taken from an earlier prefix.
    flops: counted floating point operations by the closed form of `scoring.cost`.
    wall_seconds: measured around the attribution, tokenisation included.
    peak_memory_bytes: largest memory in use while it ran; 0 where it was not measured.
    """

    forward_passes: int = 0
    computed_tokens: int = 0
    reused_tokens: int = 0
    flops: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forward_passes + other.forward_passes,
            self.computed_tokens + other.computed_tokens,
            self.reused_tokens + other.reused_tokens,
            self.flops + other.flops,
            self.wall_seconds + other.wall_seconds,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
        )


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of every source of one example by one method.

    stage_scores: `[num_stages, num_sources]`, final stage first; NaN where that stage did not
        score the source. One-stage methods have one row. Unit of the last stage's method (nats
        for likelihood differences).
    cost: of all stages together.
    level: level of the units that the final stage removed or scored.
    base_log_likelihood: of the response under the full (or pruned) context of the final stage
        [nats]; None for methods without one.
    ablated_log_likelihoods: `[num_sources]` [nats], NaN where not computed; None likewise.
    token_scores: `[num_sources, num_response_tokens]` the final stage's scores by token of the
        response [nats], NaN for pruned sources; None likewise. Rows sum to `scores`.
    """

    stage_scores: FloatArray
    cost: Cost
    level: Level = "sentence"
    base_log_likelihood: float | None = None
    ablated_log_likelihoods: FloatArray | None = None
    token_scores: FloatArray | None = None

    @property
    def num_sources(self) -> int:
        return int(self.stage_scores.shape[1])

    @property
    def scores(self) -> FloatArray:
        """`[num_sources]` scores of the final stage; NaN for pruned sources."""
        return np.asarray(self.stage_scores[0])

    def span_scores(self, start: int, end: int) -> FloatArray:
        """`[num_sources]` scores of the response's tokens `[start, end)` alone [nats].

        Raises:
            InvalidInputError: the method scores whole responses only, or there is no such span.
        """
        if self.token_scores is None:
            raise InvalidInputError(
                "this method has no scores by token: use one that compares log-likelihoods, such "
                "as leave-one-out"
            )
        num_tokens = self.token_scores.shape[1]
        if not 0 <= start < end <= num_tokens:
            raise InvalidInputError(
                f"expected a span within the response's {num_tokens} tokens; got [{start}, {end})"
            )
        return np.asarray(self.token_scores[:, start:end].sum(axis=1))

    @property
    def is_pruned(self) -> BoolArray:
        """`[num_sources]` True where the final stage gave no score."""
        return np.asarray(np.isnan(self.stage_scores[0]))

    @property
    def priority(self) -> FloatArray:
        """`[num_sources]` larger = ranked earlier; equal = tied.

        A source is ranked by the latest stage that scored it; every source of a later stage comes
        before every source that only earlier stages scored.
        """
        return stage_priority(self.stage_scores)

    def with_wall_seconds(self, wall_seconds: float) -> Attribution:
        return replace(self, cost=replace(self.cost, wall_seconds=wall_seconds))


def stage_priority(stage_scores: FloatArray) -> FloatArray:
    """Ranking key `[num_sources]` of stage scores `[num_stages, num_sources]`; see `Attribution`.

    A source that no stage scored has priority 0, below all others.
    """
    num_stages, num_sources = stage_scores.shape
    priority = np.zeros(num_sources)
    base = 1
    for stage in range(num_stages - 1, -1, -1):
        scored = ~np.isnan(stage_scores[stage])
        values, ranks = np.unique(stage_scores[stage][scored], return_inverse=True)
        priority[scored] = base + ranks
        base += len(values)
    return priority
