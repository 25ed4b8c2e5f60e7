"""Notebooks as pages of the site: their text, code and committed outputs as Markdown.

Nothing is run, and pages load nothing: plug-ins that show notebooks as Jupyter does bring scripts
from other hosts, and half a megabyte of styles for each page.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

SUFFIX = ".ipynb"
LINK = re.compile(r"\]\((notebooks/\w+)\.ipynb\)")
# The site's own style is for tables without a class; pandas brings one of its own.
TABLE_STYLE = re.compile(r"<style scoped>.*?</style>\n", flags=re.S)
TABLE = '<table border="1" class="dataframe">'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page beside each notebook, which stays as a file to download."""
    for file in [each for each in files if each.src_uri.endswith(SUFFIX)]:
        assert file.abs_src_path is not None
        uri = file.src_uri.removesuffix(SUFFIX) + ".md"
        files.append(File.generated(config, uri, content=as_markdown(Path(file.abs_src_path))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, with links to notebooks leading to their pages."""
    return LINK.sub(r"](\1.md)", markdown)


def as_markdown(path: Path) -> str:
    """A notebook, with a link to its file under the heading."""
    text, _ = MarkdownExporter().from_filename(str(path))
    heading, _, body = TABLE_STYLE.sub("", text).replace(TABLE, "<table>").partition("\n")
    return f"{heading}\n\n*A notebook: [{path.name}]({path.name}).*\n{body}"
