"""`attribot attribute` on one question, against the same call from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attribot.explain.result import AttributionResult
from tests.cli.conftest import Run
from tests.explain.cases import BRIDGE, HORSES, QUERY, RESPONSE, SOURCES, ask

TOLERANCE = 1e-6
CONTEXT = [BRIDGE, {"text": HORSES["text"]}]


@pytest.fixture
def question(run: Run, tmp_path: Path, model_dir: Path) -> list[object]:  # noqa: ARG001
    """Arguments that ask the question of `tests.explain.cases` from files."""
    Path("bridge.txt").write_text(BRIDGE, encoding="utf-8")
    Path("horses.txt").write_text(str(HORSES["text"]), encoding="utf-8")
    return [
        *("attribute", "--model", model_dir, "--query", QUERY, "--response", RESPONSE),
        *("--context", "bridge.txt", "horses.txt"),
    ]


def test_json_holds_what_the_call_returns(run: Run, question: list[object]) -> None:
    done = run(*question, "--json", "--method", "loo")
    assert (done.exit_code, done.stderr) == (0, "")
    result = AttributionResult.from_json(done.stdout)
    np.testing.assert_allclose(
        result.scores, ask(context=CONTEXT, method="loo").scores, atol=TOLERANCE
    )
    assert [source.text for source in result.sources] == list(SOURCES)
    assert [document.document_id for document in result.documents] == ["bridge.txt", "horses.txt"]
    assert result.method == "loo"


def test_the_table_comes_with_citations_of_the_parts(run: Run, question: list[object]) -> None:
    done = run(*question, "--spans", "sentences")
    expected = ask(context=CONTEXT, spans="sentences")
    assert done.exit_code == 0
    assert done.stdout.endswith(f"\n\n{expected.cite()}\n")
    assert "rank            nats  source  document    text" in done.stdout
    assert "\x1b" not in done.stdout


def test_quotes_are_attributed(run: Run, question: list[object]) -> None:
    done = run(*question, "--json", "--spans", "The map", "--spans", "Alpha")
    expected = ask(context=CONTEXT, spans=["The map", "Alpha"])
    found = AttributionResult.from_json(done.stdout).spans
    assert [span.text for span in found] == ["The map", "Alpha"]
    np.testing.assert_allclose(
        [span.scores for span in found], [span.scores for span in expected.spans], atol=TOLERANCE
    )


def test_the_page_is_written_beside_the_output(run: Run, question: list[object]) -> None:
    done = run(*question, "--html", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"response: {RESPONSE}\n")
    assert page.startswith("<!DOCTYPE html>")
    assert "Delta sold seven horses." in page


def test_the_model_answers_what_is_not_answered(run: Run, model_dir: Path) -> None:
    done = run(
        *("attribute", "--model", model_dir, "--query", QUERY, "--context", "-", "--json"),
        *("--max-new-tokens", 5, "--level", "paragraph"),
        input=BRIDGE,
    )
    expected = ask(context=[BRIDGE], response=None, max_new_tokens=5, level="paragraph")
    result = AttributionResult.from_json(done.stdout)
    assert result.response == expected.response
    assert result.documents[0].document_id == "stdin"
    np.testing.assert_allclose(result.scores, expected.scores, atol=TOLERANCE)


def test_prompts_of_ones_own_come_from_files(run: Run, question: list[object]) -> None:
    template = "{context}\nNow: {query}"
    Path("template.txt").write_text(template + "\n", encoding="utf-8")
    messages = [{"role": "system", "content": "{context}"}, {"role": "user", "content": "{query}"}]
    Path("messages.json").write_text(json.dumps(messages), encoding="utf-8")
    for option, value, prompt in (
        ("--template", "@template.txt", {"template": template}),
        ("--messages", "messages.json", {"messages": messages}),
    ):
        done = run(*question, "--json", "--method", "loo", option, value)
        expected = ask(context=CONTEXT, method="loo", **prompt).scores
        found = AttributionResult.from_json(done.stdout).scores
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--query q", "expected --context FILE..., or --input FILE"),
        ("--context a.txt", "expected --query TEXT, or a prompt of your own in --template"),
        ("--context a.txt --query q --output x", "--output goes with --input"),
        ("--input a.txt --query q --json", "leave out --query, --json"),
        ("--context a.txt --query q --method lou", "'lou' is not one of 'auto', 'loo'"),
        ("--context absent.txt --query q", "'absent.txt' does not exist"),
        ("--context a.txt --query @absent.txt", "cannot read absent.txt: No such file"),
        ("--context a.txt --query q --messages a.txt", "a.txt: Expecting value"),
        ("--context a.txt --query q --html no/p.html", "there is no folder"),
        ("--context a.txt --query q --max-cost 0", "0.0 is not in the range x>0"),
        ("--context a.txt --query q --method proxy", "method='proxy' asks a proxy model"),
        ("--context a.txt --query q --spans sentences --spans Alpha", "got both"),
        ("--context a.txt --query q --model ./absent", "cannot load the model './absent'"),
        ("--context a.txt --query q stray", "unexpected extra argument (stray)"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run: Run, arguments: str, message: str) -> None:
    Path("a.txt").write_text("Alpha.", encoding="utf-8")
    done = run("attribute", *arguments.split())
    error = " ".join(done.stderr.split("Error: ")[-1].split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in error
    assert done.stderr.endswith("\n")
    assert "Traceback" not in done.stderr
