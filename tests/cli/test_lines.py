"""JSON lines in and out: what is malformed, what is done already, what is interrupted."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.cli.asking import Asker
from attribot.errors import PromptTooLongError
from attribot.explain.result import AttributionResult
from attribot.models.loading import load_model
from tests.cli.conftest import Run
from tests.context.texts import NUM_EXAMPLES
from tests.data.garbage import Line, content, expected, lines
from tests.explain.cases import BRIDGE, DOCUMENTS, QUERY, RESPONSE, ask

COMMAND = ("attribute", "--input", "rows.jsonl", "--output", "scores.jsonl")
ROW = {"query": QUERY, "context": DOCUMENTS, "response": RESPONSE}
MALFORMED = {
    2: ("{", "not valid JSON: Expecting property name"),
    3: ("[7]", "expected a JSON object; got list"),
    5: ('{"query": "q"}', "expected one of the fields context and documents; got the fields"),
    6: ('{"context": "a", "documents": ["b"]}', "got context and documents"),
    7: ('{"query": 7, "context": "a"}', "the query must be a text; got 7"),
    8: ('{"context": "a", "id": NaN}', "NaN is not a JSON number"),
    9: ('{"context": "\\ud83d"}', "not valid JSON: 'utf-8' codec can't encode"),
    10: ('{"context": "a", "id": 1e999}', "not valid JSON: Out of range float values"),
    11: ("[" * 9000, "its JSON is nested too deeply"),
    12: ('{"context": "a", "response": 7}', "the response must be a text, or None"),
    13: ('{"query": "q", "context": " "}', "the context is blank"),
    14: (
        '{"context": [{"text": "a", "of": ' + "[" * 600 + "]" * 600 + "}]}",
        "its JSON is nested too deeply",
    ),
}


def write_rows(*rows: Any) -> None:
    """Texts as they are, everything else as JSON."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")


def outputs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("scores.jsonl").read_text().splitlines()]


