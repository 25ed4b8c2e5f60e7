"""SQuAD 2.0: questions on the paragraphs of Wikipedia articles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from attribot.data.loading import Dropped, OfficialDataset, check_limit, require, window
from attribot.types import Document, Example, GoldSpan, Paragraph, Separators


@dataclass(frozen=True, kw_only=True)
class SquadDataset(OfficialDataset):
    """Answerable questions on an article's first paragraphs, which are the context.

    The article is one document; gold is the sentence (or sentences) of the most frequent answer,
    the first given on ties. Protocol of the AttriBoT paper; its split is unknown, we take dev.

    max_article_paragraphs: the context, and the paragraphs whose questions are asked.
    max_paragraphs: cuts the context down further, keeping the gold paragraph (`loading.window`).
    interleave_articles: take one usable question of every article in turn, not all questions of
        the first article first, so that a small sample covers all articles.

    On the hub a paragraph without questions does not exist, so the first paragraphs are there the
    first ones that have questions.
    """

    hub_id: str = "rajpurkar/squad_v2"
    config: str = "squad_v2"
    split: str = "validation"
    max_article_paragraphs: int = 10
    max_paragraphs: int | None = None
    interleave_articles: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit("max_article_paragraphs", self.max_article_paragraphs)
        check_limit("max_paragraphs", self.max_paragraphs)

    def candidates(self) -> Iterator[Example | Dropped]:
        """See `DatasetLoader.candidates`."""
        content = self.official_rows()
        require(content, ("data",), "SQuAD file")
        articles = [self._questions(article) for article in content["data"]]
        return _take_turns(articles) if self.interleave_articles else chain.from_iterable(articles)

    def from_hub(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """See `OfficialDataset.from_hub`."""
        articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in rows:
            require(row, ("id", "title", "context", "question", "answers"), "SQuAD row")
            texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
            answers = [
                {"text": text, "answer_start": start}
                for text, start in zip(texts, starts, strict=True)
            ]
            question = {"id": row["id"], "question": row["question"], "answers": answers}
            paragraphs = articles.setdefault(row["title"], {})
            paragraphs.setdefault(row["context"], []).append(question)
        return {
            "data": [
                {
                    "title": title,
                    "paragraphs": [{"context": c, "qas": qas} for c, qas in paragraphs.items()],
                }
                for title, paragraphs in articles.items()
            ]
        }

    def _questions(self, article: Mapping[str, Any]) -> Iterator[Example | Dropped]:
        require(article, ("title", "paragraphs"), "SQuAD article")
        for index, paragraph in enumerate(article["paragraphs"]):
            require(paragraph, ("context", "qas"), f"SQuAD article {article['title']!r}")
            for question in paragraph["qas"]:
                require(question, ("id", "question", "answers"), "SQuAD question")
                yield self._example(article, index, question)

    def _example(
        self, article: Mapping[str, Any], index: int, question: Mapping[str, Any]
    ) -> Example | Dropped:
        texts = [paragraph["context"] for paragraph in article["paragraphs"]]
        if question.get("is_impossible", False) or not question["answers"]:
            return Dropped("unanswerable")
        if index >= self.max_article_paragraphs:
            return Dropped(f"paragraph after the first {self.max_article_paragraphs}")
        for each in question["answers"]:
            require(each, ("text", "answer_start"), f"answer to SQuAD question {question['id']!r}")
        counts = Counter((each["text"], each["answer_start"]) for each in question["answers"])
        (answer, start), _ = counts.most_common(1)[0]
        if not answer.strip() or texts[index][start : start + len(answer)] != answer:
            return Dropped("answer not at its offset")
        num_paragraphs = min(len(texts), self.max_article_paragraphs)
        kept = window(num_paragraphs, {index}, self.max_paragraphs)
        paragraphs = tuple(Paragraph(texts[each]) for each in kept)
        return Example(
            example_id=question["id"],
            dataset="squad",
            split=self.split,
            query=question["question"],
            documents=(Document(paragraphs, document_id=article["title"]),),
            answer=answer,
            gold=(GoldSpan(0, kept.index(index), start, start + len(answer)),),
            separators=Separators(sentence=" ", paragraph="\n\n"),
        )


def _take_turns(articles: list[Iterator[Example | Dropped]]) -> Iterator[Example | Dropped]:
    """One example of every article in turn, after the dropped questions before it."""
    while articles:
        unfinished = []
        for questions in articles:
            for candidate in questions:
                yield candidate
                if isinstance(candidate, Example):
                    unfinished.append(questions)
                    break
        articles = unfinished
