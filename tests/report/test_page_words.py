"""What scores and documents are called."""

from __future__ import annotations

from typing import Any

import pytest

from attribot.data.passages import Passage
from attribot.report.page_words import document_names, score_text


@pytest.mark.parametrize(
    ("score", "unit", "text"),
    [
        (3.0, "nats", "+3.000"),
        (-18.1634, "nats", "-18.16"),
        (0.0338461, "logits", "+0.03385"),
        (1234.5, "nats", "+1234"),
        (0.0, "nats", "+0.000"),
        # What has no sign has no plus, and what is small has digits all the same.
        (5.8e-06, "attention mass", "5.800e-06"),
        (3.3e-06, "attention mass", "3.300e-06"),
        (0.75, "cosine", "0.7500"),
        (-0.25, "cosine", "-0.2500"),
        (-0.0, "", "0.000"),
    ],
)
def test_scores_have_four_significant_digits(score: float, unit: str, text: str) -> None:
    assert score_text(score, unit) == text


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (["a text"], [""]),
        (["a text", "another"], ["document 1", "document 2"]),
        ([{"text": "a", "id": 0}], ["0"]),
        ([{"text": "a", "title": "Lake"}, "b", {"text": "c", "id": "c.txt"}], None),
        ([{"text": "a", "id": "1"}, {"text": "b", "id": "0"}], ["1", "0"]),
        ([{"text": "a", "id": "0"}, "b"], ["0", "document 2"]),
        ([{"text": "a", "page": 7}, "b"], ["document 1", "document 2"]),
    ],
)
def test_documents_without_a_name_count_from_one(
    entries: list[Any], names: list[str] | None
) -> None:
    passages = [Passage.of(entry, index) for index, entry in enumerate(entries)]
    found = document_names((each.document_id, each.metadata) for each in passages)
    assert found == (names or ["Lake", "document 2", "c.txt"])
