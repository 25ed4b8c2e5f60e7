"""Results as a page to explore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from attribot.context.partition import NupunktSplitter
from attribot.errors import InvalidInputError
from attribot.explain.parts import sentences_of
from attribot.explain.result import AttributionResult
from attribot.report.page import page_of
from attribot.report.page_data import data_of_results


def save_html(results: AttributionResult | Iterable[AttributionResult], path: str | Path) -> None:
    """Writes a page to explore a result, or several of one response side by side: one file, which
    works offline.

    Parts of the response to choose from are those that were asked for, else its sentences.

    results: one, or one per method, of the same response to the same query and context.

    Raises:
        InvalidInputError: there is no result, they are not about the same, or there is no folder
            for the file.
    """
    shown = [results] if isinstance(results, AttributionResult) else list(results)
    _check(shown)
    file = Path(path)
    if not file.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {file.absolute().parent}: create it first")
    if file.is_dir():
        raise InvalidInputError(f"expected a file to write the page to; {file} is a folder")
    sentences = sentences_of(shown[0].response, NupunktSplitter())
    page = page_of(data_of_results([result.to_dict() for result in shown], sentences))
    file.write_text(page, encoding="utf-8")


def _check(results: Sequence[AttributionResult]) -> None:
    """Raises InvalidInputError where the results do not belong on one page."""
    if not results:
        raise InvalidInputError("expected at least one result to show; got none")
    for result in results:
        if not isinstance(result, AttributionResult):
            raise InvalidInputError(
                f"expected results of attribot.attribute; got {type(result).__name__}"
            )
    first = results[0]
    for other in results[1:]:
        for what, is_same in (
            ("query", first.query == other.query),
            ("context", _texts(first) == _texts(other)),
        ):
            if not is_same:
                raise InvalidInputError(
                    f"expected results about the same {what}; {first.method} and {other.method} "
                    f"differ: save a page of each"
                )


def _texts(result: AttributionResult) -> list[str]:
    return [document.text for document in result.documents]
