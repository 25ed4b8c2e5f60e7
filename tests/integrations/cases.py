"""A question about three documents, as every framework gets it."""

from __future__ import annotations

from typing import Any

import attribot
from attribot.explain.result import AttributionResult
from tests.explain.cases import tiny

QUERY = "Who built the bridge?"
ANSWER = "Alpha built it. The map is by Charlie."
# Distinct primes: 2, 1 and 2 sources; a blank line inside, white space at the ends.
TEXTS = (
    "Alpha built the bridge.  Bravo paid for stone.\n",
    "Charlie drew\n\n a map",
    "  Delta sold seven horses. Echo wrote letters home.",
)
METADATA: tuple[dict[str, Any], ...] = (
    {"source": "bridge.pdf", "page": 7},
    {"source": "maps.pdf", "page": 11, "tags": ["old", "drawn"]},
    {"source": "horses.pdf"},
)


def attributed(arguments: Any, **more: Any) -> AttributionResult:
    """By the tiny target."""
    return attribot.attribute(tiny(), **arguments, method="loo", **more)


def check_places(result: AttributionResult, texts: Any, metadata: Any) -> None:
    """Every source stands at its place in the text of its document, and has its metadata."""
    assert [document.text for document in result.documents] == list(texts)
    for source in result.sources:
        assert texts[source.document][source.char_start : source.char_end] == source.text
        assert {key: source.metadata[key] for key in metadata[source.document]} == (
            metadata[source.document]
        )
