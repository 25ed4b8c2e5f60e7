"""What attribot says to callers from Python, in the terms of the command line."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial

from attribot.cli.settings import SETTINGS, option_of

PHRASES = (
    (r"\b(?:add|score)_end_token=False", "--no-end-token"),
    (r"\b(trust_remote_code|allow_pickle)=True", r"\1=True of attribot.load_model in Python"),
    (r"\bmax_cost must", "--max-cost must"),
)
# What an option cannot be given.
FIELDS_ONLY = ((r", or give \(start, end\)$", ""),)
# Such as `query=` and `method='proxy'`.
_ARGUMENT = re.compile(rf"\b({'|'.join(('context', 'query', 'response', *SETTINGS))})=(['\"\w]?)")


def in_options(message: object, fields: Collection[str] = ()) -> str:
    """The message in one line, with options in the place of the arguments of `attribute`.

    fields: of a line of `--input`, which are called as they are.
    """
    text = " ".join(str(message).split())
    for pattern, phrase in PHRASES if fields else (*PHRASES, *FIELDS_ONLY):
        text = re.sub(pattern, phrase, text)
    return _ARGUMENT.sub(partial(_named, fields=fields), text)


def _named(match: re.Match[str], fields: Collection[str]) -> str:
    name, value = match.groups()
    called = name if name in fields else option_of(name)
    return f"{called} {value}" if value else called
