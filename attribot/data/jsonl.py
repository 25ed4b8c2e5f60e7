"""A user's own questions: one JSON object per line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from attribot.data.loading import DatasetLoader, Dropped, check_limit, require, window
from attribot.data.passages import Passage, check_not_blank, context_entries, paragraphs_of
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, GoldSpan, Paragraph, Separators

COLUMNS = ("query", "context", "id", "answer", "gold")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JsonlDataset(DatasetLoader):
    """Reads `path`, UTF-8, one question per line; blank lines are passed over.

    columns: name of the file's column for each of `COLUMNS`; those left out or null have the same
        name there. `query`, `context` and every column named here must be in each line.

        context: a text, or a list whose entries are texts or objects with `text` and optionally
            `id` and `title`; an entry is a document, all other fields are kept as its metadata.
        gold: a list whose entries are texts that occur exactly once in the context, or objects
            `{document, start, end}`: chars `[start, end)` of the text of that entry.
    document_separator: rendered after each entry of a context given as a list. A context given
        as one text is rendered exactly as it is.
    max_documents: cuts a context given as a list down, keeping the gold documents
        (`loading.window`).
    on_bad_line: "raise" stops at a malformed line; "skip" logs its number, counts and drops it.

    A document is cut into paragraphs at blank lines. The blank lines belong to the paragraph after
    them as its header, so that they stay when a sentence is removed.
    """

    path: str
    columns: Mapping[str, str | None] = field(default_factory=dict)
    dataset: str = "jsonl"
    split: str = ""
    document_separator: str = "\n\n"
    max_documents: int | None = None
    on_bad_line: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit("max_documents", self.max_documents)
        if self.on_bad_line not in ("raise", "skip"):
            raise InvalidInputError(
                f"on_bad_line must be 'raise' or 'skip'; got {self.on_bad_line!r}"
            )
        unknown = sorted(set(self.columns) - set(COLUMNS))
        if unknown:
            raise InvalidInputError(f"unknown columns {unknown}; known: {list(COLUMNS)}")

    def candidates(self) -> Iterator[Example | Dropped]:
        """See `DatasetLoader.candidates`."""
        line_of_id: dict[str, int] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                text = _text(line, number)
                if not text:
                    continue
                example = self._example(text, number)
                earlier = line_of_id.setdefault(example.example_id, number)
                if earlier != number:
                    raise InvalidInputError(
                        f"id {example.example_id!r} is already that of line {earlier}"
                    )
            except InvalidInputError as error:
                message = f"{self.path}, line {number}: {error}"
                if self.on_bad_line == "raise":
                    raise InvalidInputError(
                        f"{message} (on_bad_line=skip drops such lines)"
                    ) from error
                logger.warning("skipped: %s", message)
                yield Dropped("malformed line")
            else:
                yield example

    def _lines(self) -> list[bytes]:
        try:
            return Path(self.path).read_bytes().split(b"\n")
        except OSError as error:
            raise InvalidInputError(
                f"cannot read {self.path} ({error.strerror}): dataset.path must be a JSONL file"
            ) from error

    def _example(self, line: str, number: int) -> Example:
        row = self._row(line)
        query, context = row["query"], row["context"]
        if not isinstance(query, str) or not query.strip():
            raise InvalidInputError(f"the query must be a text that is not blank; got {query!r}")
        passages = [Passage.of(entry, i) for i, entry in enumerate(context_entries(context))]
        check_not_blank(passages)
        spans = _gold(row.get("gold"), [passage.text for passage in passages])
        kept = window(len(passages), {document for document, _, _ in spans}, self.max_documents)
        cut = [paragraphs_of(passages[index].text) for index in kept]
        example_id, answer = row.get("id"), row.get("answer")
        return Example(
            example_id=f"line-{number}" if example_id is None else str(example_id),
            dataset=self.dataset,
            split=self.split,
            query=query,
            documents=tuple(
                Document(
                    tuple(paragraph for _, paragraph in paragraphs),
                    document_id=passages[index].document_id,
                    metadata=passages[index].metadata,
                )
                for index, paragraphs in zip(kept, cut, strict=True)
            ),
            answer=None if answer is None else str(answer),
            gold=tuple(
                part
                for document, start, end in spans
                for part in _paragraph_spans(cut, kept.index(document), start, end)
            ),
            separators=Separators(
                sentence="",
                paragraph="",
                document="" if isinstance(context, str) else self.document_separator,
            ),
        )

    def _row(self, line: str) -> dict[str, Any]:
        """The line's values under our own column names."""
        record = _parsed(line)
        named = {column: name for column, name in self.columns.items() if name is not None}
        names = {column: named.get(column, column) for column in COLUMNS}
        required = {"query", "context", *named}
        require(record, [names[column] for column in COLUMNS if column in required], "question")
        return {column: record[name] for column, name in names.items() if name in record}


def _text(line: bytes, number: int) -> str:
    """Of a line; "" where it is blank."""
    try:
        # A byte order mark may stand before the first line.
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"not UTF-8: {error}") from error


def _parsed(text: str) -> Any:
    """The JSON value of a line."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        # JSON takes half of a surrogate pair, and 1e999 for infinity; tokenizers and records do
        # not.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"not valid JSON: {error}") from error
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _gold(entries: Any, texts: list[str]) -> list[tuple[int, int, int]]:
    """(document, start, end) of each entry of the gold column; null has none."""
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InvalidInputError(f"gold must be a list; got {type(entries).__name__}")
    return [
        _find(entry, texts) if isinstance(entry, str) else _checked_span(entry, texts)
        for entry in entries
    ]


def _find(wanted: str, texts: list[str]) -> tuple[int, int, int]:
    places = [
        (document, match.start(), match.end())
        for document, text in enumerate(texts)
        for match in re.finditer(re.escape(wanted), text)
    ]
    if not wanted.strip() or len(places) != 1:
        raise InvalidInputError(
            f"the gold text {wanted!r} must occur exactly once in the context; it occurs "
            f"{len(places)} times: give {{document, start, end}} instead"
        )
    return places[0]


def _checked_span(entry: Any, texts: list[str]) -> tuple[int, int, int]:
    require(entry, ("document", "start", "end"), "gold entry")
    document, start, end = entry["document"], entry["start"], entry["end"]
    is_inside = (
        all(isinstance(value, int) for value in (document, start, end))
        and 0 <= document < len(texts)
        and 0 <= start < end <= len(texts[document])
    )
    if not is_inside or not texts[document][start:end].strip():
        lengths = [len(text) for text in texts]
        raise InvalidInputError(
            f"the gold entry {entry} must cover text of the context, whose documents have the "
            f"lengths {lengths}"
        )
    return document, start, end


def _paragraph_spans(
    cut: list[list[tuple[int, Paragraph]]], document: int, start: int, end: int
) -> Iterator[GoldSpan]:
    """The parts of a document's span `[start, end)` that lie in its paragraphs."""
    for index, (offset, paragraph) in enumerate(cut[document]):
        first = max(start - offset, 0)
        last = min(end - offset, len(paragraph.text))
        if paragraph.text[first : max(first, last)].strip():
            yield GoldSpan(document, index, first, last)
