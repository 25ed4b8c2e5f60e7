"""What every adapter gives: arguments of `attribot.attribute`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from attribot.errors import InvalidInputError


class ContextArguments(TypedDict):
    """Of documents alone, and of the prompt that they stand in."""

    context: list[dict[str, Any]]
    messages: NotRequired[list[dict[str, str]]]


class Arguments(ContextArguments):
    """Of a question that was answered."""

    query: str
    response: str


def context_entry(
    index: int, text: str, document_id: str | None, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """A document of a context, its metadata beside its text.

    index: of the document. document_id: its `id`, where its metadata have none of their own.

    Raises:
        InvalidInputError: the metadata have another `text`, which would be lost.
    """
    if metadata.get("text", text) != text:
        raise InvalidInputError(
            f"the metadata of document {index} have a `text` that is not the document's, and "
            f"sources can be passed on one only: rename that key"
        )
    named = {} if document_id is None else {"id": document_id}
    return {**named, **metadata, "text": text}
