"""What stands behind the options: texts, files, the standard input and names."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from attribot.errors import InvalidInputError

INPUT_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
OUTPUT_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
_MORE_CONTEXTS = f"{__name__}.more_contexts"


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


def regular_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Callback of an option for a file that is read back: no device and no pipe."""
    if value is not None and (str(value) == "-" or (value.exists() and not value.is_file())):
        message = f"{value} is no regular file: leave the option out for the standard output"
        raise click.BadParameter(message, ctx, param)
    return in_a_folder(ctx, param, value)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Completion of an option whose value may be the name of a file or a folder."""
    return [CompletionItem(incomplete, type="file")]


class NameChoice(click.Choice[str]):
    """One of many names; a mistyped one is answered with those that come close."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """See `click.Choice`."""
        if close := difflib.get_close_matches(value, self.choices):
            return f"unknown name {value!r}: did you mean {' or '.join(close)}? --help has them all"
        return super().get_invalid_choice_message(value, ctx)


class ContextsCommand(click.Command):
    """A command whose `--context` takes one file or several: `--context a.txt b.txt`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        *_, option, _ = ["", *with_repeated_option([*args, "next"], "--context")]
        ctx.meta[_MORE_CONTEXTS] = option == "--context"
        return super().parse_args(ctx, with_repeated_option(args, "--context"))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """See `click.Command`: what follows a context may be another one."""
        if ctx.meta[_MORE_CONTEXTS] and not incomplete.startswith("-"):
            return [CompletionItem(incomplete, type="file")]
        return super().shell_complete(ctx, incomplete)


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
