"""Parts of a response for the page: which tokens they hold, and what those add up to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import numpy as np

Span = tuple[int, int]


class PieceData(TypedDict):
    """A piece of the response: ids of the tokens that it belongs to; its part, -1 for none."""

    text: str
    tokens: list[int]
    part: int


def tokens_of_parts(
    response: str, offsets: Sequence[Span], parts: Sequence[Span]
) -> list[list[int]]:
    """`[num_parts]` ids of the tokens of each part, from the first to the last that says some.

    As `AttributionResult.span` counts them: what a token says begins with its first visible char,
    since tokens begin with the space before a word; a token of two parts belongs to both, one
    without text, as the end-of-turn token, to none.
    """
    texts = [response[first:last] for first, last in offsets]
    said = [
        first + len(text) - len(text.lstrip() or text)
        for (first, _), text in zip(offsets, texts, strict=True)
    ]
    out: list[list[int]] = []
    for start, end in parts:
        own = [
            token
            for token, (_, last) in enumerate(offsets)
            if texts[token] and said[token] < end and last > start
        ]
        out.append(list(range(own[0], own[-1] + 1)) if own else [])
    return out


def scores_of_parts(
    token_scores: Sequence[Sequence[float | None]], part_tokens: Sequence[Sequence[int]]
) -> list[list[float | None]]:
    """`[num_parts][num_sources]` sums over the tokens of each part; None for pruned sources."""
    rows = np.array(
        [[np.nan if score is None else score for score in row] for row in token_scores],
        dtype=np.float64,
    )
    # NaN even where a part has no token.
    of_pruned = np.where(np.isnan(rows).any(axis=1), np.nan, 0.0)
    sums = [rows[:, list(tokens)].sum(axis=1) + of_pruned for tokens in part_tokens]
    return [[None if np.isnan(score) else float(score) for score in row] for row in sums]


def ranks_of(scores: Sequence[float | None]) -> list[int]:
    """1 for the largest; ties share the best rank of the tie, pruned sources come last."""
    numbers = np.array([-np.inf if score is None else score for score in scores])
    num_larger = len(numbers) - np.searchsorted(np.sort(numbers), numbers, side="right")
    return [int(count) + 1 for count in num_larger]


def response_pieces(
    response: str, offsets: Sequence[Span], parts: Sequence[Span]
) -> list[PieceData]:
    """The response, cut wherever a token or a part starts or ends.

    A piece in several parts is given to the first of them; the page lists all parts by name.
    """
    edges = {0, len(response), *(edge for span in (*offsets, *parts) for edge in span)}
    return [
        PieceData(
            text=response[start:end],
            tokens=[i for i, (first, last) in enumerate(offsets) if first < end and last > start],
            part=next((i for i, (s, e) in enumerate(parts) if s <= start and end <= e), -1),
        )
        for start, end in pairwise(sorted(edges))
    ]
