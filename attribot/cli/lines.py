"""Many questions: JSON lines in, JSON lines out, each one kept as soon as it is answered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from attribot.cli.asking import Asker, bar
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


@dataclass(frozen=True)
class Row:
    """One question. context: as `explain.attribute.attribute` takes it.

    response: None where the model is to answer. row_id: passed on to the output as it is.
    """

    context: Any
    query: str
    response: str | None
    row_id: Any

    @classmethod
    def parse(cls, text: str) -> Row:
        """The question of a line.

        Raises:
            InvalidInputError: it is no JSON object, or has no context, or two.
        """
        try:
            fields = json.loads(text, parse_constant=_no_number)
            # JSON takes half of a surrogate pair, and 1e999 for infinity; tokenizers and results
            # do not.
            json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise InvalidInputError(f"not valid JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidInputError(f"expected a JSON object; got {type(fields).__name__}")
        contexts = [name for name in ("context", "documents") if fields.get(name) is not None]
        if len(contexts) != 1:
            raise InvalidInputError(
                f"expected one of the fields context and documents; got "
                f"{' and '.join(contexts) or 'the fields ' + str(sorted(fields))}"
            )
        query = fields.get("query")
        if not isinstance(query, str | None):
            raise InvalidInputError(f"the query must be a text; got {query!r}")
        return cls(fields[contexts[0]], query or "", fields.get("response"), fields.get("id"))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


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


def attribute_lines(lines: Iterable[bytes], sink: Sink, asker: Asker, name: str) -> Tally:
    """Attributes every line of a file, and reports those that cannot be by their number.

    Raises:
        RecordsError: the sink holds an answer to another line or under other settings.
    """
    tally = Tally()
    for number, line in enumerate(lines, start=1):
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
            answer = _answer(number, text, key, asker)
        except UnicodeDecodeError as error:
            _report(name, number, f"not UTF-8: {error}", tally)
        except LINE_ERRORS as error:
            _report(name, number, error, tally)
        except RecursionError:
            _report(name, number, "its JSON is nested too deeply", tally)
        else:
            sink.write(answer)
            tally.done += 1
    return tally


def _answer(number: int, text: str, key: str, asker: Asker) -> bytes:
    """The line of the output for a line of the input."""
    row = Row.parse(text)
    result = asker.ask(row.context, row.query, row.response, bar(f"line {number}: "))
    answer = {"line": number, "id": row.row_id, "key": key, "result": result.to_dict()}
    return json.dumps(answer, allow_nan=False).encode() + b"\n"


def _report(name: str, number: int, error: object, tally: Tally) -> None:
    over_the_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
    message = " ".join(str(error).split())
    click.echo(f"{over_the_bar}{name}, line {number}: {message}", err=True)
    tally.failed += 1


def _check_same(number: int, key: str, sink: Sink, name: str) -> None:
    if sink.done[number] != key:
        raise RecordsError(
            f"the output holds an answer to line {number} of {name} as it was before, or under "
            f"other settings: name another --output, or delete that one"
        )


def to_stdout() -> Sink:
    """Every line is passed on at once."""
    return Sink(lambda line: click.echo(line, nl=False))


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
    done: dict[int, str] = {}
    end = 0
    for row, row_end in complete_lines(path):
        if not isinstance(row, dict) or not {"line", "key", "result"} <= row.keys():
            raise _not_ours(path)
        done[row["line"]], end = row["key"], row_end
    with path.open("rb") as file:
        file.seek(end)
        torn = file.read(len(_BEGINNING))
    # What a kill left of a line is cut off, but never a line that someone else wrote.
    if not _BEGINNING.startswith(torn):
        raise _not_ours(path)
    return done, end


def _not_ours(path: Path) -> RecordsError:
    return RecordsError(
        f"{path} holds something else than the output of attribot attribute: name another --output"
    )
