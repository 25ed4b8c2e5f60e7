"""The house style of docstrings as Markdown."""

import re
from typing import Any

import griffe

# "name: what it is", or several names that share what they are.
FIELD = re.compile(r"(\w+(?:, \w+)*): ")
# Between fields that share a line: "one: first. two: second."
NEXT_FIELD = re.compile(r"(?<=[.;]) (?=[a-z]\w*(?:, [a-z]\w*)*: )")
RAISES = "Raises:\n"


class FieldLists(griffe.Extension):
    """Shows every docstring as `as_markdown` gives it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """A docstring, the fields of its paragraphs as lists.

    A paragraph has fields if it begins with one. Indented paragraphs are code and stay.
    """
    return "\n\n".join(map(_paragraph, docstring.split("\n\n")))


def _paragraph(text: str) -> str:
    if text.startswith(" "):
        return text
    # Two citations side by side, "[2][5]", would be a link.
    text = text.replace("][", "]\\[")
    if text.startswith(RAISES):
        return f"Raises:\n\n{_field_list(text.removeprefix(RAISES).splitlines(), indent=4)}"
    if not FIELD.match(text):
        return text
    return _field_list(NEXT_FIELD.sub("\n", text).splitlines())


def _field_list(lines: list[str], indent: int = 0) -> str:
    """A bullet for each line with a field at this indent; other lines continue one."""
    shown = []
    for line in lines:
        field = FIELD.match(line, indent)
        shown.append(f"- `{field[1]}`: {line[field.end() :]}" if field else f"    {line.strip()}")
    return "\n".join(shown)
