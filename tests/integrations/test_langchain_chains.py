"""Prompts and whole chains of LangChain: what attribot asks is what the chain has asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attribot
from attribot.context.partition import NupunktSplitter
from attribot.errors import InvalidInputError
from attribot.explain.given import read_context, read_prompt
from attribot.integrations.langchain import from_langchain
from tests.explain.cases import tiny
from tests.integrations.cases import ANSWER, METADATA, QUERY, TEXTS, attributed, check_places
from tests.integrations.test_langchain import documents, outcome

pytest.importorskip("langchain_classic", reason="chains are those of langchain-classic")

# Importing prompts, models and chains takes seconds.
pytestmark = pytest.mark.slow

NOTES = "Use these notes:\n\n{context}\n\nQuestion: {input}"


def chat(*turns: Any) -> Any:
    from langchain_core.prompts import ChatPromptTemplate

    return ChatPromptTemplate.from_messages(list(turns))


def prompt_of(arguments: Any, num_documents: int | None = None) -> list[tuple[str, str]]:
    """(role, text) of what attribot asks, with the first documents left only."""
    tree = read_context(arguments["context"], "sentence", NupunktSplitter()).tree
    last = tree.units("document")[num_documents or len(TEXTS) :]
    text = tree.render(tree.remove(tree.all_kept(), last))
    template, conversation = read_prompt(arguments["messages"], None, QUERY)
    turn = (conversation.role, template.render(text, QUERY))
    return [*conversation.before, turn, *conversation.after]


def test_a_prompt_becomes_messages() -> None:
    prompt = chat(("system", "Be {{brief}}. " + NOTES), ("ai", "Aye."), ("human", "So, {input}"))
    arguments = from_langchain(outcome(), prompt)
    assert arguments["messages"] == [
        {"role": "system", "content": "Be {brief}. Use these notes:\n\n{context}Question: {query}"},
        {"role": "assistant", "content": "Aye."},
        {"role": "user", "content": "So, {query}"},
    ]
    assert from_langchain(documents(), prompt)["messages"] == arguments["messages"]
    result = attributed(arguments)
    check_places(result, TEXTS, METADATA)
    assert result.scores.tolist() != attributed(from_langchain(outcome())).scores.tolist()


def test_other_variables_are_those_of_the_chain() -> None:
    from langchain_core.messages import AIMessage, ChatMessage, HumanMessage
    from langchain_core.prompts import MessagesPlaceholder

    prompt = chat(
        ("system", "Answer in {language}, as {who}."), MessagesPlaceholder("past"), ("human", NOTES)
    )
    past = [
        HumanMessage("Is there a bridge?"),
        AIMessage("There is."),
        ChatMessage("It is old.", role="guide"),
    ]
    given = outcome(past=past, language="English")
    assert from_langchain(given, prompt.partial(who="a {pirate}"))["messages"][:4] == [
        {"role": "system", "content": "Answer in English, as a {pirate}."},
        {"role": "user", "content": "Is there a bridge?"},
        {"role": "assistant", "content": "There is."},
        {"role": "guide", "content": "It is old."},
    ]
    with pytest.raises(InvalidInputError, match=r"variables \['context', 'input', 'language', 'pa"):
        from_langchain(given, prompt)


def test_a_prompt_of_text_is_one_user_turn() -> None:
    from langchain_core.prompts import PromptTemplate

    prompt = PromptTemplate.from_template("{context}\n\nQuestion: {question}\nHelpful answer:")
    assert from_langchain(outcome(), prompt)["messages"] == [
        {"role": "user", "content": "{context}Question: {query}\nHelpful answer:"}
    ]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("human", "{input}")], r"the prompt has the variables \['input'\]: expected 'context'"),
        ([("human", NOTES + "{tone}")], "others only where the chain's mapping has them"),
        ([("human", NOTES + " {{query}}")], r"has \{context\} or \{query\} as ordinary text"),
        ([("human", NOTES), ("placeholder", "{tools}")], "message 1 of the prompt is of the type"),
        (
            [("human", [{"type": "text", "text": NOTES}, {"type": "image_url", "image_url": "a"}])],
            "message 0 of the prompt must be a text, or a message of text alone",
        ),
    ],
)
def test_a_prompt_that_cannot_be_expressed_is_refused(turns: list[Any], message: str) -> None:
    from langchain_core.messages import ToolMessage

    given = outcome(tools=[ToolMessage("Found.", tool_call_id="7")])
    with pytest.raises(InvalidInputError, match=message):
        from_langchain(given, chat(*turns))


def test_what_is_no_prompt_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"must be a ChatPromptTemplate or .*; got str"):
        from_langchain(outcome(), NOTES)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="the query stands nowhere in the prompt"):
        attributed(from_langchain(outcome(), chat(("human", "Sum up: {context}"))))


class Spy:
    """A chat model that gives the answer, and keeps what it was asked."""

    def __init__(self) -> None:
        from langchain_core.language_models import FakeListChatModel
        from langchain_core.runnables import RunnableLambda

        self.asked: list[Any] = []
        listen = RunnableLambda(lambda value: self.asked.append(value) or value)
        self.model: Any = listen | FakeListChatModel(responses=[ANSWER])

    def messages(self) -> list[tuple[str, str]]:
        roles = {"system": "system", "human": "user", "ai": "assistant"}
        return [(roles[each.type], each.content) for each in self.asked[-1].to_messages()]


def retriever(num: int = len(TEXTS)) -> Any:
    """Of the first documents, by a vector store."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=13))
    store.add_documents(documents(num))
    return store.as_retriever(search_kwargs={"k": num})


