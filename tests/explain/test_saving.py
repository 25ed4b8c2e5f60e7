"""Results as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import attribot
from attribot.data.passages import Passage
from attribot.errors import InvalidInputError
from tests.explain.cases import ask


@pytest.fixture(scope="module")
def result() -> attribot.AttributionResult:
    return ask(method="loo")


def page_at(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_page_offers_the_sentences_of_the_response(
    result: attribot.AttributionResult, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    result.save_html(file)
    page = page_at(file)
    assert '"parts":["Alpha built it. ","The map is by Charlie."]' in page
    attribot.save_html(result, file)
    assert page_at(file) == page
    ask(spans=["The map"]).save_html(str(file))
    assert '"parts":["The map"]' in page_at(file)


def test_methods_stand_side_by_side(result: attribot.AttributionResult, tmp_path: Path) -> None:
    """One that cannot attribute parts beside one that did, in either order."""
    with_spans = ask(method="mask", spans="sentences")
    without = ask(method="attention")
    for results in ([with_spans, without], (without, with_spans), iter([result, without])):
        attribot.save_html(results, tmp_path / "page.html")
        page = page_at(tmp_path / "page.html")
        assert '"parts":["Alpha built it. ","The map is by Charlie."]' in page
        assert '"name":"attention"' in page
    assert '"name":"loo"' in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": "Why?"}, "about the same query; loo and loo differ: save a page of each"),
        ({"response": "Bravo."}, "about the same response"),
        ({"documents": (Passage("Other.", "0"),)}, "about the same context"),
    ],
)
def test_results_about_something_else_are_refused(
    result: attribot.AttributionResult, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        attribot.save_html([result, replace(result, **changes)], tmp_path / "page.html")
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_saved_is_refused(
    result: attribot.AttributionResult, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="expected at least one result to show; got none"):
        attribot.save_html([], tmp_path / "page.html")
    with pytest.raises(InvalidInputError, match=r"results of attribot\.attribute; got dict"):
        attribot.save_html([result, result.to_dict()], tmp_path / "page.html")  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match=r"there is no folder .*/absent: create it first"):
        result.save_html(tmp_path / "absent" / "page.html")
    with pytest.raises(InvalidInputError, match=r"expected a file to write the page to; .* folder"):
        result.save_html(tmp_path)