class Asked(list[str]):
    """The queries that were asked."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """In the place of a model: every question has the same result."""
    queries = Asked()

    def answer(_: Asker, context: Any, query: str, response: str | None, *__: Any) -> Any:
        if query == "Ctrl-C":
            raise KeyboardInterrupt
        if query == "long":
            raise PromptTooLongError(9, 7, "tiny")
        queries.append(query)
        return ask(context=context, response=response or RESPONSE)

    monkeypatch.setattr(Asker, "ask", answer)
    return queries


def test_every_line_is_answered_as_the_call_would(run: Run, model_dir: Path) -> None:
    write_rows({**ROW, "id": 7}, "", {"query": QUERY, "documents": [BRIDGE], "response": "No."})
    done = run(*COMMAND, "--model", model_dir, "--method", "loo")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    first, second = outputs()
    assert [(row["line"], row["id"]) for row in (first, second)] == [(1, 7), (3, None)]
    for row, context, response in ((first, DOCUMENTS, RESPONSE), (second, [BRIDGE], "No.")):
        found = AttributionResult.from_dict(row["result"])
        expected = ask(context=context, response=response, method="loo")
        assert found.response == response
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_malformed_lines_are_named_and_the_rest_goes_on(
    run: Run, model_dir: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {1: json.dumps(ROW), 4: json.dumps({**ROW, "query": "long"}), 12: json.dumps(ROW)}
    rows |= {number: text for number, (text, _) in MALFORMED.items() if number < 12}
    write_rows(*(rows.get(number, "") for number in range(1, 13)))
    done = run(*COMMAND, "--model", model_dir)
    said = {number: message for number, (_, message) in MALFORMED.items() if number < 12}
    said |= {4: "prompt and response take 9 tokens, but tiny accepts at most 7"}
    *lines, tally = done.stderr.splitlines()
    assert done.exit_code == 1
    assert tally == "2 lines done, 0 done before, 10 failed"
    assert len(lines) == len(said)
    for line, (number, message) in zip(lines, sorted(said.items()), strict=True):
        assert line.startswith(f"rows.jsonl, line {number}: ")
        assert message in line
    assert [row["line"] for row in outputs()] == [1, 12]
    assert asked == [QUERY, QUERY]
    # Mended in its place, the line is all that is left to do.
    monkeypatch.setitem(rows, 2, json.dumps({**ROW, "query": "mended"}))
    write_rows(rows[1], rows[2], *[""] * 9, rows[12])
    assert run(*COMMAND, "--model", model_dir).exit_code == 0
    assert [row["line"] for row in outputs()] == [1, 12, 2]
    assert asked == [QUERY, QUERY, "mended"]


def test_what_the_call_refuses_is_named_too(run: Run, model_dir: Path) -> None:
    refused = (12, 13, 14)
    write_rows(*(MALFORMED[number][0] for number in refused))
    done = run(*COMMAND, "--model", model_dir, "--template", "{context}", "--max-new-tokens", 3)
    *lines, tally = done.stderr.splitlines()
    assert (done.exit_code, tally) == (1, "0 lines done, 0 done before, 3 failed")
    for number, (line, of) in enumerate(zip(lines, refused, strict=True), 1):
        assert line.startswith(f"rows.jsonl, line {number}: {MALFORMED[of][1]}"[:40])
    assert outputs() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"answer": "A cat"},
            "unknown field 'answer': call it 'response' if that is what it holds",
        ),
        ({"Respones": "A cat"}, "unknown field 'Respones': call it 'response' if"),
        ({"query": None, "question": "q"}, "unknown field 'question': call it 'query' if"),
        ({"context": None, "contexts": ["a"]}, "unknown field 'contexts': call it 'context' if"),
        ({"span": ["a"]}, "unknown field 'span': call it 'spans' if"),
        ({"method": "loo"}, "unknown field 'method': --method sets it, for all lines"),
        ({"max_new_tokens": 3}, "unknown field 'max_new_tokens': --max-new-tokens sets it"),
    ],
)
def test_fields_that_seem_to_be_meant_for_others_are_refused(
    run: Run, asked: Asked, fields: dict[str, Any], message: str
) -> None:
    write_rows({"context": BRIDGE, "query": QUERY, **fields})
    done = run(*COMMAND)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"rows.jsonl, line 1: {message}")
    assert asked == []


def test_other_fields_are_passed_on_and_named_once(run: Run, asked: Asked) -> None:
    own = {"uid": "a1", "answer": "gold", "response_id": 3}
    write_rows({**ROW, **own}, {**ROW, **own, "title": None}, {**ROW, "method": None})
    done = run(*COMMAND)
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "rows.jsonl, line 1: unknown fields, passed on in 'others': answer, response_id, uid",
        "rows.jsonl, line 2: unknown fields, passed on in 'others': title",
        "rows.jsonl, line 3: unknown fields, passed on in 'others': method",
    ]
    assert [row["others"] for row in outputs()] == [
        own,
        {**own, "title": None},
        {"method": None},
    ]
    assert asked == [QUERY] * 3


def test_a_line_may_have_parts_of_its_own(run: Run, model_dir: Path) -> None:
    write_rows(ROW, {**ROW, "spans": ["Alpha", [16, 23]]}, {**ROW, "spans": "Alpha"})
    done = run(*COMMAND, "--model", model_dir, "--method", "loo", "--spans", "sentences")
    assert done.exit_code == 1
    assert done.stderr.startswith("rows.jsonl, line 3: spans must be ")
    found = [[part["text"] for part in row["result"]["spans"]] for row in outputs()]
    assert found == [["Alpha built it. ", "The map is by Charlie."], ["Alpha", "The map"]]


def test_a_method_without_parts_is_refused_before_any_line(run: Run, asked: Asked) -> None:
    write_rows(ROW)
    done = run(*COMMAND, "--method", "attention", "--spans", "sentences")
    assert done.exit_code == 2
    assert "--method 'attention' is read off the model for a whole response" in done.stderr
    assert asked == []
    assert not Path("scores.jsonl").exists()


def test_lines_take_one_method(run: Run, asked: Asked) -> None:
    write_rows(ROW)
    done = run(*COMMAND, "--method", "loo", "--method", "mask")
    assert done.exit_code == 2
    assert "--input takes one --method; got loo, mask" in done.stderr
    assert asked == []


def test_a_response_that_was_cut_is_said(run: Run, model_dir: Path) -> None:
    write_rows(ROW, {"query": QUERY, "context": BRIDGE})
    done = run(*COMMAND, "--model", model_dir, "--max-new-tokens", 3)
    assert done.exit_code == 0
    assert done.stderr == (
        "rows.jsonl, line 2: the response was cut: raise --max-new-tokens to have all of it\n"
    )
    assert [row["result"]["is_response_cut"] for row in outputs()] == [False, True]


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_whatever_stands_between_them_all_questions_are_answered(
    run: Run, monkeypatch: pytest.MonkeyPatch, num_examples: int
) -> None:
    queries: list[str] = []
    answer = ask(method="word_overlap")
    monkeypatch.setattr(Asker, "ask", lambda _, __, query, *___: queries.append(query) or answer)

    @settings(max_examples=num_examples, deadline=None)
    @given(lines, st.booleans())
    def check(drawn: list[Line], is_windows: bool) -> None:
        Path("rows.jsonl").write_bytes(content(drawn, is_windows))
        Path("scores.jsonl").unlink(missing_ok=True)
        queries.clear()
        done = run(*COMMAND)
        answered, reported = expected(drawn)
        said = done.stderr.splitlines()[: len(reported)]
        assert done.exit_code == (1 if reported else 0)
        assert [line.split(":")[0] for line in said] == [f"rows.jsonl, line {n}" for n in reported]
        assert [row["line"] for row in outputs()] == answered
        assert [row["id"] for row in outputs()] == queries
        assert queries == [query for _, query in drawn if query is not None]

    check()


def test_models_are_loaded_once_for_all_lines(
    run: Run, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(name: str, **settings: Any) -> Any:
        loaded.append(name)
        return load_model(name, **settings)

    monkeypatch.setattr("attribot.cli.asking.load_model", load)
    write_rows(*[ROW] * 3)
    done = run(*COMMAND, "--model", model_dir, "--proxy", model_dir, "--method", "word_overlap")
    assert (done.exit_code, len(outputs())) == (0, 3)
    assert loaded == [str(model_dir)] * 2


def test_lines_that_are_no_utf8_are_named(run: Run, asked: Asked) -> None:
    row = json.dumps(ROW).encode()
    Path("rows.jsonl").write_bytes(b"\xef\xbb\xbf" + row + b"\n\xff\n" + row + b"\n")
    done = run(*COMMAND)
    assert done.exit_code == 1
    assert done.stderr.startswith("rows.jsonl, line 2: not UTF-8: ")
    assert asked == [QUERY, QUERY]


def test_a_rerun_does_what_is_not_done(run: Run, asked: Asked) -> None:
    write_rows({**ROW, "query": "a"}, {**ROW, "query": "Ctrl-C"}, {**ROW, "query": "c"})
    stopped = run(*COMMAND)
    assert stopped.exit_code == 130
    assert "interrupted: what --output and --cache hold is kept" in stopped.stderr
    assert [row["line"] for row in outputs()] == [1]
    # A kill in the middle of a line leaves a part of it.
    with Path("scores.jsonl").open("a") as file:
        file.write('{"line": 2, "id": nu')
    write_rows({**ROW, "query": "a"}, {**ROW, "query": "b"}, {**ROW, "query": "c"})
    assert run(*COMMAND).exit_code == 0
    assert [row["line"] for row in outputs()] == [1, 2, 3]
    before = Path("scores.jsonl").read_bytes()
    assert run(*COMMAND, "--max-memory-gb", "3").exit_code == 0
    assert Path("scores.jsonl").read_bytes() == before
    assert asked == ["a", "b", "c"]


@pytest.mark.parametrize("change", ["--method=loo", "row"])
def test_answers_to_something_else_are_not_taken(run: Run, asked: Asked, change: str) -> None:
    write_rows(ROW)
    run(*COMMAND)
    before = Path("scores.jsonl").read_bytes()
    if change == "row":
        write_rows({**ROW, "query": "Who?"})
    done = run(*COMMAND, *([] if change == "row" else [change]))
    assert done.exit_code == 2
    assert "holds an answer to line 1 of rows.jsonl as it was before" in done.stderr
    assert Path("scores.jsonl").read_bytes() == before
    assert asked == [QUERY]


@pytest.mark.parametrize(
    "content",
    [
        *('{"query": "mine"}', '{"query": "mine"}\n', "null\n", "[" * 9000 + "\n"),
        *("Lake Ornvik.\nA road follows its shore.\n", '{"line": 1, "query": "mine"}\n'),
    ],
)
def test_a_file_of_someone_else_stays_as_it_is(run: Run, asked: Asked, content: str) -> None:
    write_rows(ROW)
    Path("scores.jsonl").write_text(content)
    done = run(*COMMAND)
    assert done.exit_code == 2
    assert "scores.jsonl holds something else than the output of attribot" in done.stderr
    assert Path("scores.jsonl").read_text() == content
    assert asked == []


def test_a_damaged_line_of_ours_is_named(run: Run, asked: Asked) -> None:
    write_rows(ROW)
    run(*COMMAND)
    with Path("scores.jsonl").open("a") as file:
        file.write('{"line": 2, "id": \n')
    before = Path("scores.jsonl").read_text()
    done = run(*COMMAND)
    assert done.exit_code == 2
    assert "scores.jsonl, line 2 is damaged" in done.stderr
    assert Path("scores.jsonl").read_text() == before
    assert asked == [QUERY]


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "pipe", "-"])
def test_what_is_no_file_takes_no_lines(run: Run, asked: Asked, name: str) -> None:
    write_rows(ROW)
    os.mkfifo("pipe")
    done = run("attribute", "--input", "rows.jsonl", "--output", name)
    assert (done.exit_code, asked) == (2, [])
    assert f"{name} is no regular file: leave the option out for" in done.stderr


def test_without_an_output_lines_go_on_at_once(run: Run, asked: Asked) -> None:
    done = run("attribute", "--input", "-", input=json.dumps({**ROW, "id": "é"}) + "\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == "é"
    assert asked == [QUERY]


def test_a_full_disk_stops_the_file_in_a_line(
    run: Run, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_rows(ROW, ROW)
    monkeypatch.setattr("attribot.cli.lines.append", full)
    done = run(*COMMAND)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: could not write to scores.jsonl: No space left")
    assert asked == [QUERY]
