"""Optional packages, imported only by the code that needs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from attribot.errors import MissingExtraError


def import_extra(module: str, extra: str) -> ModuleType:
    """The module of an optional package, or one of our own that imports some.

    Raises:
        MissingExtraError: a package is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed; it comes with: pip install 'attribot[{extra}]'"
        ) from error
