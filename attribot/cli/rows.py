"""Questions as lines of JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from attribot.cli.settings import SETTINGS, option_of
from attribot.errors import InvalidInputError

CONTEXTS = ("context", "documents")
FIELDS = (*CONTEXTS, "query", "response", "spans", "id")
# What others call a field; close misspellings are found without.
SYNONYMS = {
    "answer": "response",
    "answers": "response",
    "completion": "response",
    "output": "response",
    "question": "query",
    "prompt": "query",
    "instruction": "query",
}
CLOSE = 0.85


@dataclass(frozen=True)
class Row:
    """One question. context, spans: as `explain.attribute.attribute` takes them.

    response: None where the model is to answer. spans: None where the settings say which.
    row_id, others: the field `id`, and all that are not known; passed on to the output as they are.
    """

    context: Any
    query: str
    response: str | None
    spans: Any
    row_id: Any
    others: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Row:
        """The question of a line.

        Raises:
            InvalidInputError: it is no JSON object, or has no context, or two, or a field that
                seems to be meant for another one.
        """
        fields = _read(text)
        given = {name: value for name, value in fields.items() if value is not None}
        others = {name: value for name, value in fields.items() if name not in FIELDS}
        for name in given:
            if name in others:
                _check_meant(name, given)
        contexts = [name for name in CONTEXTS if name in given]
        if len(contexts) != 1:
            raise InvalidInputError(
                f"expected one of the fields context and documents; got "
                f"{' and '.join(contexts) or 'the fields ' + str(sorted(fields))}"
            )
        query = given.get("query", "")
        if not isinstance(query, str):
            raise InvalidInputError(f"the query must be a text; got {query!r}")
        return cls(
            context=given[contexts[0]],
            query=query,
            response=given.get("response"),
            spans=given.get("spans"),
            row_id=given.get("id"),
            others=others,
        )


def _read(text: str) -> dict[str, Any]:
    """The fields of a JSON object that tokenizers and results can take as it is."""
    try:
        fields = json.loads(text, parse_constant=_no_number)
        # JSON takes half of a surrogate pair, and 1e999 for infinity; they do not.
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise InvalidInputError(f"not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidInputError(f"expected a JSON object; got {type(fields).__name__}")
    return fields


def _check_meant(name: str, given: Mapping[str, Any]) -> None:
    """Raises InvalidInputError for an unknown field that would change what is computed, if it were
    what it seems to be: a setting, or a misspelt field that is not given."""
    if name in SETTINGS:
        raise InvalidInputError(
            f"unknown field {name!r}: {option_of(name)} sets it, for all lines; leave it out"
        )
    absent = [field for field in FIELDS if field not in (*given, "id")]
    if any(field in given for field in CONTEXTS):
        absent = [field for field in absent if field not in CONTEXTS]
    spelt = SYNONYMS.get(name.lower(), name.lower())
    if meant := difflib.get_close_matches(spelt, absent, n=1, cutoff=CLOSE):
        raise InvalidInputError(
            f"unknown field {name!r}: call it {meant[0]!r} if that is what it holds, else leave it "
            f"out or give it another name"
        )


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
