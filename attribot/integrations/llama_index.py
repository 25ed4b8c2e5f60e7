"""LlamaIndex: what a query engine gave, as arguments of `attribot.attribute`.

Nothing of LlamaIndex is imported: what looks like its responses and nodes is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from attribot.errors import InvalidInputError
from attribot.integrations.arguments import Arguments, context_entry


@runtime_checkable
class RetrievedNode(Protocol):
    """A `llama_index.core.schema.NodeWithScore`."""

    @property
    def node_id(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    def get_content(self) -> str: ...


@runtime_checkable
class EngineResponse(Protocol):
    """A `Response` of a query engine, or an `AgentChatResponse` of a chat engine."""

    @property
    def response(self) -> str | None: ...
    @property
    def source_nodes(self) -> Sequence[RetrievedNode]: ...


def from_llama_index(given: EngineResponse, query: str) -> Arguments:
    """Arguments of `attribot.attribute` from what a query engine gave.

        attribot.attribute(model, tokenizer, **from_llama_index(engine.query(query), query))

    given: a `Response`; of a stream, what its `get_response()` gives. Sources come back with the
        metadata of their node, and the place of each is one in its text. The id is the `id` of the
        metadata, else the node's.
    query: what the engine was asked; a `Response` does not tell.

    attribot's own prompt asks unless `messages` or `template` are passed beside. The metadata that
    LlamaIndex writes above the text of nodes are not in the prompt, and an engine that asked more
    than once, such as "refine" where the nodes did not fit, is taken as one that asked once.

    Raises:
        InvalidInputError: it is none of these, or has no text or no nodes.
    """
    text = getattr(given, "response", None)
    if not isinstance(text, str) or not isinstance(given, EngineResponse):
        raise InvalidInputError(
            f"expected a Response with a text and source_nodes; got {type(given).__name__}"
            + "; pass what its get_response() gives" * hasattr(given, "get_response")
        )
    if not given.source_nodes:
        raise InvalidInputError("no nodes were retrieved: there is nothing to attribute to")
    context = [_entry(index, node) for index, node in enumerate(given.source_nodes)]
    return Arguments(context=context, query=query, response=text)


def _entry(index: int, node: Any) -> dict[str, Any]:
    if not isinstance(node, RetrievedNode):
        raise InvalidInputError(
            f"node {index} must be a NodeWithScore, with node_id, metadata and get_content; got "
            f"{type(node).__name__}"
        )
    return context_entry(index, node.get_content(), node.node_id, node.metadata)
