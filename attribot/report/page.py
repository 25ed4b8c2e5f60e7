"""The page: one HTML file that needs nothing else, not even a network.

Text is never markup: it travels as JSON and the page's script sets it as text. A content security
policy lets the page's own script and style run, known by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from attribot.report.page_data import PageData
from attribot.report.page_words import LIKELIHOOD_UNITS

if TYPE_CHECKING:
    import pandas as pd

    from attribot.manifest import MethodInfo

SCRIPTS = ("page_curve.js", "page_panels.js", "page_response.js", "page.js")
STYLES = ("page.css",)
# What would end the element that holds the JSON, or read as markup in it.
_JSON_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True)
class RunSections:
    """What the page of a run shows beside its examples.

    num_examples: that were measured, shown or not.
    """

    results: pd.DataFrame
    costs: pd.DataFrame
    methods: list[tuple[str, MethodInfo]]
    notes: list[str]
    manifest: str
    num_examples: int


def page_of(data: PageData, sections: RunSections | None = None) -> str:
    """HTML text of the page; with the sections of a run, or of a single response without."""
    script, style = _inlined(SCRIPTS), _inlined(STYLES)
    index = {key: value for key, value in data.items() if key != "examples"}
    index["examples"] = [{"id": one["id"], "query": one["query"]} for one in data["examples"]]
    index["likelihood_units"] = LIKELIHOOD_UNITS
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=data["title"],
            subtitle=data["subtitle"],
            charts=data["charts"],
            run=sections,
            num_shown=len(data["examples"]),
            index=as_json(index),
            examples=[as_json(example) for example in data["examples"]],
            script=script,
            style=style,
            policy=_policy(script, style),
            zip=zip,
        )
    )


def as_json(value: Any) -> Markup:
    """JSON that stays what it is inside a `<script type="application/json">`.

    Everything beyond ASCII is escaped too, so that no line separator and no half of a surrogate
    pair reaches the file.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_JSON_ESCAPES))


@cache
def _inlined(names: tuple[str, ...]) -> Markup:
    """Files beside this one, which the page holds as they are."""
    folder = Path(__file__).parent
    return Markup("\n" + "".join((folder / name).read_text(encoding="utf-8") for name in names))


def _policy(script: str, style: str) -> str:
    """Content security policy: this script, this style, and nothing from anywhere."""

    def source(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
