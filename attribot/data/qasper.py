"""QASPER: questions on whole papers from natural language processing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from attribot.context.partition import paragraph_from_sentences
from attribot.data.loading import Dropped, OfficialDataset, check_limit, require, window
from attribot.types import Document, Example, GoldSpan, Paragraph, Separators

ANSWER_KEYS = (
    "unanswerable",
    "highlighted_evidence",
    "free_form_answer",
    "extractive_spans",
    "yes_no",
)


@dataclass(frozen=True)
class _Passage:
    """A paragraph string of a paper with the index and name of its section."""

    section: int
    section_name: str
    text: str


@dataclass(frozen=True)
class _Evidence:
    """Chars `[start, end)` of the passage `passage`."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class QasperDataset(OfficialDataset):
    """One example per question on the full text of a paper, without title and abstract.

    A section is a document with the header "{name}\\n" and its paragraph strings are the
    paragraphs. Blank strings are not rendered, nor are sections that have no other.

    Gold is the highlighted evidence of the first annotator whose evidence stands in the full text.
    Evidence in tables and figures ("FLOAT SELECTED: ..."), section headings or the abstract does
    not count; there is no fall-back to whole evidence paragraphs, which would mark every sentence
    of them. Questions without gold, and those all annotators call unanswerable, are dropped.

    max_paper_paragraphs: questions on papers with more paragraph strings, blank ones included,
        are dropped (60 in the AttriBoT paper); None keeps all.
    max_paragraphs: cuts the context down, keeping the gold paragraphs (`loading.window`).
    compat_paragraph_leaves: the paper's partition: one document, sections at the paragraph level
        and whole paragraph strings as "sentences".
    """

    hub_id: str = "allenai/qasper"
    config: str = "qasper"
    split: str = "train"
    max_paper_paragraphs: int | None = 60
    max_paragraphs: int | None = None
    compat_paragraph_leaves: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit("max_paper_paragraphs", self.max_paper_paragraphs)
        check_limit("max_paragraphs", self.max_paragraphs)

    def candidates(self) -> Iterator[Example | Dropped]:
        """See `DatasetLoader.candidates`."""
        papers = self.official_rows()
        require(papers, (), "QASPER file")
        for paper_id, paper in papers.items():
            require(paper, ("title", "full_text", "qas"), f"QASPER paper {paper_id!r}")
            for question in paper["qas"]:
                require(question, ("question", "question_id", "answers"), "QASPER question")
                yield self._example(paper_id, paper, question)

    def from_hub(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """See `OfficialDataset.from_hub`."""
        papers = {}
        for row in rows:
            require(row, ("id", "title", "full_text", "qas"), "QASPER row")
            full_text, qas = row["full_text"], row["qas"]
            sections = zip(full_text["section_name"], full_text["paragraphs"], strict=True)
            questions = zip(qas["question"], qas["question_id"], qas["answers"], strict=True)
            papers[row["id"]] = {
                "title": row["title"],
                "full_text": [
                    {"section_name": name, "paragraphs": paragraphs}
                    for name, paragraphs in sections
                ],
                "qas": [
                    {
                        "question": text,
                        "question_id": question_id,
                        "answers": [{"answer": answer} for answer in annotated["answer"]],
                    }
                    for text, question_id, annotated in questions
                ],
            }
        return papers

    def _example(
        self, paper_id: str, paper: Mapping[str, Any], question: Mapping[str, Any]
    ) -> Example | Dropped:
        limit = self.max_paper_paragraphs
        num_strings = sum(len(section["paragraphs"]) for section in paper["full_text"])
        if limit is not None and num_strings > limit:
            return Dropped(f"paper with more than {limit} paragraphs")
        answers = _answers(question)
        if not answers:
            return Dropped("unanswerable")
        passages = _passages(paper)
        resolved = [(answer, _find_evidence(passages, answer)) for answer in answers]
        resolved = [(answer, evidence) for answer, evidence in resolved if evidence]
        if not resolved:
            return Dropped("no evidence in the full text")
        answer, evidence = resolved[0]
        kept = window(len(passages), {each.passage for each in evidence}, self.max_paragraphs)
        evidence = [_Evidence(kept.index(each.passage), each.start, each.end) for each in evidence]
        passages = [passages[index] for index in kept]
        partition = _section_leaves if self.compat_paragraph_leaves else _section_documents
        documents, gold, separators = partition(passages, evidence, paper_id)
        return Example(
            example_id=question["question_id"],
            dataset="qasper",
            split=self.split,
            query=question["question"],
            documents=documents,
            answer=_answer_text(answer),
            gold=gold,
            separators=separators,
        )


_Partition = tuple[tuple[Document, ...], tuple[GoldSpan, ...], Separators]


def _answers(question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What those annotators wrote who found the question answerable."""
    where = f"answer to QASPER question {question['question_id']!r}"
    given = []
    for each in question["answers"]:
        require(each, ("answer",), where)
        require(each["answer"], ANSWER_KEYS, where)
        given.append(each["answer"])
    return [answer for answer in given if not answer["unanswerable"]]


def _passages(paper: Mapping[str, Any]) -> list[_Passage]:
    return [
        _Passage(index, section["section_name"] or "", text)
        for index, section in enumerate(paper["full_text"])
        for text in section["paragraphs"]
        if text.strip()
    ]


def _find_evidence(passages: list[_Passage], answer: Mapping[str, Any]) -> list[_Evidence]:
    """The first place of each highlighted string that stands in a passage."""
    found = []
    for highlighted in answer["highlighted_evidence"]:
        wanted = highlighted.strip()
        for index, passage in enumerate(passages):
            start = passage.text.find(wanted) if wanted else -1
            if start >= 0:
                found.append(_Evidence(index, start, start + len(wanted)))
                break
    return found


def _by_section(passages: list[_Passage]) -> list[tuple[str, list[int]]]:
    """(name, indices of passages) of each section that has passages."""
    groups = groupby(range(len(passages)), key=lambda index: passages[index].section)
    sections = [list(indices) for _, indices in groups]
    return [(passages[indices[0]].section_name, indices) for indices in sections]


def _header(section_name: str) -> str:
    return f"{section_name}\n" if section_name else ""


def _section_documents(
    passages: list[_Passage], evidence: list[_Evidence], paper_id: str
) -> _Partition:
    """Sections as documents, paragraph strings as paragraphs."""
    documents: list[Document] = []
    place: dict[int, tuple[int, int]] = {}
    for section, (name, indices) in enumerate(_by_section(passages)):
        place.update({index: (section, position) for position, index in enumerate(indices)})
        paragraphs = tuple(Paragraph(passages[index].text) for index in indices)
        documents.append(Document(paragraphs, _header(name), name, {"paper_id": paper_id}))
    gold = tuple(GoldSpan(*place[each.passage], each.start, each.end) for each in evidence)
    return tuple(documents), gold, Separators(sentence=" ", paragraph="\n\n")


def _section_leaves(
    passages: list[_Passage], evidence: list[_Evidence], paper_id: str
) -> _Partition:
    """One document with sections as paragraphs and paragraph strings as sentences."""
    paragraphs: list[Paragraph] = []
    place: dict[int, tuple[int, int]] = {}
    for section, (name, indices) in enumerate(_by_section(passages)):
        leaves = paragraph_from_sentences([f"{passages[index].text}\n" for index in indices], "")
        starts = (0, *(leaves.sentence_ends or ()))
        place.update({index: (section, starts[i]) for i, index in enumerate(indices)})
        paragraphs.append(Paragraph(leaves.text, leaves.sentence_ends, _header(name)))
    gold = []
    for each in evidence:
        section, offset = place[each.passage]
        gold.append(GoldSpan(0, section, offset + each.start, offset + each.end))
    document = Document(tuple(paragraphs), document_id=paper_id)
    return (document,), tuple(gold), Separators(sentence="", paragraph="\n")


def _answer_text(answer: Mapping[str, Any]) -> str | None:
    """The free-form answer, else the extracted spans, else yes or no, else None."""
    if answer["free_form_answer"]:
        return str(answer["free_form_answer"])
    if answer["extractive_spans"]:
        return ", ".join(answer["extractive_spans"])
    return {True: "Yes", False: "No", None: None}[answer["yes_no"]]
