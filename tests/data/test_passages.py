"""Paragraphs of contexts given as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.data.passages import BLANK_LINES, paragraphs_of
from tests.context.texts import NUM_EXAMPLES, any_text

# What is meant by the pattern, which need not try every start in a run of white space.
MEANT = re.compile(r"[^\S\n]*\n[^\S\n]*\n\s*")
_blank = st.text(" \n\t\rA", max_size=12)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_blank_lines_are_found_wherever_they_stand(num_examples: int) -> None:
    @settings(max_examples=num_examples, deadline=None)
    @given(any_text | _blank)
    def check(text: str) -> None:
        found = [match.span() for match in BLANK_LINES.finditer(text)]
        assert found == [match.span() for match in MEANT.finditer(text)]

    check()


def test_long_runs_of_white_space_take_no_time() -> None:
    """A quarter of a million chars, which from every one of them on would take minutes."""
    run = " " * 250_000
    (_, first), (offset, second) = paragraphs_of(f"A{run}B\n{run}\n{run}C")
    assert (first.text, second.text) == (f"A{run}B", "C")
    assert offset == len(run) * 3 + 4


def test_paragraphs_may_be_parted_at_some_blank_lines_only() -> None:
    text = "A\n\nB\n\nC"
    assert [paragraph.text for _, paragraph in paragraphs_of(text)] == ["A", "B", "C"]
    parted = paragraphs_of(text, [(4, 6)])
    assert [(paragraph.header, paragraph.text) for _, paragraph in parted] == [
        ("", "A\n\nB"),
        ("\n\n", "C"),
    ]
