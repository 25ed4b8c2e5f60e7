"""A small question with two documents, and short ways to ask it."""

from __future__ import annotations

from functools import cache
from typing import Any

import attribot
from attribot.explain.result import AttributionResult
from attribot.models.language_model import LanguageModel
from tests.models.tiny import tiny_language_model

# Distinct primes: 5 sources, 3 of them in the first document, 2 paragraphs there.
BRIDGE = "Alpha built the bridge.  Bravo paid for stone.\n\nCharlie drew a map.\n"
HORSES = {"text": "Delta sold seven horses. Echo wrote letters home.", "id": "horses", "page": 7}
DOCUMENTS: list[Any] = [BRIDGE, HORSES]
SOURCES = (
    "Alpha built the bridge.",
    "Bravo paid for stone.",
    "Charlie drew a map.",
    "Delta sold seven horses.",
    "Echo wrote letters home.",
)
QUERY = "Who built the bridge?"
RESPONSE = "Alpha built it. The map is by Charlie."
NUM_SOURCES = len(SOURCES)


@cache
def tiny() -> LanguageModel:
    """A target for all tests that leave it as it is."""
    return tiny_language_model("llama", seed=1)


def ask(**changes: Any) -> AttributionResult:
    """The question above under the tiny target, with changed arguments."""
    arguments = {
        "model": tiny(),
        "context": DOCUMENTS,
        "query": QUERY,
        "response": RESPONSE,
    } | changes
    return attribot.attribute(**arguments)
