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


def scores_of_parts(
    token_scores: Sequence[Sequence[float | None]], offsets: Sequence[Span], parts: Sequence[Span]
) -> list[list[float | None]]:
    """`[num_parts][num_sources]` sums over the tokens of each part; None for pruned sources.

    A token belongs to the part that its last char lies in: tokens begin with the space before a
    word. Tokens without text, as the end-of-turn token, belong to none.
    """
    rows = np.array(
        [[np.nan if score is None else score for score in row] for row in token_scores],
        dtype=np.float64,
    ).reshape(len(token_scores), len(offsets))
    out: list[list[float | None]] = []
    for start, end in parts:
        own = [first < last and start < last <= end for first, last in offsets]
        sums = rows[:, own].sum(axis=1)
        out.append([None if np.isnan(score) else float(score) for score in sums])
    return out


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
