"""What query engines of LlamaIndex give, attributed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.integrations.llama_index import from_llama_index
from tests.integrations.cases import ANSWER, METADATA, QUERY, TEXTS, attributed, check_places

IDS = ("a1", "b2", "c3")


def nodes() -> list[Any]:
    from llama_index.core.schema import TextNode

    return [
        TextNode(text=text, metadata=dict(metadata), id_=node_id)
        for text, metadata, node_id in zip(TEXTS, METADATA, IDS, strict=True)
    ]


def engine(answer: str = ANSWER, **settings: Any) -> Any:
    """Over all nodes, by a vector store and a model that always gives the answer."""
    pytest.importorskip("llama_index.core", reason="needs the extra llama-index")
    from llama_index.core import MockEmbedding, VectorStoreIndex
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

    class Answering(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:  # noqa: ARG002
            return CompletionResponse(text=answer)

        def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:  # noqa: ARG002
            yield from (
                CompletionResponse(text=answer[:end], delta=answer[end - 1 : end])
                for end in range(1, len(answer) + 1)
            )

    index = VectorStoreIndex(nodes(), embed_model=MockEmbedding(embed_dim=13))
    return index.as_query_engine(llm=Answering(), similarity_top_k=len(TEXTS), **settings)


@pytest.mark.slow
def test_a_query_engine_is_attributed() -> None:
    given = engine().query(QUERY)
    result = attributed(from_llama_index(given, QUERY))
    found = [node.node for node in given.source_nodes]
    assert len(found) == len(TEXTS)
    check_places(result, [node.text for node in found], [node.metadata for node in found])
    assert [source.document_id for source in result.sources] == [
        found[source.document].node_id for source in result.sources
    ]
    assert (result.query, result.response) == (QUERY, ANSWER)
    assert np.isfinite(result.scores).all()


@pytest.mark.slow
def test_a_stream_is_read_first() -> None:
    streaming = engine(streaming=True).query(QUERY)
    expected = from_llama_index(engine().query(QUERY), QUERY)
    with pytest.raises(InvalidInputError, match=r"got StreamingResponse; .* its get_response\(\)"):
        from_llama_index(streaming, QUERY)
    assert from_llama_index(streaming.get_response(), QUERY) == expected


@pytest.mark.slow
def test_a_chat_engine_is_attributed() -> None:
    given = engine().query(QUERY)
    from llama_index.core.chat_engine.types import AgentChatResponse

    answered = AgentChatResponse(response=ANSWER, source_nodes=given.source_nodes)
    assert from_llama_index(answered, QUERY) == from_llama_index(given, QUERY)


@pytest.mark.slow
def test_what_a_response_may_lack_is_said() -> None:
    pytest.importorskip("llama_index.core", reason="needs the extra llama-index")
    from llama_index.core.base.response.schema import PydanticResponse, Response
    from llama_index.core.schema import NodeWithScore
    from pydantic import BaseModel

    class Built(BaseModel):
        by: str

    found = [NodeWithScore(node=node, score=0.5) for node in nodes()]
    with pytest.raises(InvalidInputError, match="got PydanticResponse; pass what its get_response"):
        from_llama_index(PydanticResponse(Built(by="Alpha"), found), QUERY)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"a Response with a text .*; got Response"):
        from_llama_index(Response(None, found), QUERY)
    with pytest.raises(InvalidInputError, match="no nodes were retrieved"):
        from_llama_index(Response("Empty Response"), QUERY)
    with pytest.raises(InvalidInputError, match=r"node 1 must be a NodeWithScore.*; got str"):
        from_llama_index(Response(ANSWER, [found[0], "Alpha"]), QUERY)  # type: ignore[list-item]
    with pytest.raises(EmptyResponseError):
        attributed(from_llama_index(Response("", found), QUERY))
    with pytest.raises(InvalidInputError, match="the query must be a text; got NoneType"):
        attributed(from_llama_index(Response(ANSWER, found), None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [ANSWER, None, {"response": ANSWER}, [], SimpleNamespace(response=ANSWER)]
)
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected a Response with a text and source_nodes"):
        from_llama_index(given, QUERY)
