"""Parts of a response, by chars and by tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribot.context.partition import NupunktSplitter
from attribot.errors import InvalidInputError
from attribot.explain.parts import part_of, read_spans, token_offsets, token_range
from attribot.models.generation import response_from_text
from attribot.types import Response
from tests.context.texts import NUM_EXAMPLES, any_text
from tests.explain.cases import RESPONSE, tiny

SPLITTER = NupunktSplitter()
SECOND = RESPONSE.index("The map")


def test_sentences_lie_side_by_side() -> None:
    assert read_spans("sentences", RESPONSE, SPLITTER) == ((0, SECOND), (SECOND, len(RESPONSE)))
    assert read_spans(None, RESPONSE, SPLITTER) == ()


def test_quotes_and_chars_may_be_mixed() -> None:
    assert read_spans(["map is", (0, 5)], RESPONSE, SPLITTER) == ((SECOND + 4, SECOND + 10), (0, 5))


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ("sentence", 'must be "sentences" or a list of quotes'),
        (["The map is of Charlie"], r"is not in the response; its closest sentence is 'The map is"),
        (["a"], "stands in the response more than once: quote more of it"),
        ([" "], "a quote of the response is blank"),
        ([(3, 2)], r"the span \(3, 2\) must cover text of the response, which has 38 chars"),
        ([(0, 99)], r"the span \(0, 99\) must cover text"),
        ([(15, 16)], r"the span \(15, 16\) must cover text"),
        ([7], r"a span must be a quote or a pair \(start, end\); got 7"),
        ((0, 5), r"a span must be a quote or a pair \(start, end\); got 0"),
    ],
)
def test_bad_spans_are_refused(spans: Any, message: str) -> None:
    assert len(RESPONSE) == 38
    with pytest.raises(InvalidInputError, match=message):
        read_spans(spans, RESPONSE, SPLITTER)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_parts_of_any_response_are_the_tokens_of_their_chars(num_examples: int) -> None:
    model = tiny()

    @settings(max_examples=num_examples, deadline=None)
    @given(any_text.filter(str.strip), st.data())
    def check(text: str, data: st.DataObject) -> None:
        response = response_from_text(model, text)
        offsets = token_offsets(model.tokenizer, response, response.token_ids)
        sentences = read_spans("sentences", text, SPLITTER)
        assert "".join(text[start:end] for start, end in sentences) == text
        num_parts = np.zeros(len(offsets), dtype=int)
        for extent in sentences:
            num_parts[slice(*token_range(text, offsets, *extent))] += 1
        assert num_parts[:-1].all()
        assert not num_parts[-1]
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        assume(text[start:end].strip())
        (extent,) = read_spans([(start, end)], text, SPLITTER)
        part = offsets[slice(*token_range(text, offsets, *extent))]
        assert ((part[:, 0] < end) & (part[:, 1] > start)).all()
        is_inside = np.zeros(len(text), dtype=bool)
        for first, last in part:
            is_inside[first:last] = True
        assert all(is_inside[i] or text[i].isspace() for i in range(start, end))

    check()


def test_offsets_of_a_given_text_are_its_tokens() -> None:
    model = tiny()
    response = response_from_text(model, "The caf\u00e9 \U0001f600 stands.")
    offsets = token_offsets(model.tokenizer, response, response.token_ids)
    assert len(offsets) == len(response.token_ids)
    # The end-of-turn token has no text.
    assert offsets[-1].tolist() == [len(response.text)] * 2
    assert offsets[0, 0] == 0
    assert offsets[-2, 1] == len(response.text)


def test_offsets_of_tokens_that_the_tokenizer_would_not_choose() -> None:
    """Letter by letter, an accent in two bytes."""
    model = tiny()
    text = "caf\u00e9 stands"
    ids = tuple(
        i for byte in text.encode() for i in _ids_of_byte(byte)
    )  # every byte is a token of the alphabet
    response = Response(text, (*ids, model.tokenizer.eos_token_id), model.tokenizer_sha, True)
    offsets = token_offsets(model.tokenizer, response, response.token_ids)
    ends = [1, 2, 3, 3, 4, *range(5, 12), 11]
    assert offsets[:, 1].tolist() == ends
    assert offsets[:, 0].tolist() == [0, *ends[:-1]]


def _ids_of_byte(byte: int) -> list[int]:
    vocabulary = tiny().tokenizer.get_vocab()
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    char = chr(byte) if byte in printable else chr(256 + others.index(byte))
    return [vocabulary[char]]


TEXT = "One two. Three"
OFFSETS = np.array([(0, 3), (3, 7), (7, 8), (8, 14), (14, 14)])


@pytest.mark.parametrize(
    ("extent", "tokens"),
    [((0, 3), (0, 1)), ((0, 9), (0, 3)), ((9, 14), (3, 4)), ((5, 6), (1, 2)), ((3, 4), None)],
)
def test_tokens_belong_to_the_part_with_their_visible_chars(
    extent: tuple[int, int], tokens: tuple[int, int] | None
) -> None:
    """The white space before a word is part of its token, and decides nothing."""
    if tokens is None:
        with pytest.raises(InvalidInputError, match=r"no token of the response stands at .*\[3, 4"):
            token_range(TEXT, OFFSETS, *extent)
    else:
        assert token_range(TEXT, OFFSETS, *extent) == tokens


def test_a_part_is_a_response_of_its_own() -> None:
    response = Response(TEXT, (11, 13, 17, 19, 23), "sha", has_end_token=True)
    assert part_of(response, (9, 14), (3, 4)) == Response("Three", (19,), "sha", False)
