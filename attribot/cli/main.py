"""The command `attribot`. Commands import their work when they are called: help comes at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from attribot.cli.attribute import attribute
from attribot.cli.inputs import files
from attribot.cli.interrupts import listen
from attribot.cli.outputs import say
from attribot.cli.wording import in_options
from attribot.errors import AttribotError
from attribot.extras import import_extra

INTERRUPTED = 130
SHELLS = ("bash", "zsh", "fish")
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Refusal(click.ClickException):
    """One line on stderr; the exit status is that of wrong options."""

    exit_code = 2


class Commands(click.Group):
    """Errors that attribot raises on purpose become refusals, and Ctrl-C an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group`."""
        try:
            return super().invoke(ctx)
        except AttribotError as error:
            raise Refusal(in_options(error)) from error
        except KeyboardInterrupt:
            click.echo(
                "\ninterrupted: what --output and --cache hold is kept, the same command goes on "
                "from there",
                err=True,
            )
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attribot", prog_name="attribot")
@click.pass_context
def cli(context: click.Context) -> None:
    """Which parts of the context made the language model say this?"""
    if os.environ.get("NO_COLOR"):
        context.color = False


cli.add_command(attribute)


@cli.group()
def models() -> None:
    """The bundled model, and how models compute here."""


@models.command()
def prepare() -> None:
    """Convert the bundled model once, and print where it is."""
    say(str(_prepared()))


def _prepared() -> Path:
    from attribot.cli.caches import cache_errors
    from attribot.models.bundled import prepare_bundled

    with cache_errors():
        return prepare_bundled()


@models.command()
@click.option(
    "--model", metavar="NAME", shell_complete=files, help="Hub id, directory or GGUF file."
)
def precision(model: str | None) -> None:
    """Measure what each dtype blurs in the scores of a model, on the CPU."""
    from attribot.models.__main__ import print_precision

    if model is None:
        _prepared()
    print_precision(model)


@cli.command()
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    metavar="RUN...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; one run: its own.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Examples on the page at most.",
)
def report(runs: tuple[Path, ...], output: Path | None, examples: int) -> None:
    """Tables, figures and page of runs, from their records."""
    if output is None and len(runs) > 1:
        raise click.UsageError("several runs need --output DIR")
    build = import_extra("attribot.report.build", "experiments")
    say(str(build.build_report(runs, output or runs[0], examples)))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the installation and this machine; exit status 1 where something fails."""
    from attribot.cli.doctor import examine

    findings = examine()
    if as_json:
        say(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            status = click.style(f"{finding.status:<4}", fg=COLOURS[finding.status])
            advice = f"\n      -> {finding.advice}" if finding.advice else ""
            say(f"{status}  {finding.subject}: {finding.text}{advice}")
    if any(finding.status == "fail" for finding in findings):
        context.exit(1)


@cli.group(invoke_without_command=True)
@click.pass_context
def cache(context: click.Context) -> None:
    """What attribot keeps on disk: the converted model, scores of experiments."""
    if context.invoked_subcommand is None:
        _list_cache()


def _list_cache() -> None:
    from attribot.cli.caches import entries, size_of
    from attribot.models.loading import cache_dir

    directory = cache_dir()
    sizes = {entry: size_of(entry) for entry in entries(directory)}
    for entry, size in sizes.items():
        say(f"{size / 1e6:>10.1f} MB  {entry.name}")
    say(f"{sum(sizes.values()) / 1e6:>10.1f} MB  in {directory}")


@cache.command()
def path() -> None:
    """Print the folder; $ATTRIBOT_CACHE moves it."""
    from attribot.models.loading import cache_dir

    say(str(cache_dir()))


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(yes: bool) -> None:
    """Delete what attribot has put there; other files stay. It is computed again when needed."""
    from attribot.cli.caches import delete, entries, size_of
    from attribot.models.loading import cache_dir

    directory = cache_dir()
    found = entries(directory)
    if not found:
        say(f"nothing to delete in {directory}")
        return
    size = sum(map(size_of, found)) / 1e6
    if not yes:
        names = ", ".join(entry.name for entry in found)
        click.confirm(
            f"Delete {names} ({size:.1f} MB) in {directory}? Nothing may be running", abort=True
        )
    for entry in found:
        delete(entry)
    say(f"deleted {size:.1f} MB")


@cli.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion of a shell: eval "$(attribot completion bash)"."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    say(complete(cli, {}, "attribot", "_ATTRIBOT_COMPLETE").source())


def main() -> None:
    """The entry point of the script."""
    # Of models that are loaded and converted; tqdm reads it when the commands import it.
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    listen()
    cli(prog_name="attribot")
