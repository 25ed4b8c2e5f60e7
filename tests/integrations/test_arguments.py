"""Documents of other frameworks as entries of a context."""

from __future__ import annotations

from typing import Any

import pytest

from attribot.context.partition import NupunktSplitter
from attribot.data.passages import Passage
from attribot.errors import InvalidInputError
from attribot.explain.given import read_context
from attribot.integrations.arguments import context_entry

TEXT = "Alpha built it."


@pytest.mark.parametrize(
    ("document_id", "metadata", "expected"),
    [
        ("a1", {"page": 7}, Passage(TEXT, "a1", {"id": "a1", "page": 7})),
        ("a1", {"id": 1871}, Passage(TEXT, "1871", {"id": 1871})),
        (None, {"title": "Bridges"}, Passage(TEXT, "Bridges", {"title": "Bridges"})),
        (None, {"source": "a.pdf"}, Passage(TEXT, "0", {"source": "a.pdf"})),
        (None, {"text": TEXT}, Passage(TEXT, "0", {})),
    ],
)
def test_metadata_stand_beside_the_text(
    document_id: str | None, metadata: dict[str, Any], expected: Passage
) -> None:
    entry = context_entry(0, TEXT, document_id, metadata)
    assert read_context([entry], "sentence", NupunktSplitter()).documents == (expected,)


def test_another_text_among_the_metadata_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="metadata of document 3 have a `text` that is not"):
        context_entry(3, TEXT, None, {"text": "Bravo paid for it."})
