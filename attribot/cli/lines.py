"""Many questions: JSON lines in, JSON lines out, each one kept as soon as it is answered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from attribot.cli.asking import Asker, bar
from attribot.cli.interrupts import check
from attribot.cli.outputs import CUT, say
from attribot.cli.rows import FIELDS, Row
from attribot.cli.wording import in_options
from attribot.content_cache import content_key
from attribot.durable import append, complete_lines, lock, storage_errors
from attribot.errors import (
    InvalidInputError,
    NonFiniteLogitsError,
    PromptTooLongError,
    RecordsError,
)

# What a line can have against it; anything else would befall all lines, and stops the file.
LINE_ERRORS = (InvalidInputError, PromptTooLongError, NonFiniteLogitsError)
_BEGINNING = b'{"line": '


@dataclass
class Tally:
    """Lines that were answered now, earlier, and not at all."""

    done: int = 0
    skipped: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.done} lines done, {self.skipped} done before, {self.failed} failed"


@dataclass(frozen=True)
class Sink:
    """Where answered lines go. done: key of each line that is there, by its number."""

    write: Callable[[bytes], object]
    done: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notices:
    """What is said of lines, on the standard error.

    name: of the input. mentioned: unknown fields, which are said once.
    """

    name: str
    mentioned: set[str] = field(default_factory=set)

    def say(self, number: int, message: str) -> None:
        """In the place of the bar, where there is one."""
        over_the_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
        click.echo(f"{over_the_bar}{self.name}, line {number}: {message}", err=True)

    def mention(self, number: int, others: Mapping[str, object]) -> None:
        """Those that no line before had."""
        if new := sorted(others.keys() - self.mentioned):
            self.say(number, f"unknown fields, passed on in 'others': {', '.join(new)}")
            self.mentioned.update(new)


def attribute_lines(lines: Iterable[bytes], sink: Sink, asker: Asker, name: str) -> Tally:
    """Attributes every line of a file, and reports those that cannot be by their number.

    Raises:
        RecordsError: the sink holds an answer to another line or under other settings.
    """
    tally, notices = Tally(), Notices(name)
    for number, line in enumerate(lines, start=1):
        check()
        try:
            # A byte order mark may stand before the first line.
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            key = content_key({"row": text, **asker.settings.identity()})
            if number in sink.done:
                _check_same(number, key, sink, name)
                tally.skipped += 1
                continue
            answer = _answer(number, text, key, asker, notices)
        except UnicodeDecodeError as error:
            failure = f"not UTF-8: {error}"
        except LINE_ERRORS as error:
            failure = in_options(error, FIELDS)
        except RecursionError:
            failure = "its JSON is nested too deeply"
        else:
            sink.write(answer)
            tally.done += 1
            continue
        notices.say(number, failure)
        tally.failed += 1
    return tally


def _answer(number: int, text: str, key: str, asker: Asker, notices: Notices) -> bytes:
    """The line of the output for a line of the input."""
    row = Row.parse(text)
    notices.mention(number, row.others)
    report = bar(f"line {number}: ")
    result = asker.ask(row.context, row.query, row.response, report, row.spans)
    answer = {"line": number, "id": row.row_id, "key": key, "result": result.to_dict()}
    if row.others:
        answer["others"] = row.others
    line = json.dumps(answer, allow_nan=False).encode() + b"\n"
    if result.is_response_cut:
        notices.say(number, CUT)
    return line


def _check_same(number: int, key: str, sink: Sink, name: str) -> None:
    if sink.done[number] != key:
        raise RecordsError(
            f"the output holds an answer to line {number} of {name} as it was before, or under "
            f"other settings: name another --output, or delete that one"
        )


def to_stdout() -> Sink:
    """Every line is passed on at once."""
    return Sink(partial(say, nl=False))


@contextmanager
def to_file(path: Path) -> Iterator[Sink]:
    """Lines are on disk when they are written; those that are there already stay.

    Raises:
        RecordsError: the file holds something else, another process writes it, or the disk is full.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        lock(descriptor, path)
        done, end = _answered(path)
        os.ftruncate(descriptor, end)

        def write(line: bytes) -> None:
            with storage_errors(path):
                append(descriptor, line)

        yield Sink(write, done)
    finally:
        os.close(descriptor)


def _answered(path: Path) -> tuple[dict[int, str], int]:
    """Key of each complete line by its number, and where they end [bytes]."""
    # Before any line is called damaged: what to do about it is right for our own files only.
    _check_ours(path, 0)
    done: dict[int, str] = {}
    end = 0
    for row, row_end in complete_lines(path):
        if not isinstance(row, dict) or not {"line", "key", "result"} <= row.keys():
            raise _not_ours(path)
        done[row["line"]], end = row["key"], row_end
    # What a kill left of a line is cut off, but never a line that someone else wrote.
    _check_ours(path, end)
    return done, end


def _check_ours(path: Path, offset: int) -> None:
    """Raises RecordsError where anything but an answered line, or a part of one, begins."""
    with path.open("rb") as file:
        file.seek(offset)
        if not _BEGINNING.startswith(file.read(len(_BEGINNING))):
            raise _not_ours(path)


def _not_ours(path: Path) -> RecordsError:
    return RecordsError(
        f"{path} holds something else than the output of attribot attribute: name another --output"
    )
