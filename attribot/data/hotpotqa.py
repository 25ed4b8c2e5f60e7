"""HotpotQA, distractor setting: two-hop questions on ten Wikipedia paragraphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from attribot.data.loading import Dropped, OfficialDataset, check_limit, require, window
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, GoldSpan, Paragraph, Separators


@dataclass(frozen=True, kw_only=True)
class HotpotQADataset(OfficialDataset):
    """Questions with their paragraphs, each a document of one paragraph, title not rendered.

    Sentences are those of the data set; gold are its supporting facts. Protocol of the AttriBoT
    paper. An example of which any supporting fact is missing from the context is dropped: copies
    exist whose contexts are the full-wiki ones, without the gold paragraphs.

    min_documents: examples with fewer are dropped. The default keeps the few examples that have
        less than ten documents, as the paper's "first n in order" does; 10 drops them.
    max_documents: cuts the context down, keeping the gold documents (`loading.window`).
    """

    hub_id: str = "hotpotqa/hotpot_qa"
    config: str = "distractor"
    split: str = "validation"
    min_documents: int = 2
    max_documents: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit("min_documents", self.min_documents)
        check_limit("max_documents", self.max_documents)

    def candidates(self) -> Iterator[Example | Dropped]:
        """See `DatasetLoader.candidates`."""
        rows = self.official_rows()
        if not isinstance(rows, list):
            raise InvalidInputError(
                f"HotpotQA file: expected a list of questions; got {type(rows).__name__}"
            )
        for row in rows:
            require(row, ("_id", "question", "context", "supporting_facts"), "HotpotQA question")
            yield self._example(row)

    def from_hub(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """See `OfficialDataset.from_hub`."""
        official = []
        for row in rows:
            require(row, ("id", "question", "context", "supporting_facts"), "HotpotQA row")
            context, facts = row["context"], row["supporting_facts"]
            official.append(
                {
                    "_id": row["id"],
                    "question": row["question"],
                    "answer": row.get("answer"),
                    "context": list(zip(context["title"], context["sentences"], strict=True)),
                    "supporting_facts": list(zip(facts["title"], facts["sent_id"], strict=True)),
                }
            )
        return official

    def _example(self, row: Mapping[str, Any]) -> Example | Dropped:
        context = row["context"]
        if len(context) < self.min_documents:
            return Dropped(f"fewer than {self.min_documents} documents")
        facts = _resolve(context, row["supporting_facts"])
        if not facts:
            return Dropped("supporting facts missing from the context")
        kept = window(len(context), {document for document, _ in facts}, self.max_documents)
        gold = []
        for document, sentence in facts:
            lengths = [len(each) for each in context[document][1]]
            start = sum(lengths[:sentence])
            gold.append(GoldSpan(kept.index(document), 0, start, start + lengths[sentence]))
        return Example(
            example_id=row["_id"],
            dataset="hotpotqa",
            split=self.split,
            query=row["question"],
            documents=tuple(_document(*context[document]) for document in kept),
            answer=row.get("answer"),
            gold=tuple(gold),
            separators=Separators(sentence="", paragraph="\n\n"),
        )


def _resolve(context: list[Any], supporting_facts: list[Any]) -> list[tuple[int, int]]:
    """(document, sentence) of each supporting fact, doubles removed; [] if any is missing."""
    documents: dict[str, int] = {}
    for index, (title, _) in enumerate(context):
        documents.setdefault(title, index)
    facts = []
    for title, sentence in supporting_facts:
        document = documents.get(title)
        sentences = [] if document is None else context[document][1]
        if (
            document is None
            or not 0 <= sentence < len(sentences)
            or not sentences[sentence].strip()
        ):
            return []
        facts.append((document, sentence))
    return list(dict.fromkeys(facts))


def _document(title: str, sentences: list[str]) -> Document:
    # The data set holds a few empty sentences, which end where the one before them ends.
    ends = tuple(accumulate(len(sentence) for sentence in sentences if sentence))
    return Document((Paragraph("".join(sentences), ends),), document_id=title)
