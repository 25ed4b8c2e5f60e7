"""The Python of docs/integrations.md runs, and prints what stands below it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.pages import PAGES
from tests.docs.test_guide import snippets
from tests.test_readme import REPOSITORY, blocks

NAME = "integrations"


def test_every_block_is_found() -> None:
    page = PAGES[REPOSITORY / "docs" / f"{NAME}.md"]
    assert [code for code, _ in snippets(NAME)] == blocks("python", page)
    assert [text for _, text in snippets(NAME) if text] == blocks("text", page)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_snippets_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("langchain_classic", "llama_index.core", "openinference.semconv"):
        pytest.importorskip(package, reason="needs the extras of the page")
    names: dict[str, Any] = {}
    for code, printed in snippets(NAME):
        exec(code, names)
        assert capsys.readouterr().out == printed, code
