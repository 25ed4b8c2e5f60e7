import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attribot.context.partition import NupunktSplitter, build_tree
from attribot.data.hotpotqa import HotpotQADataset
from attribot.errors import InvalidInputError
from attribot.types import GoldSpan
from tests.data.checks import check_examples, gold_texts

CONTEXT = [
    ["Cod", ["Cod swim.", " Mr. Cod", " is fat."]],
    ["Eel", ["Eels glide.", "They bite.", ""]],
    ["Ray", ["Rays fly."]],
    ["Cod", ["Another cod."]],
]


def row(
    name: str, facts: list[tuple[str, int]], context: list[Any] | None = None
) -> dict[str, Any]:
    return {
        "_id": name,
        "question": f"{name}?",
        "answer": "yes",
        "supporting_facts": facts,
        "context": CONTEXT if context is None else context,
    }


ROWS: list[dict[str, Any]] = [
    row("good", [("Ray", 0), ("Cod", 1), ("Ray", 0)]),
    row("title", [("Ray", 0), ("Owl", 0)]),
    row("index", [("Eel", 3), ("Cod", 0)]),
    row("negative", [("Eel", -1)]),
    row("empty sentence", [("Eel", 2)]),
    row("none", []),
    row("short", [("Cod", 0)], CONTEXT[:1]),
    row("two", [("Eel", 1)], CONTEXT[:2]),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "hotpot.json"
    file.write_text(json.dumps(ROWS))
    return str(file)


def test_examples_and_what_is_dropped(path: str) -> None:
    loaded = HotpotQADataset(path=path).load()
    good, two = loaded.examples
    assert (good.example_id, two.example_id) == ("good", "two")
    assert loaded.num_read == 8
    assert loaded.dropped == {
        "supporting facts missing from the context": 5,
        "fewer than 2 documents": 1,
    }
    assert [document.document_id for document in good.documents] == ["Cod", "Eel", "Ray", "Cod"]
    assert good.gold == (GoldSpan(2, 0, 0, 9), GoldSpan(0, 0, 9, 17))
    assert gold_texts(good) == ["Mr. Cod", "Rays fly."]
    assert gold_texts(two) == ["They bite."]


def test_sentences_are_those_of_the_data_set_and_titles_are_not_rendered(path: str) -> None:
    good = HotpotQADataset(path=path).load().examples[0]
    tree = build_tree(good, NupunktSplitter())
    assert tree.text == (
        "Cod swim. Mr. Cod is fat.\n\nEels glide.They bite.\n\nRays fly.\n\nAnother cod.\n\n"
    )
    cut = [tree.text[tree.start[n] : tree.end[n]] for n in tree.sources]
    assert cut == [sentence for _, sentences in CONTEXT for sentence in sentences if sentence]


def test_min_documents(path: str) -> None:
    loaded = HotpotQADataset(path=path, min_documents=3).load()
    assert [example.example_id for example in loaded.examples] == ["good"]
    assert loaded.dropped["fewer than 3 documents"] == 2


def test_reduced_context_keeps_gold_documents_in_order(path: str) -> None:
    good = HotpotQADataset(path=path, max_documents=3).load().examples[0]
    assert [document.document_id for document in good.documents] == ["Cod", "Eel", "Ray"]
    fewest = HotpotQADataset(path=path, max_documents=1).load().examples[0]
    assert [document.document_id for document in fewest.documents] == ["Cod", "Ray"]
    assert gold_texts(fewest) == ["Mr. Cod", "Rays fly."]


def test_hub_rows_give_the_same_examples(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "id": each["_id"],
            "question": each["question"],
            "answer": each["answer"],
            "context": {
                "title": [title for title, _ in each["context"]],
                "sentences": [sentences for _, sentences in each["context"]],
            },
            "supporting_facts": {
                "title": [title for title, _ in each["supporting_facts"]],
                "sent_id": [sentence for _, sentence in each["supporting_facts"]],
            },
        }
        for each in ROWS
    ]
    fake = SimpleNamespace(load_dataset=lambda *_, **__: rows)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert HotpotQADataset().load() == HotpotQADataset(path=path).load()


def test_questions_must_be_a_list(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{"data": []}')
    with pytest.raises(InvalidInputError, match="expected a list of questions; got dict"):
        HotpotQADataset(path=str(file)).load()


@pytest.mark.parametrize("name", ["min_documents", "max_documents"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be at least 1"):
        HotpotQADataset(**{name: 0})  # type: ignore[arg-type]


def test_real_sample(shared_dir: Path) -> None:
    path = str(shared_dir / "data" / "hotpotqa" / "hotpot_dev_distractor_v1.json")
    loaded = HotpotQADataset(path=path).load()
    assert (len(loaded.examples), loaded.num_read, loaded.dropped) == (200, 200, {})
    num_sentences = sum(check_examples(loaded.examples))
    num_empty = 3
    assert num_sentences == 8_580 - num_empty
    assert [len(example.documents) for example in loaded.examples].count(2) == 1
    strict = HotpotQADataset(path=path, min_documents=10).load()
    assert (len(strict.examples), strict.dropped) == (199, {"fewer than 10 documents": 1})


def test_real_sample_without_its_gold_paragraphs(shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "data" / "hotpotqa" / "hotpot_dev_distractor_v1.json"
    rows = json.loads(path.read_text(encoding="utf-8"))[:7]
    for each in rows[:5]:
        gold = each["supporting_facts"][0][0]
        each["context"] = [entry for entry in each["context"] if entry[0] != gold]
    copy = tmp_path / "fullwiki.json"
    copy.write_text(json.dumps(rows))
    loaded = HotpotQADataset(path=str(copy)).load()
    assert len(loaded.examples) == 2
    assert loaded.dropped == {"supporting facts missing from the context": 5}
