import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attribot.context.partition import NupunktSplitter, build_tree
from attribot.data.qasper import QasperDataset
from attribot.errors import InvalidInputError
from tests.data.checks import check_examples, gold_texts


def answer(*highlighted: str, **fields: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {
        "free_form_answer": "",
        "extractive_spans": [],
        "yes_no": None,
        "unanswerable": False,
    }
    return {"answer": {**blank, "highlighted_evidence": list(highlighted), **fields}}


def question(name: str, *answers: dict[str, Any]) -> dict[str, Any]:
    return {"question": f"{name}?", "question_id": name, "answers": list(answers)}


UNANSWERABLE = answer(unanswerable=True)
FLOAT = answer("FLOAT SELECTED: Table 1: Fish.", free_form_answer="three")
PAPERS: dict[str, Any] = {
    "1234.5678": {
        "title": "On fish",
        "abstract": "We count fish.",
        "full_text": [
            {"section_name": "Intro", "paragraphs": ["Cod swim. Eels glide.", "", "Rays fly."]},
            {"section_name": "Empty", "paragraphs": [" "]},
            {"section_name": "", "paragraphs": ["Sharks bite. Whales sing. Owls hunt."]},
        ],
        "qas": [
            question("spans", answer("Eels glide.", "Intro", extractive_spans=["Eels", "glide"])),
            question("float", FLOAT),
            question("none", UNANSWERABLE, UNANSWERABLE),
            question("later", UNANSWERABLE, FLOAT, answer("Whales sing. Owls", yes_no=False)),
            question("abstract", answer("We count fish.", yes_no=True)),
            question("yes", answer(" Rays fly. ", yes_no=True)),
            question("untold", answer("Cod swim.")),
        ],
    },
    "8765.4321": {
        "title": "On long fish",
        "abstract": "",
        "full_text": [{"section_name": "All", "paragraphs": ["Eels glide."] * 5 + [""]}],
        "qas": [question("long", answer("Eels glide.", free_form_answer="They glide"))],
    },
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "qasper.json"
    file.write_text(json.dumps(PAPERS))
    return str(file)


def test_examples_and_what_is_dropped(path: str) -> None:
    loaded = QasperDataset(path=path, max_paper_paragraphs=5).load()
    assert [(e.example_id, e.answer, gold_texts(e)) for e in loaded.examples] == [
        ("spans", "Eels, glide", ["Eels glide."]),
        ("later", "No", ["Whales sing.", "Owls hunt."]),
        ("yes", "Yes", ["Rays fly."]),
        ("untold", None, ["Cod swim."]),
    ]
    assert loaded.num_read == 8
    assert loaded.dropped == {
        "no evidence in the full text": 2,
        "unanswerable": 1,
        "paper with more than 5 paragraphs": 1,
    }


def test_sections_are_documents(path: str) -> None:
    example = QasperDataset(path=path).load().examples[0]
    tree = build_tree(example, NupunktSplitter())
    assert tree.text == (
        "Intro\nCod swim. Eels glide. \n\nRays fly. \n\nSharks bite. Whales sing. Owls hunt. \n\n"
    )
    assert tree.document_ids == ("Intro", "")
    assert len(tree.units("paragraph")) == 3
    assert tree.num_sources == 6
    assert example.documents[0].metadata == {"paper_id": "1234.5678"}


def test_compat_paragraphs_are_leaves(path: str) -> None:
    loaded = QasperDataset(path=path, compat_paragraph_leaves=True).load()
    tree = build_tree(loaded.examples[1], NupunktSplitter())
    assert tree.text == (
        "Intro\nCod swim. Eels glide.\nRays fly.\n\nSharks bite. Whales sing. Owls hunt.\n\n"
    )
    assert tree.document_ids == ("1234.5678",)
    paragraphs = tree.units("paragraph")
    assert tree.text[tree.start[paragraphs[0]] : tree.end[paragraphs[0]]] == (
        "Intro\nCod swim. Eels glide.\nRays fly.\n\n"
    )
    assert [gold_texts(example) for example in loaded.examples[:3]] == [
        ["Cod swim. Eels glide."],
        ["Sharks bite. Whales sing. Owls hunt."],
        ["Rays fly."],
    ]


@pytest.mark.parametrize("is_compat", [False, True])
def test_reduced_context_keeps_gold_paragraphs_and_drops_empty_sections(
    path: str, is_compat: bool
) -> None:
    loaded = QasperDataset(path=path, max_paragraphs=1, compat_paragraph_leaves=is_compat).load()
    texts = [build_tree(each, NupunktSplitter()).text.strip() for each in loaded.examples[:3]]
    assert texts == [
        "Intro\nCod swim. Eels glide.",
        "Sharks bite. Whales sing. Owls hunt.",
        "Intro\nRays fly.",
    ]
    check_examples(loaded.examples)


def test_hub_rows_give_the_same_examples(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "id": paper_id,
            "title": paper["title"],
            "full_text": {
                "section_name": [section["section_name"] for section in paper["full_text"]],
                "paragraphs": [section["paragraphs"] for section in paper["full_text"]],
            },
            "qas": {
                "question": [each["question"] for each in paper["qas"]],
                "question_id": [each["question_id"] for each in paper["qas"]],
                "answers": [
                    {"answer": [given["answer"] for given in each["answers"]]}
                    for each in paper["qas"]
                ],
            },
        }
        for paper_id, paper in PAPERS.items()
    ]
    fake = SimpleNamespace(load_dataset=lambda *_, **__: rows)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert QasperDataset().load() == QasperDataset(path=path).load()


def test_answer_without_evidence_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    paper = {**PAPERS["8765.4321"], "qas": [question("q", {"answer": {"unanswerable": False}})]}
    file.write_text(json.dumps({"1": paper}))
    with pytest.raises(
        InvalidInputError, match=r"answer to QASPER question 'q': expected the keys"
    ):
        QasperDataset(path=str(file)).load()


def test_paper_without_full_text(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"1": {"title": "x", "qas": []}}))
    with pytest.raises(InvalidInputError, match=r"QASPER paper '1': .*\['full_text'\]"):
        QasperDataset(path=str(file)).load()


@pytest.mark.parametrize("name", ["max_paper_paragraphs", "max_paragraphs"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be at least 1"):
        QasperDataset(**{name: 0})  # type: ignore[arg-type]


def test_real_sample(shared_dir: Path) -> None:
    path = str(shared_dir / "data" / "qasper" / "qasper-train-v0.3.json")
    loaded = QasperDataset(path=path).load()
    assert (len(loaded.examples), loaded.num_read) == (20, 33)
    assert loaded.dropped == {"paper with more than 60 paragraphs": 9, "unanswerable": 4}
    check_examples(loaded.examples)


@pytest.mark.parametrize("is_compat", [False, True])
def test_real_sample_with_long_papers(shared_dir: Path, is_compat: bool) -> None:
    path = str(shared_dir / "data" / "qasper" / "qasper-train-v0.3.json")
    loaded = QasperDataset(
        path=path, max_paper_paragraphs=None, compat_paragraph_leaves=is_compat
    ).load()
    assert (len(loaded.examples), loaded.num_read) == (27, 33)
    assert loaded.dropped == {"unanswerable": 5, "no evidence in the full text": 1}
    num_sources = check_examples(loaded.examples)
    assert max(num_sources) == 526 if is_compat else max(num_sources) > 526
