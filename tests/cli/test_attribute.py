"""`attribot attribute` on one question, against the same call from Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from attribot.attributors.context_cite import ContextCite
from attribot.cli.attribute import attribute
from attribot.cli.main import cli
from attribot.cli.settings import SETTINGS, option_of
from attribot.cli.wording import in_options
from attribot.errors import MissingExtraError
from attribot.explain.result import AttributionResult
from attribot.models import bundled
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
    assert "rank nats source document text" in " ".join(done.stdout.split())
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


def test_methods_stand_side_by_side(run: Run, question: list[object]) -> None:
    asked = [*question, "--method", "loo", "--method", "attention"]
    expected = [ask(context=CONTEXT, method=method) for method in ("loo", "attention")]
    done = run(*asked, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    for plain, result in zip(json.loads(done.stdout), expected, strict=True):
        found = AttributionResult.from_dict(plain)
        assert found.method == result.method
        np.testing.assert_allclose(found.scores, result.scores, atol=TOLERANCE)
    shown = run(*asked, "--html", "page.html").stdout
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("rank ")] == [
        *("nats", "attention"),
    ]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "attention mass" in page
    assert '"loo"' in page


def test_methods_explain_the_same_answer_of_the_model(run: Run, question: list[object]) -> None:
    asked = [word for word in question if word not in ("--response", RESPONSE)]
    done = run(*asked, "--method", "loo", "--method", "attention", "--max-new-tokens", 5, "--json")
    first, second = json.loads(done.stdout)
    assert (
        first["response"]
        == second["response"]
        == ask(response=None, max_new_tokens=5, context=CONTEXT).response
    )
    assert done.stderr == "the response was cut: raise --max-new-tokens to have all of it\n"


def test_a_method_that_fails_costs_no_other(
    run: Run, question: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise MissingExtraError("scikit-learn is not installed: pip install scikit-learn")

    monkeypatch.setattr(ContextCite, "attribute", absent)
    done = run(*question, "--method", "loo", "--method", "contextcite", "--json")
    assert done.exit_code == 2
    assert [result["method"] for result in json.loads(done.stdout)] == ["loo"]
    assert done.stderr == "Error: scikit-learn is not installed: pip install scikit-learn\n"


def test_a_page_that_cannot_be_written_costs_nothing_else(run: Run, question: list[object]) -> None:
    done = run(*question, "--html", "/proc/page.html")
    assert done.exit_code == 2
    assert done.stdout.startswith(f"response: {RESPONSE}\n")
    assert done.stderr == (
        "Error: could not write to /proc/page.html: No such file or directory. The page is "
        "missing; name another file in --html\n"
    )


def test_a_full_standard_output_is_refused_and_the_page_saved(
    question: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Path("/dev/full").open("w"))  # noqa: SIM115
    with pytest.raises(SystemExit) as ended:
        cli([*map(str, question), "--json", "--html", "page.html"], prog_name="attribot")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "Error: could not write to the standard output: No space left on device. Send it "
        "somewhere else\n"
    )
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_cache_that_cannot_be_written_is_refused(
    run: Run, question: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(bundled, "bundled_gguf_file", lambda: tmp_path / "model.gguf")
    monkeypatch.setenv("ATTRIBOT_CACHE", "/proc/absent")
    with_bundled = [word for word in question if not str(word).endswith(("--model", "tiny"))]
    for command in (with_bundled, ["models", "prepare"], ["models", "precision"]):
        done = run(*command)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == (
            "Error: could not write to /proc/absent: No such file or directory. Mend that, or set "
            "ATTRIBOT_CACHE to a folder that you may write to\n"
        )


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
        ("--context a.txt --query q --method lou", "unknown name 'lou': did you mean loo?"),
        ("--context a.txt --query q --method x", "'x' is not one of 'auto', 'loo', 'hierarchical'"),
        ("--context absent.txt --query q", "'absent.txt' does not exist"),
        ("--context a.txt --query @absent.txt", "cannot read absent.txt: No such file"),
        ("--context a.txt --query q --messages a.txt", "a.txt: Expecting value"),
        ("--context a.txt --query q --html no/p.html", "there is no folder"),
        ("--context a.txt --query q --max-cost 0", "0.0 is not in the range x>0"),
        (
            "--context a.txt --query q --method proxy",
            "--method 'proxy' asks a proxy model: pass --proxy",
        ),
        (
            "--context a.txt --query q --method loo --method attention --spans sentences",
            "--method 'attention' is read off the model for a whole response, not for parts of it: "
            "leave --spans out, or take one of auto, loo",
        ),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--query q --response b --max-cost nan", "--max-cost must be positive; got nan"),
        (
            "--template {context}{query}",
            "the query is empty, but the prompt has {query}: pass --query, or a prompt of your own "
            "without {query} as --template or --messages",
        ),
        (
            "--query q --template {context}",
            "the query stands nowhere in the prompt: put {query} where it belongs, or leave "
            "--query out where the prompt asks it already",
        ),
        (
            "--query q --response b,b --spans b",
            "the quote 'b' stands in the response more than once: quote more of it",
        ),
    ],
)
def test_what_the_call_refuses_is_said_in_options(
    run: Run, model_dir: Path, arguments: str, message: str
) -> None:
    Path("a.txt").write_text("Alpha.", encoding="utf-8")
    done = run("attribute", "--model", model_dir, "--context", "a.txt", *arguments.split())
    assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("pass it as response=, the messages", "pass it as --response, the messages"),
        ("method='proxy' asks", "--method 'proxy' asks"),
        ("max_memory_gb=1.50 is not enough", "--max-memory-gb 1.50 is not enough"),
        ("has none: pass add_end_token=False to", "has none: pass --no-end-token to"),
        ("set allow_pickle=True if", "set allow_pickle=True of attribot.load_model in Python if"),
        ("got num_response=3, 7 queries=2", "got num_response=3, 7 queries=2"),
    ],
)
def test_arguments_of_python_are_options(message: str, said: str) -> None:
    assert in_options(message) == said


def test_settings_are_options() -> None:
    names = {name for param in attribute.params for name in param.opts}
    assert {option_of(name) for name in SETTINGS} <= names
