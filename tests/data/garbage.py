"""JSON lines with anything between the good ones."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence

from hypothesis import strategies as st

Line = tuple[bytes, str | None]
"""What stands there, and the query that it asks; None for lines that ask nothing."""

# Each breaks another step of reading; none is a question.
BROKEN = (
    *(b"{", b"null", b"7", b'"text"', b"[]", b"{}", b'{"query": "q"}', b"\xff\xfe", b"\xc3"),
    *(b'{"query": "q", "context": "\\ud83d"}', b'{"query": "q", "context": "a"} {}'),
    *(b'{"query": "q", "context": "a", "id": NaN}', b'{"query": "q", "context": "a", "id": 1e999}'),
    b'{"query": "q", "context": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    b'{"query": "q", "context": "a\x00"}',
)


def question(number: int) -> Line:
    """A line that can be answered."""
    query = f"question {number} é"
    return json.dumps({"query": query, "context": "A b.", "id": query}).encode(), query


_garbage = st.sampled_from(BROKEN) | st.binary(max_size=9).map(
    lambda line: line.replace(b"\n", b"")
)
_questions = st.integers(0, 99).map(question)
lines = st.lists(_questions | _garbage.map(lambda line: (line, None)), max_size=9)


def expected(drawn: Sequence[Line]) -> tuple[list[int], list[int]]:
    """Numbers of the lines that are answered, and of those that are reported."""
    asked = [number for number, (_, query) in enumerate(drawn, 1) if query is not None]
    reported = [
        number
        for number, (line, query) in enumerate(drawn, 1)
        if query is None and not is_blank(line, number)
    ]
    return asked, reported


def is_blank(line: bytes, number: int) -> bool:
    """Nothing but white space, and a byte order mark at the start of the file."""
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        return not line.decode().strip()
    except UnicodeDecodeError:
        return False


def content(drawn: Sequence[Line], is_windows: bool) -> bytes:
    """The file."""
    return (b"\r\n" if is_windows else b"\n").join(line for line, _ in drawn)
