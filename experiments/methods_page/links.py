"""Links from a page to files of the repository."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"


@dataclass(frozen=True)
class Links:
    """Markdown links to files of the repository, from a page in `folder`."""

    folder: Path

    def to(self, path: Path, text: str, anchor: str = "") -> str:
        return f"[{text}]({Path(os.path.relpath(path, self.folder)).as_posix()}{anchor})"

    def to_page(self, name: str, text: str, anchor: str = "") -> str:
        """To a page of the documentation."""
        return self.to(REPOSITORY / "docs" / name, text, anchor)

    def to_class(self, method: type) -> str:
        path = Path(inspect.getfile(method))
        return self.to(path, path.name)

    def to_option(self, group: str, option: str, setting: str) -> str:
        return self.to(CONF / group / f"{option}.yaml", f"`{setting}={option}`")
