"""Links of the pages that lead to files of the repository, which the site does not have."""

import re
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

# `[text](target)`, but no image.
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
OUTSIDE = "../"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page, naming such files instead of linking to them."""
    folder = PurePosixPath(page.file.src_uri).parent
    return LINK.sub(lambda link: named(link, folder), markdown)


def named(link: re.Match[str], folder: PurePosixPath) -> str:
    """The link as it is, or the path of the file inside the repository.

    folder: of the page, inside `docs/`.
    """
    text, target = link.groups()
    path = normpath(str(folder / target.partition("#")[0]))
    if "://" in target or not path.startswith(OUTSIDE):
        return link[0]
    path = path.removeprefix(OUTSIDE)
    is_its_name = text.strip("`") in (path, PurePosixPath(path).name)
    return f"`{path}`" if is_its_name else f"{text} (`{path}`)"
