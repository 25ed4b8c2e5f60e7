"""How scores and documents are named to readers: on the page, in the heat map, in the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Of scores that say what a source does to the response's likelihood: they have a sign, and 0 is
# their middle. Scores of other units are higher or lower.
LIKELIHOOD_UNITS = ("logits", "nats")


def score_text(score: float, unit: str, digits: int = 4) -> str:
    """The score with that many significant digits; with a plus sign only where a sign says more."""
    sign = "+" if unit in LIKELIHOOD_UNITS else "-"
    return f"{score:{sign}z#.{digits}g}".rstrip(".")


def document_names(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Of (document_id, metadata): the id, or "document 2" where it is but the second's number.

    A document without a name that stands alone is "".
    """
    given = list(documents)
    if len(given) == 1 and not _is_named(0, *given[0]):
        return [""]
    return [
        document_id if _is_named(index, document_id, metadata) else f"document {index + 1}"
        for index, (document_id, metadata) in enumerate(given)
    ]


def _is_named(index: int, document_id: str, metadata: Mapping[str, Any]) -> bool:
    """Whether the id was given; else it is the document's number, counted from 0."""
    return document_id != str(index) or any(metadata.get(k) is not None for k in ("id", "title"))
