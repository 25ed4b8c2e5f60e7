import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attribot.data.squad import SquadDataset
from attribot.errors import InvalidInputError
from attribot.types import GoldSpan
from tests.data.checks import check_examples, gold_texts


def question(name: str, *answers: tuple[str, int]) -> dict[str, Any]:
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": f"{name}?", "answers": given, "is_impossible": not answers}


def article(title: str, *paragraphs: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": c, "qas": q} for c, q in paragraphs]}


TWO_ARTICLES: dict[str, Any] = {
    "data": [
        article(
            "Fish",
            ("Cod swim. Eels glide. ", [question("f0", ("Eels", 10)), question("f1")]),
            ("Rays fly.", []),
            (
                "Sharks bite. Whales sing.",
                [question("f2", ("bite", 7), ("Whales", 13), ("Whales", 13))],
            ),
        ),
        article("Birds", ("Owls hunt.", [question("b0", ("Owls", 0)), question("b1", ("Owl", 1))])),
    ]
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(TWO_ARTICLES))
    return str(file)


def test_examples_of_two_articles(path: str) -> None:
    loaded = SquadDataset(path=path).load()
    assert [example.example_id for example in loaded.examples] == ["f0", "f2", "b0"]
    assert loaded.num_read == 5
    assert loaded.dropped == {"unanswerable": 1, "answer not at its offset": 1}
    first, second, third = loaded.examples
    assert [paragraph.text for paragraph in second.documents[0].paragraphs] == [
        "Cod swim. Eels glide. ",
        "Rays fly.",
        "Sharks bite. Whales sing.",
    ]
    assert first.documents == second.documents
    assert (first.answer, second.answer, third.answer) == ("Eels", "Whales", "Owls")
    assert second.gold == (GoldSpan(0, 2, 13, 19),)
    assert gold_texts(second) == ["Whales sing."]
    assert second.documents[0].document_id == "Fish"


def test_interleaved_articles(path: str) -> None:
    loaded = SquadDataset(path=path, interleave_articles=True).load()
    assert [example.example_id for example in loaded.examples] == ["f0", "b0", "f2"]
    assert loaded.num_read == 5


def test_questions_after_the_first_paragraphs_are_dropped(path: str) -> None:
    loaded = SquadDataset(path=path, max_article_paragraphs=2).load()
    assert [example.example_id for example in loaded.examples] == ["f0", "b0"]
    assert loaded.dropped["paragraph after the first 2"] == 1
    assert len(loaded.examples[0].documents[0].paragraphs) == 2


def test_reduced_context_keeps_the_gold_paragraph(path: str) -> None:
    second = SquadDataset(path=path, max_paragraphs=2).load().examples[1]
    assert [paragraph.text for paragraph in second.documents[0].paragraphs] == [
        "Cod swim. Eels glide. ",
        "Sharks bite. Whales sing.",
    ]
    assert gold_texts(second) == ["Whales sing."]


def test_hub_rows_give_the_same_examples(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    rows = [
        {
            "id": each["id"],
            "title": article["title"],
            "context": paragraph["context"],
            "question": each["question"],
            "answers": {
                "text": [answer["text"] for answer in each["answers"]],
                "answer_start": [answer["answer_start"] for answer in each["answers"]],
            },
        }
        for article in TWO_ARTICLES["data"]
        for paragraph in article["paragraphs"]
        for each in paragraph["qas"]
    ]

    def load_dataset(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        calls.append((args, kwargs))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    from_hub, from_file = SquadDataset().load(), SquadDataset(path=path).load()
    assert calls == [
        (
            ("rajpurkar/squad_v2",),
            {
                "data_files": {"validation": "squad_v2/validation/*.parquet"},
                "split": "validation",
                "revision": "refs/convert/parquet",
            },
        )
    ]
    assert [(e.example_id, e.answer) for e in from_hub.examples] == [
        (e.example_id, e.answer) for e in from_file.examples
    ]
    assert [gold_texts(e) for e in from_hub.examples] == [gold_texts(e) for e in from_file.examples]


def test_question_without_answers_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    bad = {"data": [article("Fish", ("Cod.", [{"id": "f0", "question": "?"}]))]}
    file.write_text(json.dumps(bad))
    with pytest.raises(InvalidInputError, match=r"SQuAD question: expected the keys \['answers'\]"):
        SquadDataset(path=str(file)).load()


@pytest.mark.parametrize("name", ["max_article_paragraphs", "max_paragraphs"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be at least 1"):
        SquadDataset(**{name: 0})  # type: ignore[arg-type]


def test_real_sample(shared_dir: Path) -> None:
    path = str(shared_dir / "data" / "squad" / "dev-v2.0.json")
    loaded = SquadDataset(path=path).load()
    assert len(loaded.examples) == 160
    assert (loaded.num_read, loaded.dropped) == (200, {"unanswerable": 40})
    check_examples(loaded.examples)
    for example in loaded.examples:
        (document,) = example.documents
        (span,) = example.gold
        assert len(document.paragraphs) == 10
        assert document.paragraphs[span.paragraph].text[span.start : span.end] == example.answer


def test_real_sample_interleaved_and_reduced(shared_dir: Path) -> None:
    path = str(shared_dir / "data" / "squad" / "dev-v2.0.json")
    loaded = SquadDataset(
        path=path, interleave_articles=True, max_examples=10, max_paragraphs=3
    ).load()
    assert len({example.documents[0].document_id for example in loaded.examples}) == 10
    assert {len(example.documents[0].paragraphs) for example in loaded.examples} == {3}
    check_examples(loaded.examples)
