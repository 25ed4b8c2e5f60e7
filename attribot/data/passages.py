"""Contexts as users have them, a text or a list of texts, cut into documents and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attribot.data.loading import require
from attribot.errors import InvalidInputError
from attribot.types import Paragraph

# White space before the first line break is looked at from its beginning only: from every char of
# it, a long run would take time by the square of its length.
BLANK_LINES = re.compile(r"(?<![^\S\n])[^\S\n]*\n[^\S\n]*\n\s*")


@dataclass(frozen=True)
class Passage:
    """One document of a context, as given.

    document_id: its `id`, else its `title`, else its number, from 0 on.
    metadata: all of its fields but the text; never rendered.
    """

    text: str
    document_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Any, index: int) -> Passage:
        """Entry number `index` of a context: a text, or a mapping with `text`.

        Raises:
            InvalidInputError: it is neither.
        """
        fields = {"text": entry} if isinstance(entry, str) else entry
        require(fields, ("text",), f"context entry {index}")
        if not isinstance(fields["text"], str):
            raise InvalidInputError(f"the text of context entry {index} is {fields['text']!r}")
        names = (fields.get("id"), fields.get("title"), index)
        document_id = str(next(name for name in names if name is not None))
        metadata = {key: value for key, value in fields.items() if key != "text"}
        return cls(fields["text"], document_id, metadata)


def context_entries(context: Any) -> list[Any]:
    """The entries of a context; one text is one entry.

    Raises:
        InvalidInputError: it is neither a text nor a list.
    """
    entries = [context] if isinstance(context, str) else context
    if not isinstance(entries, list):
        raise InvalidInputError(
            f"the context must be a text or a list; got {type(context).__name__}"
        )
    return entries


def check_not_blank(passages: list[Passage]) -> None:
    """Raises InvalidInputError where no passage has text."""
    if not any(passage.text.strip() for passage in passages):
        raise InvalidInputError("the context is blank: it needs at least one sentence")


def paragraphs_of(
    text: str, breaks: Sequence[tuple[int, int]] | None = None
) -> list[tuple[int, Paragraph]]:
    """(offset, paragraph) of the pieces between blank lines; headers and texts join to `text`.

    breaks: chars `[start, end)` of the blank lines that part paragraphs, in order; None takes all.
    """
    if breaks is None:
        breaks = [match.span() for match in BLANK_LINES.finditer(text)]
    starts = [0, *(end for _, end in breaks)]
    ends = [*(start for start, _ in breaks), len(text)]
    pieces = [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
    if not pieces:
        return [(0, Paragraph(text))]
    # Blank lines after the last piece belong to it: no paragraph follows to carry them.
    pieces[-1] = (pieces[-1][0], len(text))
    header_starts = [0, *(end for _, end in pieces)]
    return [
        (start, Paragraph(text[start:end], header=text[header_start:start]))
        for header_start, (start, end) in zip(header_starts, pieces, strict=False)
    ]
