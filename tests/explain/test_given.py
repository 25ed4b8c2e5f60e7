"""Contexts and prompts as callers have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribot.context.partition import NupunktSplitter
from attribot.errors import InvalidInputError
from attribot.explain.given import GivenContext, read_context, read_prompt
from attribot.models.language_model import ONE_USER_TURN, Conversation
from attribot.prompting import PAPER_TEMPLATE, PromptTemplate
from attribot.types import Document, Level, Paragraph
from tests.context.texts import NUM_EXAMPLES, any_text
from tests.explain.cases import BRIDGE, DOCUMENTS, HORSES, SOURCES


def read(context: Any, level: Level = "sentence") -> GivenContext:
    return read_context(context, level, NupunktSplitter())


def texts_in_place(given_context: GivenContext) -> list[str]:
    """What stands at the places of all sources in the documents as given."""
    return [
        given_context.documents[place.document].text[place.char_start : place.char_end]
        for place in given_context.places()
    ]


def test_sources_stand_at_their_places_in_what_was_given() -> None:
    found = read(DOCUMENTS)
    assert texts_in_place(found) == list(SOURCES)
    assert [place.document for place in found.places()] == [0, 0, 0, 1, 1]
    assert [place.paragraph for place in found.places()] == [0, 0, 1, 0, 0]
    assert found.tree.text == BRIDGE + "\n\n" + HORSES["text"] + "\n\n"


def test_one_text_is_rendered_as_it_is() -> None:
    found = read(BRIDGE)
    assert found.tree.text == BRIDGE
    assert [document.document_id for document in found.documents] == ["0"]


def test_metadata_and_ids_are_passed_on() -> None:
    titled = {"text": "Golf kept the keys.", "title": "Keys"}
    documents = read([HORSES, titled, "India sent silk."]).documents
    assert [document.document_id for document in documents] == ["horses", "Keys", "2"]
    assert documents[0].metadata == {"id": "horses", "page": 7}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("paragraph", ["Alpha built the bridge.  Bravo paid for stone.", "Charlie drew a map."]),
        ("document", [BRIDGE.strip()]),
    ],
)
def test_a_level_says_what_a_source_is(level: Level, expected: list[str]) -> None:
    found = read(DOCUMENTS, level)
    assert texts_in_place(found) == [*expected, HORSES["text"]]
    assert found.tree.text == read(DOCUMENTS).tree.text


@pytest.mark.parametrize("level", ["sentence", "paragraph", "document"])
def test_documents_of_the_library_keep_their_cuts(level: Level) -> None:
    cut = Paragraph("One; two.", (5, 9), header="Head: ")
    document = Document((cut, Paragraph("Three.")), "Title\n", "mine", {"year": 1871})
    found = read([document, "Four."], level)
    assert found.documents[0].text == "Title\nHead: One; two.\n\nThree."
    assert (found.documents[0].document_id, found.documents[0].metadata) == ("mine", {"year": 1871})
    assert (
        texts_in_place(found)
        == {
            "sentence": ["One;", "two.", "Three.", "Four."],
            "paragraph": ["Head: One; two.", "Three.", "Four."],
            "document": ["Title\nHead: One; two.\n\nThree.", "Four."],
        }[level]
    )
    assert texts_in_place(read(document, level)) == texts_in_place(found)[:-1]


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_sources_cover_any_text_in_order(num_examples: int) -> None:
    """Each stands at its place, none reaches into the next, white space is between them."""

    @settings(max_examples=num_examples, deadline=None)
    @given(st.lists(any_text, min_size=1, max_size=3), st.sampled_from(get_args(Level)))
    def check(texts: list[str], level: Level) -> None:
        assume(any(text.strip() for text in texts))
        for context in (texts, next(text for text in texts if text.strip())):
            found = read(context, level)
            tree, is_text = found.tree, isinstance(context, str)
            sources = [tree.source_text(source) for source in range(tree.num_sources)]
            assert texts_in_place(found) == sources
            assert all(source == source.strip() != "" for source in sources)
            between = [document.text for document in found.documents]
            assert tree.text == "".join(text if is_text else f"{text}\n\n" for text in between)
            places = found.places()
            assert places == sorted(places, key=lambda place: (place.document, place.char_start))
            # From behind, so that what is cut out moves nothing that is still to come.
            for place in reversed(places):
                rest = between[place.document]
                assert place.char_end <= len(rest)
                between[place.document] = rest[: place.char_start]
                assert not rest[place.char_end :].strip()
            assert not "".join(between).strip()

    check()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("", "the context is blank"),
        ([], "the context is blank"),
        (["", " \n"], "the context is blank"),
        (7, "the context must be a text or a list; got int"),
        ([["a"]], "context entry 0: expected an object"),
        ([{"body": "a"}], r"context entry 0: expected the keys \['text'\]; found \['body'\]"),
        (["a", {"text": None}], "the text of context entry 1 is None"),
        (["a", "b \ud83d"], r"context entry 1 is not valid Unicode: at char 2 stands '\\ud83d'"),
    ],
)
def test_bad_contexts_are_refused(context: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read(context)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown level 'word'; known: document, paragr"):
        read(BRIDGE, "word")  # type: ignore[arg-type]


def test_without_a_prompt_of_ones_own_it_is_ours() -> None:
    assert read_prompt(None, None, "Why?") == (PromptTemplate(PAPER_TEMPLATE), ONE_USER_TURN)


def test_a_template_is_one_user_turn() -> None:
    assert read_prompt(None, "Sum up: {context}", "") == (
        PromptTemplate("Sum up: {context}"),
        ONE_USER_TURN,
    )


def test_messages_surround_the_one_with_the_context() -> None:
    messages = [
        {"role": "system", "content": "Be {brief}."},
        {"role": "user", "content": "Read: {context} Then: {query}"},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "{query} Once more: {query}"},
    ]
    template, conversation = read_prompt(messages, None, "Why?")
    assert template == PromptTemplate("Read: {context} Then: {query}")
    assert conversation == Conversation(
        (("system", "Be {brief}."),),
        "user",
        (("assistant", "Done."), ("user", "Why? Once more: Why?")),
    )


USER = {"role": "user", "content": "{context}"}


@pytest.mark.parametrize(
    ("messages", "template", "query", "message"),
    [
        ([USER], "{context}", "", "got messages and a template: give one of them"),
        ([], None, "", r"need the place-holder \{context\} exactly once.*found 0 in 0 messages"),
        ([{"role": "user", "content": "Hm."}], None, "", "found 0 in 1 messages"),
        ([USER, USER], None, "", "found 2 in 2 messages"),
        ([USER, {"role": "user"}], None, "", 'message 1 must be {"role": text'),
        (["{context}"], None, "", "message 0 must be"),
        ([USER, {"role": "assistant", "content": "So."}], None, "", "pass it as response="),
        (None, "Question: {query}", "Why?", r"needs \{context\} exactly once"),
        (None, None, " ", "the query is empty, but the default prompt asks it"),
        (None, "{context} {query}", "", r"the query is empty, but the prompt has \{query\}"),
        ([USER], None, "Why?", "the query stands nowhere in the prompt"),
        (None, None, 7, "the query must be a text; got int"),
        (None, None, "\udc00?", r"the query is not valid Unicode: at char 0 stands '\\udc00'"),
        (None, "{context}\ud83d{query}", "?", "the prompt is not valid Unicode: at char 9"),
        (
            [USER, {"role": "user", "content": "\ud83d"}],
            None,
            "",
            "the prompt is not valid Unicode",
        ),
    ],
)
def test_bad_prompts_are_refused(
    messages: Sequence[Any] | None, template: str | None, query: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_prompt(messages, template, query)
