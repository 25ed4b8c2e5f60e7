"""The bundled examples: twenty short open-book questions written for this project."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from attribot.context.partition import paragraph_from_sentences
from attribot.data.loading import DatasetLoader, Dropped
from attribot.types import Document, Example, GoldSpan, Separators


@dataclass(frozen=True, kw_only=True)
class BundledDataset(DatasetLoader):
    """Original texts of 180 to 205 words from many domains, with gold sources.

    Each context is one document, whose metadata hold `domain` and `tags`: "one_hop" or "two_hop"
    (sentences needed), "duplicated_fact" (a gold fact stands twice), "braces", "german".
    """

    def candidates(self) -> Iterator[Example | Dropped]:
        """See `DatasetLoader.candidates`."""
        content = files("attribot.data").joinpath("examples.jsonl").read_text(encoding="utf-8")
        for line in content.splitlines():
            yield _example(json.loads(line))


def _example(row: Mapping[str, Any]) -> Example:
    separators = Separators(sentence=" ", paragraph="\n\n")
    paragraphs, spans = [], []
    for index, sentences in enumerate(row["paragraphs"]):
        paragraph = paragraph_from_sentences(sentences, separators.sentence)
        ends = paragraph.sentence_ends or ()
        starts = (0, *ends)
        spans += [GoldSpan(0, index, start, end) for start, end in zip(starts, ends, strict=False)]
        paragraphs.append(paragraph)
    metadata = {"domain": row["domain"], "tags": tuple(row["tags"])}
    return Example(
        example_id=row["id"],
        dataset="examples",
        split="bundled",
        query=row["query"],
        documents=(Document(tuple(paragraphs), document_id=row["id"], metadata=metadata),),
        answer=row["answer"],
        gold=tuple(spans[source] for source in row["gold"]),
        separators=separators,
    )
