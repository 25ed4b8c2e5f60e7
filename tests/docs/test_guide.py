"""The Python of the guide and of the first page runs, and prints what stands below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES
from tests.test_readme import REPOSITORY, blocks

RUN_PAGES = ("index", "guide")


def snippets(name: str) -> list[tuple[str, str]]:
    """(code, what it prints) of every Python block of a page."""
    page = PAGES[REPOSITORY / "docs" / f"{name}.md"]
    block = r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?"
    return re.findall(block, page, flags=re.S | re.M)


@pytest.mark.parametrize("name", RUN_PAGES)
def test_every_block_is_found_and_tells_its_output(name: str) -> None:
    page = PAGES[REPOSITORY / "docs" / f"{name}.md"]
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
        assert capsys.readouterr().out == printed, code
