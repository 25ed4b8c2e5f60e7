"""The pages of docs/, the files and snippets that they show, and what these print."""

import re
from pathlib import Path

import numpy as np

from tests.test_readme import REPOSITORY

PAGES = {path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
SECONDS = re.compile(r"\d+\.\d s\b")
# Rounding of the model shows in the second digit of scores at most.
TOLERANCE = 0.02


def page_of(name: str) -> str:
    return PAGES[REPOSITORY / "docs" / f"{name}.md"]


def files_of(page: str) -> dict[str, str]:
    """Blocks of code that follow the name of their file, by that name."""
    return dict(re.findall(r"`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", page, flags=re.S | re.M))


def write_files(page: str, folder: Path) -> None:
    for name, text in files_of(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def snippets_of(page: str, languages: str = "python") -> list[tuple[str, str, str]]:
    """(language, code, what it prints) of every block in one of `languages`, parted by `|`."""
    block = rf"^```({languages})\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?"
    return re.findall(block, page, flags=re.S | re.M)


def check_same(printed: str, said: str) -> None:
    """The same words, and the same numbers up to rounding; seconds may be any."""
    one, other = (SECONDS.sub("# s", text) for text in (printed, said))
    assert NUMBER.sub("#", one).split() == NUMBER.sub("#", other).split()
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (one, other)]
    np.testing.assert_allclose(*numbers, atol=TOLERANCE, rtol=0)
