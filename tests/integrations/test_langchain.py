"""What chains of LangChain give, attributed."""

from __future__ import annotations

from typing import Any

import pytest

from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.integrations.langchain import from_langchain
from tests.integrations.cases import ANSWER, METADATA, QUERY, TEXTS, attributed, check_places

pytest.importorskip("langchain_core", reason="needs the extra langchain")

from langchain_core.documents import Document

IDS = ("a1", None, "c3")


def documents(num: int = len(TEXTS)) -> list[Document]:
    return [
        Document(page_content=text, metadata=dict(metadata), id=document_id)
        for text, metadata, document_id in zip(TEXTS, METADATA, IDS, strict=True)
    ][:num]


def outcome(**changes: Any) -> dict[str, Any]:
    return {"input": QUERY, "context": documents(), "answer": ANSWER} | changes


LAYOUTS = {
    "create_retrieval_chain": ("input", "context", "answer"),
    "RetrievalQA": ("query", "source_documents", "result"),
    "state": ("question", "context", "answer"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_mapping_is_taken_apart(layout: tuple[str, str, str]) -> None:
    given = dict(zip(layout, (QUERY, documents(), ANSWER), strict=True)) | {"chat_history": []}
    assert from_langchain(given) == {
        "context": [
            {"id": "a1", **METADATA[0], "text": TEXTS[0]},
            {**METADATA[1], "text": TEXTS[1]},
            {"id": "c3", **METADATA[2], "text": TEXTS[2]},
        ],
        "query": QUERY,
        "response": ANSWER,
    }


def test_a_list_of_documents_leaves_query_and_response_to_the_caller() -> None:
    arguments = from_langchain(documents())
    assert arguments == {"context": from_langchain(outcome())["context"]}
    result = attributed(arguments, query=QUERY, response=ANSWER)
    assert result.scores.tolist() == attributed(from_langchain(outcome())).scores.tolist()


def test_sources_come_back_with_place_and_metadata() -> None:
    result = attributed(from_langchain(outcome()))
    check_places(result, TEXTS, METADATA)
    assert [source.document for source in result.sources] == [0, 0, 1, 1, 2, 2]
    assert [source.document_id for source in result.sources] == ["a1"] * 2 + ["1"] * 2 + ["c3"] * 2
    assert (result.query, result.response) == (QUERY, ANSWER)


def test_messages_are_answers_and_questions() -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    blocks = [{"type": "text", "text": "Alpha built it."}, " The map is by Charlie."]
    for answer in (AIMessage(ANSWER), AIMessage(blocks)):  # type: ignore[arg-type]
        given = outcome(input=HumanMessage(QUERY), answer=answer)
        assert from_langchain(given) == from_langchain(outcome())


def test_an_answer_of_tool_calls_has_nothing_to_attribute() -> None:
    from langchain_core.messages import AIMessage

    call = {"name": "search", "args": {}, "id": "7"}
    arguments = from_langchain(outcome(answer=AIMessage("", tool_calls=[call])))
    with pytest.raises(EmptyResponseError):
        attributed(arguments)


THINKING = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": ANSWER}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"the keys of one of: input, context, answer; query, .*; found \[\]"),
        ({"query": QUERY, "result": ANSWER}, r"found \['query', 'result'\].*return_source_docum"),
        (ANSWER, "anything but the mapping of a retrieval chain must be a list of .*; got str"),
        (None, "must be a list of LangChain documents; got NoneType"),
        ([], "no documents were retrieved"),
        (["Alpha built it."], "document 0 must be a LangChain document.*; got str"),
        ([Document(page_content="a"), {"page_content": "b"}], "document 1 must be .*; got dict"),
        (outcome(context="Alpha built it."), "`context` must be a list of .*; got str"),
        (outcome(context=[]), "no documents were retrieved: there is nothing to attribute to"),
        (outcome(input=None), "`input` must be a text, or a message of text alone; got NoneType"),
        (outcome(answer={"text": ANSWER}), "`answer` must be a text.*; got dict"),
        (outcome(answer=THINKING), "`answer` must be a text.*thinking"),
        (outcome(answer=[{"type": "text"}]), "`answer` must be a text"),
    ],
)
def test_anything_else_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        from_langchain(given)