@pytest.fixture
def spy() -> Spy:
    return Spy()


def retrieval_chain(spy: Spy, prompt: Any, num: int = len(TEXTS)) -> Any:
    from langchain_classic.chains import create_retrieval_chain
    from langchain_classic.chains.combine_documents import create_stuff_documents_chain

    return create_retrieval_chain(retriever(num), create_stuff_documents_chain(spy.model, prompt))


def test_a_chain_is_attributed_under_its_own_prompt(spy: Spy) -> None:
    prompt = chat(("system", "Be brief."), ("human", NOTES))
    given = retrieval_chain(spy, prompt).invoke({"input": QUERY})
    arguments = from_langchain(given, prompt)
    assert prompt_of(arguments) == spy.messages()
    result = attributed(arguments)
    found = given["context"]
    check_places(result, [d.page_content for d in found], [d.metadata for d in found])
    assert {found[source.document].id for source in result.sources} >= {"a1", "c3"}
    assert np.isfinite(result.scores).all()
    assert result.response == ANSWER


def test_removing_a_document_asks_what_the_chain_would_ask_without_it(spy: Spy) -> None:
    from langchain_classic.chains.combine_documents import create_stuff_documents_chain

    prompt = chat(("human", NOTES))
    stuffed = create_stuff_documents_chain(spy.model, prompt)
    arguments = from_langchain(outcome(), prompt)
    for num in (1, 2, 3):
        stuffed.invoke({"input": QUERY, "context": documents(num)})
        assert prompt_of(arguments, num) == spy.messages()


def test_a_context_at_the_end_of_a_message_has_one_blank_line_more(spy: Spy) -> None:
    prompt = chat(("system", "Use these notes:\n\n{context}"), ("human", "{input}"))
    given = retrieval_chain(spy, prompt).invoke({"input": QUERY})
    system, user = spy.messages()
    expected = [(system[0], system[1] + "\n\n"), user]
    assert prompt_of(from_langchain(given, prompt)) == expected


@pytest.mark.filterwarnings("ignore:.*RetrievalQA:DeprecationWarning")
def test_the_older_chain_is_attributed(spy: Spy) -> None:
    from langchain_classic.chains import RetrievalQA
    from langchain_classic.chains.question_answering import stuff_prompt

    def chain(**more: Any) -> Any:
        return RetrievalQA.from_chain_type(
            spy.model.last, retriever=retriever(), chain_type_kwargs={"prompt": prompt}, **more
        )

    prompt = stuff_prompt.PROMPT
    given = chain(return_source_documents=True).invoke({"query": QUERY})
    result = attributed(from_langchain(given, prompt))
    found = given["source_documents"]
    check_places(result, [d.page_content for d in found], [d.metadata for d in found])
    with pytest.raises(InvalidInputError, match="return_source_documents=True"):
        from_langchain(chain().invoke({"query": QUERY}))


def test_a_written_answer_is_a_response_as_well(spy: Spy) -> None:
    """The chain's message, and the model's own answer to the chain's prompt."""
    prompt = chat(("human", NOTES))
    given = outcome(answer=spy.model.invoke("Who?"))
    assert attributed(from_langchain(given, prompt)).response == ANSWER
    asked = {k: v for k, v in from_langchain(given, prompt).items() if k != "response"}
    written = attribot.attribute(tiny(), **asked, method="loo", max_new_tokens=5)  # type: ignore[arg-type]
    assert written.response != ANSWER
