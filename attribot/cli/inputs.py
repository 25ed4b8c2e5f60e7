"""What stands behind the options: texts, files and the standard input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from attribot.errors import InvalidInputError

INPUT_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
OUTPUT_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


def read_text(path: str) -> str:
    """The text of a UTF-8 file; of the standard input for `-`.

    Raises:
        InvalidInputError: it cannot be read, or is not UTF-8.
    """
    try:
        with click.open_file(path, encoding="utf-8-sig") as file:
            return str(file.read())
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not UTF-8 text ({error}): convert it to a plain text file first"
        ) from error


def text_or_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Callback of an option: a text, or `@FILE` for that of a file without its last line break."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return read_text(value[1:]).removesuffix("\n")
    except InvalidInputError as error:
        message = f"{error}; @ stands before the name of a file, @- is the standard input"
        raise click.BadParameter(message, ctx, param) from error


def json_file(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Callback of an option: what a JSON file holds."""
    try:
        return None if value is None else json.loads(read_text(value))
    except ValueError as error:
        raise click.BadParameter(f"{value}: {error}", ctx, param) from error


def in_a_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Callback of an option for a file to write: a missing folder is found before the work."""
    if value is not None and not value.absolute().parent.is_dir():
        message = f"there is no folder {value.absolute().parent}: make it first"
        raise click.BadParameter(message, ctx, param)
    return value


class ContextsCommand(click.Command):
    """A command whose `--context` takes one file or several: `--context a.txt b.txt`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        return super().parse_args(ctx, with_repeated_option(args, "--context"))


def with_repeated_option(args: list[str], option: str) -> list[str]:
    """Arguments in which every value behind the option has the option before it.

    Values are all that follow up to the next option; `-` is a value.
    """
    spread: list[str] = []
    num_values: int | None = None
    for argument in args:
        if argument == option or argument.startswith(f"{option}="):
            num_values = 0 if argument == option else 1
        elif argument.startswith("-") and argument != "-":
            num_values = None
        elif num_values is not None:
            if num_values:
                spread.append(option)
            num_values += 1
        spread.append(argument)
    return spread
