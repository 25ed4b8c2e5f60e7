"""The Python of the pages runs, and prints what stands below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import check_same, page_of, snippets_of
from tests.test_readme import blocks

RUN_PAGES = ("index", "guide", "results")


def snippets(name: str) -> list[tuple[str, str]]:
    """(code, what it prints) of every Python block of a page."""
    return [(code, printed) for _, code, printed in snippets_of(page_of(name))]


@pytest.mark.parametrize("name", RUN_PAGES)
def test_every_block_is_found_and_tells_its_output(name: str) -> None:
    page = page_of(name)
    assert [code for code, _ in snippets(name)] == blocks("python", page)
    assert [printed for _, printed in snippets(name)] == blocks("text", page)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
@pytest.mark.parametrize("name", RUN_PAGES)
def test_snippets_print_what_the_page_says(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, printed in snippets(name):
        exec(code, names)
        check_same(capsys.readouterr().out, printed)
