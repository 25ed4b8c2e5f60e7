import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.context.partition import NupunktSplitter, build_tree, gold_sources
from attribot.data.jsonl import JsonlDataset
from attribot.errors import InvalidInputError
from attribot.types import Example, GoldSpan
from tests.context.texts import NUM_EXAMPLES
from tests.data.checks import gold_texts
from tests.data.garbage import Line, content, expected, lines


def load(tmp_path: Path, *rows: Any, **settings: Any) -> tuple[Example, ...]:
    """Examples of a file with `rows`; a text is a line as it is."""
    path = tmp_path / "mine.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return JsonlDataset(path=str(path), **settings).load().examples


def rendered(example: Example) -> str:
    return build_tree(example, NupunktSplitter()).text


def test_text_context_with_mapped_columns(tmp_path: Path) -> None:
    row = {
        "question": "Who sings?",
        "passage": "\n\nCod swim.  Eels glide.\r\n \r\nWhales sing.\n\n\nOwls hunt. \n\n",
        "nr": 7,
        "label": "whales",
        "evidence": ["Whales sing.", "glide.\r\n \r\nWhales"],
    }
    columns = {
        "query": "question",
        "context": "passage",
        "id": "nr",
        "answer": "label",
        "gold": "evidence",
    }
    (example,) = load(tmp_path, row, columns=columns)
    assert (example.example_id, example.query, example.answer) == ("7", "Who sings?", "whales")
    assert rendered(example) == row["passage"]
    (document,) = example.documents
    assert [(each.header, each.text) for each in document.paragraphs] == [
        ("\n\n", "Cod swim.  Eels glide."),
        ("\r\n \r\n", "Whales sing."),
        ("\n\n\n", "Owls hunt. \n\n"),
    ]
    assert example.gold == (
        GoldSpan(0, 1, 0, 12),
        GoldSpan(0, 0, 16, 22),
        GoldSpan(0, 1, 0, 6),
    )
    assert gold_texts(example) == ["Eels glide.", "Whales sing."]


@settings(deadline=None)
@given(st.text(alphabet="aB. \n\t\r", min_size=1).filter(str.strip))
def test_text_context_is_rendered_exactly(text: str) -> None:
    documents = JsonlDataset(path="unused")._example(json.dumps({"query": "?", "context": text}), 1)
    assert rendered(documents) == text


def test_removing_a_sentence_leaves_the_blank_line(tmp_path: Path) -> None:
    (example,) = load(tmp_path, {"query": "?", "context": "A b. C d.\n\nE f."})
    tree = build_tree(example, NupunktSplitter())
    sources, paragraphs = tree.sources, tree.units("paragraph")
    assert tree.render(tree.remove(tree.all_kept(), [sources[-1]])) == "A b. C d.\n\n"
    assert tree.render(tree.remove(tree.all_kept(), [paragraphs[-1]])) == "A b. C d."


def test_list_of_texts_and_objects(tmp_path: Path) -> None:
    row = {
        "query": "?",
        "context": [
            "Cod swim.",
            {"text": "Eels glide. Rays fly.", "title": "Eels", "url": "x", "rank": 2},
            {"text": "Owls hunt.\n\nWhales sing.", "id": 5, "title": "Mixed"},
        ],
        "gold": ["Cod swim.", {"document": 2, "start": 12, "end": 18}],
    }
    (example,) = load(tmp_path, row)
    assert [document.document_id for document in example.documents] == ["0", "Eels", "5"]
    assert [dict(document.metadata) for document in example.documents] == [
        {},
        {"title": "Eels", "url": "x", "rank": 2},
        {"id": 5, "title": "Mixed"},
    ]
    assert rendered(example) == (
        "Cod swim.\n\nEels glide. Rays fly.\n\nOwls hunt.\n\nWhales sing.\n\n"
    )
    assert gold_texts(example) == ["Cod swim.", "Whales sing."]
    (plain,) = load(tmp_path, row, document_separator="|")
    assert rendered(plain) == "Cod swim.|Eels glide. Rays fly.|Owls hunt.\n\nWhales sing.|"


def test_reduced_context_keeps_gold_documents(tmp_path: Path) -> None:
    row = {"query": "?", "context": ["A.", "B.", "C.", "D."], "gold": ["C."]}
    (example,) = load(tmp_path, row, max_documents=2)
    assert [document.document_id for document in example.documents] == ["0", "2"]
    assert gold_texts(example) == ["C."]


def test_optional_columns(tmp_path: Path) -> None:
    rows = ({"query": "?", "context": "A."}, "", {"query": "?", "context": "A.", "id": "x"})
    first, second = load(tmp_path, *rows, columns={"gold": None})
    assert (first.example_id, first.answer, first.gold) == ("line-1", None, ())
    assert (second.example_id, second.dataset, second.split) == ("x", "jsonl", "")
    tree = build_tree(first, NupunktSplitter())
    assert gold_sources(tree, first) == ()


