"""The pages of docs/, and the files that they show."""

import re
from pathlib import Path

from tests.test_readme import REPOSITORY

PAGES = {path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")}


def files_of(page: str) -> dict[str, str]:
    """Blocks of code that follow the name of their file, by that name."""
    return dict(re.findall(r"`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", page, flags=re.S | re.M))


def write_files(page: str, folder: Path) -> None:
    for name, text in files_of(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
