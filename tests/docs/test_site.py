"""The site of the documentation is built without a warning and holds every page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES
from tests.test_readme import REPOSITORY

NOTEBOOKS = REPOSITORY / "docs" / "notebooks"
# What a browser fetches at once, from another host.
FETCHED = re.compile(
    r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|'
    r'<link[^>]*rel="?(?:stylesheet|preload|preconnect|icon)[^>]*href="?(?:https?:)?//|'
    r"""url\(["']?(?:https?:)?//"""
)
NEEDS = "the site needs the extra docs: pip install -e '.[docs]'"


def test_every_page_stands_in_the_navigation() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    shown = re.findall(r"^ +- (?:[\w ]+: )?(\S+\.md)$", text, flags=re.M)
    notebooks = [f"notebooks/{path.stem}.md" for path in NOTEBOOKS.glob("*.ipynb")]
    assert sorted(shown) == sorted([*(path.name for path in PAGES), *notebooks])


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("see [loo.yaml](../conf/loo.yaml).", "see `conf/loo.yaml`."),
        ("[`README.md`](../README.md#limits)", "`README.md`"),
        ("[the model](../attribot/a.py)", "the model (`attribot/a.py`)"),
        ("[methods](methods.md#loo)", "[methods](methods.md#loo)"),
        ("[above](#head)", "[above](#head)"),
        ("[site](https://example.org/../a)", "[site](https://example.org/../a)"),
    ],
)
def test_files_outside_are_named(markdown: str, expected: str) -> None:
    from docs.building.links import LINK, named

    assert LINK.sub(lambda link: named(link, Path("page.md").parent), markdown) == expected


def test_docstrings_become_markdown() -> None:
    pytest.importorskip("griffe", reason=NEEDS)
    from docs.building.docstrings import as_markdown

    docstring = (
        "What it is, cited [2][5].\n\n    f(x): a formula [nats]\n\n"
        "one, two: first: 1\n    and more. Source: ours. three: last; four, five: both.\n\n"
        "Raises:\n    OneError: it\n        fails."
    )
    assert as_markdown(docstring) == (
        "What it is, cited [2]\\[5].\n\n    f(x): a formula [nats]\n\n"
        "- `one, two`: first: 1\n    and more. Source: ours.\n- `three`: last;\n"
        "- `four, five`: both.\n\n"
        "Raises:\n\n- `OneError`: it\n    fails."
    )


def test_a_notebook_becomes_markdown_with_its_outputs() -> None:
    pytest.importorskip("nbconvert", reason=NEEDS)
    from docs.building.notebook_pages import as_markdown

    heading, text = as_markdown(NOTEBOOKS / "attribute_an_answer.ipynb").split("\n", 1)
    assert heading == "# Attribute an answer"
    assert "[attribute_an_answer.ipynb](attribute_an_answer.ipynb)" in text.splitlines()[1]
    code = "```python\nresult = attribot.attribute(\n"
    assert text.index(code) < text.index("    It stays at four degrees Celsius. [4] The station")
    assert '<span title="[1] ' in text
    assert "<table>" in text
    assert not re.search("<style|class=", text)


def test_links_to_notebooks_lead_to_their_pages() -> None:
    pytest.importorskip("nbconvert", reason=NEEDS)
    from docs.building.notebook_pages import on_page_markdown

    text = "[one](notebooks/one.ipynb) and [a file](one.ipynb)"
    assert on_page_markdown(text) == "[one](notebooks/one.md) and [a file](one.ipynb)"


@pytest.mark.parametrize(
    "loaded",
    [
        '<script async src="https://cdn.example.org/MathJax.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/css">',
        "<style>@import url(https://example.org/a.css)</style>",
    ],
)
def test_what_comes_from_another_host_is_seen(loaded: str) -> None:
    assert FETCHED.search(loaded)
    assert not FETCHED.search(loaded.replace("https://", "").replace("//", ""))
    assert not FETCHED.search('<a href="https://example.org">there</a>')


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for package in ("material", "mkdocstrings_handlers.python", "nbconvert"):
        pytest.importorskip(package, reason=NEEDS)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("explain.attribute.attribute", "attributors.two_stage.TwoStage"):
        assert f'id="attribot.{name}"' in api
    assert "<li><code>max_cost</code>: of " in api
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        assert (tmp_path / "notebooks" / notebook.name).is_file()
        assert (tmp_path / "notebooks" / notebook.stem / "index.html").is_file()
    assert not (tmp_path / "building").exists()
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert not [page for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))]
