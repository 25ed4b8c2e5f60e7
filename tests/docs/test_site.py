"""The site of the documentation is built without a warning and holds every page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES
from tests.test_readme import REPOSITORY

NEEDS = "the site needs the extra docs: pip install -e '.[docs]'"


def test_every_page_stands_in_the_navigation() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^  - [\w ]+: (\S+\.md)$", text, flags=re.M)) == sorted(
        path.name for path in PAGES
    )


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
        "one, two: first\n    and more.\nthree: last.\n\nRaises:\n    OneError: it\n        fails."
    )
    assert as_markdown(docstring) == (
        "What it is, cited [2]\\[5].\n\n    f(x): a formula [nats]\n\n"
        "- `one, two`: first\n    and more.\n- `three`: last.\n\n"
        "Raises:\n\n- `OneError`: it\n    fails."
    )


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for package in ("material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason=NEEDS)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("explain.attribute.attribute", "attributors.two_stage.TwoStage"):
        assert f'id="attribot.{name}"' in api
    assert "<li><code>max_cost</code>: of " in api
    assert (tmp_path / "notebooks" / "add_a_method.ipynb").is_file()
    assert not (tmp_path / "building").exists()
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")]
    assert not [page for page in pages if re.search(r'(src|href)="https?://fonts', page)]
