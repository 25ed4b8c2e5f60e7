"""The progress bar on terminals of any width."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
from contextlib import suppress

import pytest

from attribot.explain.terminal import TerminalBar

LONG = "line 12: leave-one-out of paragraphs, then of the sentences of the 3 best among themselves"


def drawn(num_columns: int, *steps: tuple[int, int, str]) -> list[str]:
    """What the steps write to a terminal of that width, each without the codes that clear it."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, num_columns))
    with os.fdopen(writer, "w") as stream:
        bar = TerminalBar(stream)
        for step in steps:
            bar(*step)
    written = b""
    # The other end being closed is an error to whoever reads all that was written.
    with suppress(OSError):
        while part := os.read(reader, 4096):
            written += part
    os.close(reader)
    return written.decode().split("\r\x1b[K")[1:]


@pytest.mark.parametrize("num_columns", [80, 60, 7])
def test_a_line_stays_inside_the_terminal(num_columns: int) -> None:
    first, second, last = drawn(num_columns, (3, 12, LONG), (4, 0, LONG), (12, 12, "done"))
    uncut = f"[########{' ' * 22}] 3/12, 0 s: {LONG}"
    assert first == uncut[: num_columns - 4] + "..."
    assert len(second) == num_columns - 1
    assert len(last.removesuffix("\r\n")) <= num_columns - 1


def test_a_line_that_fits_is_whole() -> None:
    [line] = drawn(140, (3, 12, LONG))
    assert line.endswith(LONG)


def test_a_terminal_may_not_know_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    [line] = drawn(0, (3, 12, LONG))
    assert len(line) == 49


def test_nothing_is_written_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    TerminalBar()(3, 12, LONG)
    assert file.getvalue() == ""
