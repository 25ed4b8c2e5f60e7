"""Options that stand for files, and an option with several values."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from attribot.cli.inputs import read_text, with_repeated_option
from attribot.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--context a b --query c", "--context a --context b --query c"),
        ("--context a --context b c", "--context a --context b --context c"),
        ("--context=a b", "--context=a --context b"),
        ("--context - b --json", "--context - --context b --json"),
        ("--query a b", "--query a b"),
        ("--context a --query q b", "--context a --query q b"),
        ("--context a --json b", "--context a --json b"),
        ("--contexts a b", "--contexts a b"),
    ],
)
def test_an_option_with_several_values(given: str, read: str) -> None:
    assert with_repeated_option(given.split(), "--context") == read.split()


def test_text_is_read_as_it_is_but_for_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone \n\n zwei \xc3\xa4\n")
    assert read_text(str(tmp_path / "a")) == "one \n\n zwei ä\n"


def test_a_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO("grün".encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", piped)
    assert read_text("-") == "grün"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF \xff\xfe")
    with pytest.raises(InvalidInputError, match=r"a\.pdf is not UTF-8 text .* convert it"):
        read_text(str(tmp_path / "a.pdf"))
    with pytest.raises(InvalidInputError, match=r"cannot read .*absent: No such file"):
        read_text(str(tmp_path / "absent"))
