"""The pages of docs/ keep their word: links lead somewhere, commands compose."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, write_files
from tests.test_readme import (
    RUN,
    check_run,
    commands,
    link_targets,
    make_recipes,
    starting_with,
)

LINKS = sorted({(page, link) for page, text in PAGES.items() for link in link_targets(text)})


def runs():
    """(page, arguments) of every run; composing takes a moment, in haste one of each page does."""
    for page, text in PAGES.items():
        for number, arguments in enumerate(starting_with(RUN, text)):
            marks = [pytest.mark.slow] if number else []
            name = f"{page.stem}: {' '.join(arguments)}"
            yield pytest.param(page, arguments, id=name, marks=marks)


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_pages_were_found():
    assert {"add_a_method", "methods"} <= {page.stem for page in PAGES}
    assert len(list(runs())) >= 4


@pytest.mark.parametrize(("page", "arguments"), list(runs()))
def test_every_run_composes(page, arguments, tmp_path):
    """Options that the page itself shows are there."""
    write_files(PAGES[page], tmp_path)
    (tmp_path / "conf").mkdir(exist_ok=True)
    check_run([*arguments, f"hydra.searchpath=[file://{tmp_path / 'conf'}]"])


@pytest.mark.parametrize("page", list(PAGES), ids=lambda page: page.stem)
def test_every_other_command_names_something_that_exists(page):
    for program, *arguments in commands(PAGES[page]):
        if program == "make":
            assert set(arguments) <= set(make_recipes())
        elif (program, arguments[0]) == ("python", "-m"):
            assert importlib.util.find_spec(arguments[1]), arguments


@pytest.mark.parametrize("page", list(PAGES), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for name, link in LINKS:
        if name == page:
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(Path(target).read_text("utf-8")), link
