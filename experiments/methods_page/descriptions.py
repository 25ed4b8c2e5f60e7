"""What a method says of itself: the parts that its docstring must have, read from there.

    One line that says what it is.

        its formula, indented

    Measures: necessity, in what respect.
    Use: when to choose it.

    Cost: in passes. Source: the paper and its section, or "ours".

Other paragraphs may stand anywhere between.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra.utils import get_object

from attribot.errors import InvalidInputError

# What `Measures:` begins with, in the order of the page.
QUANTITIES: Mapping[str, str] = {
    "necessity": "what the response loses without the source, the others being there",
    "sufficiency": "what the source brings where the others are not",
    "average effect": "what the source brings on average over contexts with some of the others",
    "attention": "how much of the model's attention the source gets",
    "gradient": "how the likelihood reacts to small changes of the source's embeddings",
    "likeness": "what the texts of source and response share; the language model is not asked",
    "nothing": "chance",
}
_LABELS = ("Measures", "Use", "Cost", "Source")
_LABEL = re.compile(rf"(?:^|\s)({'|'.join(_LABELS)}):\s")
_INDENT = " " * 4


@dataclass(frozen=True)
class Description:
    """The parts of a docstring; all but the formula on one line.

    measures: one of `QUANTITIES`, then a comma and in what respect.
    """

    summary: str
    formula: str
    measures: str
    use: str
    cost: str
    source: str

    @property
    def quantity(self) -> str:
        """What is measured, without in what respect."""
        return self.measures.split(",")[0].rstrip(".")


def description_of(method: type) -> Description:
    """What the docstring of a method says.

    Raises:
        InvalidInputError: a part is missing, stands there twice, or measures nothing known.
    """
    paragraphs = inspect.cleandoc(method.__doc__ or "").split("\n\n")
    formulas = [text for text in paragraphs if text.startswith(_INDENT)]
    labelled = [
        part
        for text in paragraphs
        if text not in formulas
        for part in _labelled(" ".join(text.split()))
    ]
    parts = dict(labelled)
    missing = [f"`{label}:`" for label in _LABELS if label not in parts]
    missing += [] if formulas else ["formula (a paragraph indented by four spaces)"]
    if missing or len(parts) < len(labelled):
        wrong = f"lacks: {', '.join(missing)}" if missing else "says something twice"
        raise InvalidInputError(
            f"the docstring of {method.__name__} {wrong}; expected a formula and, once each, "
            f"{', '.join(f'`{label}:`' for label in _LABELS)}, as docs/add_a_method.md shows"
        )
    description = Description(
        summary=" ".join(paragraphs[0].split()),
        formula=inspect.cleandoc("\n" + formulas[0]),
        measures=parts["Measures"],
        use=parts["Use"],
        cost=parts["Cost"],
        source=parts["Source"],
    )
    if description.quantity not in QUANTITIES:
        raise InvalidInputError(
            f"{method.__name__} measures {description.quantity!r}; known, before the first comma: "
            f"{', '.join(QUANTITIES)}"
        )
    return description


def _labelled(text: str) -> list[tuple[str, str]]:
    """(label, what follows it up to the next label) of a paragraph on one line."""
    _, *pieces = _LABEL.split(text)
    return list(zip(pieces[::2], (piece.strip() for piece in pieces[1::2]), strict=True))


def method_class(target: str) -> type:
    """The class that a `_target_` names: itself, or as what the function of that name returns."""
    found: Any = get_object(target)
    if not inspect.isclass(found):
        found = get_type_hints(found)["return"]
    assert inspect.isclass(found)
    return found


def methods_of(group: Path) -> dict[type, list[str]]:
    """The classes of a group of the configuration, each with the options that name it."""
    options: dict[type, list[str]] = {}
    for path in sorted(group.glob("*.yaml")):
        target = yaml.safe_load(path.read_text("utf-8"))["_target_"]
        options.setdefault(method_class(target), []).append(path.stem)
    return options


def head_of(path: Path) -> str:
    """What the comment at the head of an option says, without its commands."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
    prose = takewhile(lambda line: "python -m" not in line, lines)
    return " ".join(" ".join(line.removeprefix("#") for line in prose).split())
