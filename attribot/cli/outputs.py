"""Where results go: the standard output, and pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attribot.durable import storage_errors
from attribot.errors import RecordsError

if TYPE_CHECKING:
    from attribot.explain.result import AttributionResult

CUT = "the response was cut: raise --max-new-tokens to have all of it"


def say(text: str | bytes, nl: bool = True) -> None:
    """Writes on the standard output, at once; nl: and ends the line.

    Raises:
        RecordsError: it cannot be written to.
        BrokenPipeError: whoever read it has left, which click ends the command for in silence.
    """
    try:
        click.echo(text, nl=nl)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try again what is left of the text, and complain once more, when it ends.
        with suppress(OSError):
            sys.stdout.close()
        raise RecordsError(
            f"could not write to the standard output: {error.strerror}. Send it somewhere else"
        ) from error


def as_text(results: Sequence[AttributionResult]) -> str:
    """A table for each result, and the response with its sources where parts were asked for."""
    tables = []
    for result in results:
        tables += [str(result), result.cite()] if result.spans else [str(result)]
    return "\n\n".join(tables)


def as_json(results: Sequence[AttributionResult], is_list: bool) -> str:
    """The results as a list of objects, or the only one as an object."""
    if not is_list:
        return results[0].to_json(indent=2)
    plain = [result.to_dict() for result in results]
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=2)


def save_page(results: Sequence[AttributionResult], path: Path) -> None:
    """All results on one page.

    Raises:
        RecordsError: the file cannot be written.
    """
    from attribot.explain.saving import save_html

    with storage_errors(path, "The page is missing; name another file in --html"):
        save_html(results, path)
