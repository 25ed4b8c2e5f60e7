"""`attribot attribute`: one question from options, or many from JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attribot.cli.inputs import (
    INPUT_FILE,
    OUTPUT_FILE,
    ContextsCommand,
    NameChoice,
    files,
    in_a_folder,
    json_file,
    read_text,
    regular_file,
    text_or_file,
)
from attribot.cli.outputs import CUT, as_json, as_text, save_page, say
from attribot.cli.settings import DTYPES, LEVELS, METHODS, Settings

if TYPE_CHECKING:
    from attribot.cli.asking import Asker
    from attribot.explain.result import AttributionResult

ONE_QUESTION = {
    "contexts": "--context",
    "query": "--query",
    "response": "--response",
    "is_json": "--json",
    "html": "--html",
}


@click.command(cls=ContextsCommand)
@click.option(
    "--context",
    "contexts",
    type=INPUT_FILE,
    multiple=True,
    metavar="FILE...",
    help="Text files, a document each; - is the standard input.",
)
@click.option("--query", callback=text_or_file, metavar="TEXT|@FILE", help="What was asked.")
@click.option(
    "--response",
    callback=text_or_file,
    metavar="TEXT|@FILE",
    help="What the model said; without it the model answers, greedily.",
)
@click.option(
    "--input",
    "input_file",
    type=INPUT_FILE,
    metavar="FILE",
    help="JSON lines with query, context (a text or a list) or documents, response (without "
    "one the model answers) and perhaps spans of it; all else is passed on.",
)
@click.option(
    "--output",
    type=OUTPUT_FILE,
    callback=regular_file,
    metavar="FILE",
    help="Where lines of --input are answered; lines that are there already are not "
    "done again. Without it: the standard output.",
)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=files,
    help="Hub id, directory or GGUF file; without it the bundled model.",
)
@click.option(
    "--proxy",
    metavar="NAME",
    shell_complete=files,
    help="A smaller model, for methods that ask one.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Of the weights; without it auto on an accelerator, float32 on a CPU.",
)
@click.option(
    "--method",
    "methods",
    type=NameChoice(METHODS),
    multiple=True,
    default=["auto"],
    show_default=True,
    metavar="NAME",
    help=f"auto, the most faithful one within --max-cost; or {', '.join(METHODS[1:])}. Given "
    "several times: side by side.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="sentence",
    show_default=True,
    help="What a source is.",
)
@click.option(
    "--spans",
    multiple=True,
    metavar="sentences|QUOTE",
    help="Parts of the response to attribute as well; quotes may be several.",
)
@click.option(
    "--template",
    callback=text_or_file,
    metavar="TEXT|@FILE",
    help="The prompt, with {context} and {query} in it.",
)
@click.option(
    "--messages",
    callback=json_file,
    metavar="FILE",
    help="The prompt as a JSON list of chat messages, {context} in one of them.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    default=16.0,
    show_default=True,
    help="Of auto, in passes over the full prompt.",
)
@click.option(
    "--max-memory-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="Bound on weights, states and activations of each model.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Of a response that the model writes.",
)
@click.option(
    "--score-end-token/--no-end-token",
    default=True,
    help="Whether the end of the response is scored too; not for one that was cut.",
)
@click.option("--measure-noise", is_flag=True, help="Also measure what rounding does to scores.")
@click.option(
    "--cache",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keeps what is scored: an interrupted question goes on from there.",
)
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    help="Print everything as JSON, the results of several methods as a list.",
)
@click.option(
    "--html",
    type=OUTPUT_FILE,
    callback=in_a_folder,
    metavar="FILE",
    help="Also write a page to explore, one file that works offline.",
)
def attribute(
    contexts: tuple[str, ...],
    query: str | None,
    response: str | None,
    input_file: str | None,
    output: Path | None,
    methods: tuple[str, ...],
    is_json: bool,
    html: Path | None,
    **settings: Any,
) -> None:
    """Which parts of the context made the model give this response.

    The score of a source is by how much the response becomes less likely without it, in nats,
    exactly or as near as the method comes.

    \b
    attribot attribute --context paper.txt notes.txt --query "Who built it?" --response @answer.txt
    attribot attribute --context a.txt --query "Who?" --method loo --method mask --html page.html
    attribot attribute --input questions.jsonl --output scores.jsonl

    Exit status: 0; 1 where some lines of --input cannot be attributed, they are named; 2 where
    nothing can be done as asked; 130 after Ctrl-C, what is done is kept.
    """
    chosen = [Settings(method=method, **settings) for method in methods]
    _check(click.get_current_context(), chosen[0])

    from attribot.cli.asking import Asker, Models

    models = Models(chosen[0])
    askers = [Asker(each, models) for each in chosen]
    if input_file is not None:
        _answer_lines(askers[0], input_file, output)
    else:
        _answer_one(askers, contexts, query or "", response, is_json, html)


def _check(context: click.Context, settings: Settings) -> None:
    """Refuses options that do not go together, before anything is loaded."""
    given = context.params
    if given["input_file"] is None:
        if not given["contexts"]:
            raise click.UsageError("expected --context FILE..., or --input FILE for many questions")
        if given["output"] is not None:
            raise click.UsageError("--output goes with --input; one result is saved by --html")
        has_prompt = settings.template is not None or settings.messages is not None
        if not given["query"] and not has_prompt:
            raise click.UsageError("expected --query TEXT, or a prompt of your own in --template")
    elif stray := [option for name, option in ONE_QUESTION.items() if given[name]]:
        raise click.UsageError(f"--input brings its own questions: leave out {', '.join(stray)}")
    elif len(given["methods"]) > 1:
        raise click.UsageError(
            f"--input takes one --method; got {', '.join(given['methods'])}: give each an --output "
            f"of its own"
        )


def _answer_one(
    askers: Sequence[Asker],
    contexts: tuple[str, ...],
    query: str,
    response: str | None,
    is_json: bool,
    html: Path | None,
) -> None:
    from attribot.cli.asking import bar

    documents = [
        {"text": read_text(path), "id": "stdin" if path == "-" else path} for path in contexts
    ]
    results: list[AttributionResult] = []
    try:
        for asker in askers:
            results.append(asker.ask(documents, query, response, bar()))
    finally:
        # Where a later method fails, what the earlier ones took their time for is still shown.
        if results:
            text = as_json(results, len(askers) > 1) if is_json else as_text(results)
            _show(results, text, html)


def _show(results: Sequence[AttributionResult], text: str, html: Path | None) -> None:
    if any(result.is_response_cut for result in results):
        click.echo(CUT, err=True)
    try:
        say(text)
    finally:
        # What cannot be printed may still be saved.
        if html is not None:
            save_page(results, html)


def _answer_lines(asker: Asker, input_file: str, output: Path | None) -> None:
    from attribot.cli.lines import attribute_lines, to_file, to_stdout

    opened = nullcontext(to_stdout()) if output is None else to_file(output)
    name = "the standard input" if input_file == "-" else input_file
    with click.open_file(input_file, "rb") as lines, opened as sink:
        tally = attribute_lines(lines, sink, asker, name)
    is_terminal = sys.stderr.isatty()
    if tally.failed or is_terminal:
        # The bar has left the cursor behind it.
        click.echo(("\n" if is_terminal else "") + str(tally), err=True)
    if tally.failed:
        click.get_current_context().exit(1)
