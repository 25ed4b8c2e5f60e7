"""Which parts of the context made the language model say this?

    model = attribot.load_model("Qwen/Qwen2.5-0.5B-Instruct")
    result = attribot.attribute(model, context=documents, query=query, response=answer)

Everything here is imported when it is first used, torch among it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attribot.errors import AttribotError as AttribotError
    from attribot.errors import AttributionCancelledError as AttributionCancelledError
    from attribot.errors import EmptyResponseError as EmptyResponseError
    from attribot.errors import InvalidInputError as InvalidInputError
    from attribot.errors import ModelNotFoundError as ModelNotFoundError
    from attribot.errors import PromptTooLongError as PromptTooLongError
    from attribot.explain.attribute import attribute as attribute
    from attribot.explain.result import AttributionResult as AttributionResult
    from attribot.explain.saving import save_html as save_html
    from attribot.models.loading import load_model as load_model
    from attribot.types import Document as Document
    from attribot.types import Paragraph as Paragraph

_MODULES = {
    "AttribotError": "attribot.errors",
    "AttributionCancelledError": "attribot.errors",
    "AttributionResult": "attribot.explain.result",
    "Document": "attribot.types",
    "EmptyResponseError": "attribot.errors",
    "InvalidInputError": "attribot.errors",
    "ModelNotFoundError": "attribot.errors",
    "Paragraph": "attribot.types",
    "PromptTooLongError": "attribot.errors",
    "attribute": "attribot.explain.attribute",
    "load_model": "attribot.models.loading",
    "save_html": "attribot.explain.saving",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
