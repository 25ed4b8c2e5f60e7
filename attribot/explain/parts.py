"""Parts of a response: which chars were asked for, and which tokens those are."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from attribot.context.ablation import sources_of_tokens
from attribot.context.partition import SentenceSplitter
from attribot.errors import InvalidInputError
from attribot.explain.blocks import BlockSplitter
from attribot.explain.blocks import Extent as Extent
from attribot.types import IntArray, Response

Spans = Literal["sentences"] | Sequence[tuple[int, int] | str]
"""Every sentence; or char extents `(start, end)` and exact quotes of the response."""


def read_spans(spans: Spans | None, text: str, splitter: SentenceSplitter) -> tuple[Extent, ...]:
    """Char extents `[start, end)` of the parts of a response that are asked for.

    Sentences lie side by side: the white space behind one belongs to it.

    Raises:
        InvalidInputError: a part is not in the response, or holds no visible char.
    """
    checked = checked_spans(spans)
    if checked is None:
        return ()
    if isinstance(checked, str):
        return tuple(sentences_of(text, splitter))
    return tuple(_read_span(span, text, splitter) for span in checked)


def checked_spans(spans: Any) -> Spans | None:
    """What was given as `Spans`, its chars as plain numbers; of whatever response.

    Raises:
        InvalidInputError: it is neither "sentences" nor a list of quotes and pairs of numbers.
    """
    if spans is None or (isinstance(spans, str) and spans == "sentences"):
        return spans
    if isinstance(spans, str) or not isinstance(spans, Iterable):
        raise InvalidInputError(
            f'spans must be "sentences" or a list of quotes and (start, end) pairs; got '
            f"{spans!r}: a single quote goes into a list"
        )
    return [span if isinstance(span, str) else _checked_pair(span) for span in spans]


def _checked_pair(span: Any) -> Extent:
    try:
        start, end = map(operator.index, span)
    except (TypeError, ValueError) as error:
        message = f"a span must be a quote or a pair (start, end); got {span!r}"
        raise InvalidInputError(message) from error
    return start, end


def sentences_of(text: str, splitter: SentenceSplitter) -> list[Extent]:
    """Char extents of the sentences of a text; see `BlockSplitter` for what it takes from
    Markdown."""
    return list(pairwise((0, *BlockSplitter(splitter).split(text))))


def _read_span(span: str | Extent, text: str, splitter: SentenceSplitter) -> Extent:
    if isinstance(span, str):
        return _find_quote(span, text, splitter)
    start, end = span
    if not 0 <= start < end <= len(text) or not text[start:end].strip():
        raise InvalidInputError(
            f"the span ({start}, {end}) must cover text of the response, which has "
            f"{len(text)} chars"
        )
    return start, end


def _find_quote(quote: str, text: str, splitter: SentenceSplitter) -> Extent:
    """Where the quote stands, if exactly once."""
    if not quote.strip():
        raise InvalidInputError("a quote of the response is blank: it must hold some of its text")
    start = text.find(quote)
    if start < 0:
        sentences = [text[a:b].strip() for a, b in sentences_of(text, splitter)]
        closest = max(
            sentences, key=lambda each: difflib.SequenceMatcher(None, quote, each).ratio()
        )
        raise InvalidInputError(
            f"the quote {quote!r} is not in the response; its closest sentence is {closest!r}: "
            f"quote it exactly"
        )
    if text.find(quote, start + 1) >= 0:
        raise InvalidInputError(
            f"the quote {quote!r} stands in the response more than once: quote more of it, or "
            f"give (start, end)"
        )
    return start, start + len(quote)


def token_range(text: str, offsets: IntArray, start: int, end: int) -> Extent:
    """The tokens `[first, last)` that share a visible char with chars `[start, end)` of a response.

    offsets: `[num_response_tokens, 2]` extent of each token in `text`; the end-of-turn token has
        none, and so is part of no part.

    Raises:
        InvalidInputError: there is no such token.
    """
    chars = np.arange(len(text))
    # The white space before a word is part of its token, but not of what the token says.
    first_visible = sources_of_tokens(text, offsets, np.stack([chars, chars + 1], axis=1))
    is_inside = (first_visible >= 0) & (first_visible < end) & (offsets[:, 1] > start)
    tokens = np.flatnonzero(is_inside)
    if not len(tokens):
        raise InvalidInputError(
            f"no token of the response stands at the chars [{start}, {end}): widen the span"
        )
    return int(tokens[0]), int(tokens[-1]) + 1


def token_offsets(tokenizer: Any, response: Response, token_ids: Sequence[int]) -> IntArray:
    """`[num_response_tokens, 2]` char extent of each token in the response's text.

    token_ids: the response as the model of this tokenizer reads it.
    """
    text = response.text
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    num_encoded = len(encoding["input_ids"])
    if tuple(encoding["input_ids"]) == tuple(token_ids[:num_encoded]):
        outside = [(len(text), len(text))] * (len(token_ids) - num_encoded)
        offsets = [*encoding["offset_mapping"], *outside]
        return np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    # A model may write a text in other tokens than its tokenizer would: what each one adds shows.
    ends = [
        _num_shared(text, decoded)
        for decoded in (
            tokenizer.decode(
                list(token_ids[: count + 1]),
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            for count in range(len(token_ids))
        )
    ]
    ends = np.maximum.accumulate(ends).tolist()
    return np.array([[0, *ends[:-1]], ends], dtype=np.int64).T


def _num_shared(text: str, other: str) -> int:
    """Chars that both begin with."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))


def part_of(response: Response, extent: Extent, tokens: Extent) -> Response:
    """A part of a response as a response of its own."""
    return Response(
        response.text[slice(*extent)],
        response.token_ids[slice(*tokens)],
        response.tokenizer_sha,
        has_end_token=False,
    )