BAD_LINES = {
    '{"query": "?"': r"line 2: not valid JSON: .*column",
    "3": r"line 2: question: expected an object .*got int",
    '{"query": "?", "context": "\\ud83d"}': r"not valid JSON: 'utf-8' codec can't encode",
    '{"query": "?", "context": "A.", "score": 1e999}': r"not valid JSON: Out of range float",
    '{"query": "?", "context": "A.", "score": NaN}': r"not valid JSON: NaN is not a JSON number",
    "[" * 9000: r"not valid JSON: maximum recursion depth",
    '{"query": "?"}': r"line 2: question: expected the keys \['context'\]; found \['query'\]",
    '{"query": " ", "context": "A."}': r"line 2: the query must be a text.*got ' '",
    '{"query": "?", "context": 3}': r"the context must be a text or a list; got int",
    '{"query": "?", "context": []}': r"the context is blank",
    '{"query": "?", "context": [" ", "\\n"]}': r"the context is blank",
    '{"query": "?", "context": ["A.", 3]}': r"context entry 1: expected an object.*got int",
    '{"query": "?", "context": [{"title": "A"}]}': r"context entry 0: .*\['text'\]",
    '{"query": "?", "context": [{"text": 3}]}': r"the text of context entry 0 is 3",
    '{"query": "?", "context": "A.", "gold": "A."}': r"gold must be a list; got str",
    '{"query": "?", "context": "A. A.", "gold": ["A."]}': r"exactly once .*occurs 2 times",
    '{"query": "?", "context": "A.", "gold": ["B."]}': r"occurs 0 times",
    '{"query": "?", "context": "A. B.", "gold": [" "]}': r"the gold text ' ' must occur",
    '{"query": "?", "context": "A.", "gold": [{"start": 0}]}': r"gold entry: expected the keys",
    '{"query": "?", "context": "A.", "gold": [{"document": 0, "start": 0, "end": 3}]}': (
        r"must cover text of the context, whose documents have the lengths \[2\]"
    ),
    '{"query": "?", "context": "A. B.", "gold": [{"document": 0, "start": 2, "end": 3}]}': (
        r"must cover text"
    ),
    '{"query": "?", "context": "A.", "gold": [{"document": "0", "start": 0, "end": 1}]}': (
        r"must cover text"
    ),
    '{"query": "?", "context": "A.", "id": "good"}': r"id 'good' is already that of line 1",
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.items())
def test_malformed_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, message: str
) -> None:
    good = '{"query": "?", "context": "A.", "id": "good"}'
    with pytest.raises(InvalidInputError, match=message):
        load(tmp_path, good, line)
    assert not caplog.records
    path = str(tmp_path / "mine.jsonl")
    with caplog.at_level(logging.WARNING):
        loaded = JsonlDataset(path=path, on_bad_line="skip").load()
    assert [example.example_id for example in loaded.examples] == ["good"]
    assert (loaded.num_read, loaded.dropped) == (2, {"malformed line": 1})
    assert "mine.jsonl, line 2: " in caplog.text


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_bad_lines_are_named_and_good_ones_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, num_examples: int
) -> None:
    path = tmp_path / "mine.jsonl"
    dataset = JsonlDataset(path=str(path), columns={"id": "query"}, on_bad_line="skip")

    @settings(max_examples=num_examples, deadline=None)
    @given(lines, st.booleans())
    def check(drawn: list[Line], is_windows: bool) -> None:
        path.write_bytes(content(drawn, is_windows))
        caplog.clear()
        examples = [each for each in dataset.candidates() if isinstance(each, Example)]
        asked, reported = expected(drawn)
        first = {drawn[number - 1][1]: number for number in reversed(asked)}
        repeated = sorted(set(asked) - set(first.values()))
        assert [example.query for example in examples] == sorted(first, key=lambda q: first[q])
        named = [
            int(record.getMessage().split("line ")[1].split(":")[0]) for record in caplog.records
        ]
        assert named == sorted([*reported, *repeated])

    with caplog.at_level(logging.WARNING):
        check()


def test_a_carriage_return_is_no_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(
        b'{"query": "?",\r"context": "A."}\r\n\r\n{"query": 7}\r\n'
    )
    with pytest.raises(InvalidInputError, match=r"line 3: question: expected the keys"):
        JsonlDataset(path=str(tmp_path / "mine.jsonl")).load()


def test_a_mapped_column_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"line 1: .*expected the keys \['evidence'\]"):
        load(tmp_path, {"query": "?", "context": "A."}, columns={"gold": "evidence"})


def test_bad_settings() -> None:
    with pytest.raises(InvalidInputError, match="on_bad_line must be 'raise' or 'skip'; got 'x'"):
        JsonlDataset(path="x", on_bad_line="x")  # type: ignore[arg-type]
    with pytest.raises(
        InvalidInputError, match=r"unknown columns \['question'\]; known: \['query'"
    ):
        JsonlDataset(path="x", columns={"question": "query"})
    with pytest.raises(InvalidInputError, match="max_documents must be at least 1"):
        JsonlDataset(path="x", max_documents=0)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.jsonl \(No such file.*a JSONL file"):
        JsonlDataset(path=str(tmp_path / "absent.jsonl")).load()
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"query": "\xe9"}')
    with pytest.raises(InvalidInputError, match=r"latin\.jsonl, line 1: not UTF-8"):
        JsonlDataset(path=str(latin)).load()
