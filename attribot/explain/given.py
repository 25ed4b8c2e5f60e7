"""What the caller gave, in the terms of attribution: contexts to trees, prompts to templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from attribot.context.partition import SentenceSplitter, build_tree
from attribot.context.tree import ContextTree
from attribot.data.passages import Passage, check_not_blank, context_entries, paragraphs_of
from attribot.errors import InvalidInputError
from attribot.explain.blocks import BlockSplitter, blank_lines, fenced_code
from attribot.models.language_model import ONE_USER_TURN, Conversation
from attribot.prompting import PromptTemplate
from attribot.types import Document, Example, Level, Paragraph, Separators

CONTEXT, QUERY = "{context}", "{query}"
BLANK_LINE = "\n\n"

Context = str | Document | Sequence[str | Mapping[str, Any] | Document]
"""A text, or a list whose entries are documents: texts, mappings with `text`, or `Document`s."""


@dataclass(frozen=True)
class Place:
    """Where a source stands in what was given.

    document: index of the document. paragraph: index of the paragraph within it.
    char_start, char_end: extent in the text of the document.
    """

    document: int
    paragraph: int
    char_start: int
    char_end: int


@dataclass(frozen=True, eq=False)
class GivenContext:
    """The documents as given, and the tree whose sources are their sentences, or larger units."""

    documents: tuple[Passage, ...]
    tree: ContextTree

    def places(self) -> list[Place]:
        """Of all sources: documents stand in the tree's text verbatim, one after the other."""
        tree = self.tree
        document_nodes = tree.unit_of_source("document")
        paragraph_nodes = tree.unit_of_source("paragraph")
        places = []
        for source, document, paragraph in zip(
            tree.sources, document_nodes, paragraph_nodes, strict=True
        ):
            offset = int(tree.start[document])
            siblings = np.flatnonzero(tree.parent == document)
            places.append(
                Place(
                    int(np.searchsorted(tree.units("document"), document)),
                    int(np.searchsorted(siblings, paragraph)),
                    int(tree.content_start[source]) - offset,
                    int(tree.content_end[source]) - offset,
                )
            )
        return places


def read_context(context: Context, level: Level, splitter: SentenceSplitter) -> GivenContext:
    """Cuts a context into documents, paragraphs at blank lines, and sources.

    Items of lists, headings, rows of tables and fenced code are sentences; see `BlockSplitter`.
    A text is rendered in the prompt exactly as it is, entries of a list with a blank line after
    each. The text of a `Document` is its header and its paragraphs with their headers, with blank
    lines between paragraphs.

    level: what becomes a source, so that it is removed and scored as one.
    splitter: cuts what Markdown does not.

    Raises:
        InvalidInputError: the context is blank, no text or nothing of the kind, or the level is
            unknown.
    """
    if level not in get_args(Level):
        raise InvalidInputError(f"unknown level {level!r}; known: {', '.join(get_args(Level))}")
    is_list = isinstance(context, Sequence) and not isinstance(context, str)
    entries = [context] if isinstance(context, Document) else context
    entries = context_entries(list(entries) if is_list else entries)
    read = [_read_entry(entry, index) for index, entry in enumerate(entries)]
    passages = [passage for passage, _ in read]
    check_not_blank(passages)
    for index, passage in enumerate(passages):
        check_chars(passage.text, f"context entry {index}")
    behind = "" if isinstance(context, str | Document) else BLANK_LINE
    example = Example(
        example_id="",
        dataset="",
        split="",
        query="",
        documents=tuple(_at_level(document, level, behind) for _, document in read),
        separators=Separators("", "", "" if level == "document" else behind),
    )
    return GivenContext(tuple(passages), build_tree(example, BlockSplitter(splitter)))


def _read_entry(entry: Any, index: int) -> tuple[Passage, Document]:
    """The document as given, and the one that renders as its text."""
    if not isinstance(entry, Document):
        passage = Passage.of(entry, index)
        breaks = blank_lines(passage.text, fenced_code(passage.text))
        cut = tuple(paragraph for _, paragraph in paragraphs_of(passage.text, breaks))
        return passage, Document(cut, document_id=passage.document_id, metadata=passage.metadata)
    paragraphs = tuple(
        replace(paragraph, header=BLANK_LINE * (number > 0) + paragraph.header)
        for number, paragraph in enumerate(entry.paragraphs)
    )
    text = entry.header + "".join(each.header + each.text for each in paragraphs)
    passage = Passage(text, entry.document_id or str(index), entry.metadata)
    return passage, replace(entry, paragraphs=paragraphs)


def _at_level(document: Document, level: Level, separator: str) -> Document:
    """The document, whose units at `level` take the place of sentences; they take along what they
    would as units: headers, and a document what stands behind it."""
    if level == "sentence":
        return document
    texts = [paragraph.header + paragraph.text for paragraph in document.paragraphs]
    if level == "paragraph":
        return replace(document, paragraphs=tuple(map(_one_sentence, texts)))
    whole = _one_sentence("".join([document.header, *texts, separator]))
    return replace(document, paragraphs=(whole,), header="")


def _one_sentence(text: str) -> Paragraph:
    return Paragraph(text, (len(text),) if text.strip() else None)


def check_chars(text: str, what: str) -> None:
    """Raises InvalidInputError for half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} is not valid Unicode: at char {error.start} stands {text[error.start]!r}, "
            f"half of a character that was cut in two; leave it out, or read the text as UTF-8"
        ) from error


def read_prompt(
    messages: Sequence[Mapping[str, str]] | None, template: str | None, query: str
) -> tuple[PromptTemplate, Conversation]:
    """The template of the message with the context, and the messages that it stands among.

    `{query}` is replaced in every message; other braces are ordinary text. With neither messages
    nor template, the prompt is that of `PromptTemplate`.

    Raises:
        InvalidInputError: both are given, `{context}` does not stand there exactly once, a message
            is none, a text is not valid Unicode, or the query is missing or stands nowhere.
    """
    if not isinstance(query, str):
        raise InvalidInputError(f"the query must be a text; got {type(query).__name__}")
    if messages is not None and template is not None:
        raise InvalidInputError(
            "got messages and a template: give one of them, or put the template's text into a "
            "message"
        )
    texts = [PromptTemplate().text if template is None else template]
    conversation = ONE_USER_TURN
    if messages is not None:
        turns = [_checked_message(message, index) for index, message in enumerate(messages)]
        if turns and turns[-1][0] == "assistant":
            raise InvalidInputError(
                "the last message is the assistant's: pass it as response=, the messages are what "
                "came before"
            )
        texts = [text for _, text in turns]
        place = _context_place(texts)
        asked = [(role, text.replace(QUERY, query)) for role, text in turns]
        conversation = Conversation(
            tuple(asked[:place]), turns[place][0], tuple(asked[place + 1 :])
        )
        template = texts[place]
    for text in texts:
        check_chars(text, "the prompt")
    check_chars(query, "the query")
    _check_query(query, texts, is_ours=template is None)
    return PromptTemplate() if template is None else PromptTemplate(template), conversation


def _checked_message(message: Any, index: int) -> tuple[str, str]:
    """(role, text)"""
    is_mapping = isinstance(message, Mapping)
    role, text = (message.get("role"), message.get("content")) if is_mapping else (None, None)
    if not isinstance(role, str) or not isinstance(text, str):
        raise InvalidInputError(
            f'message {index} must be {{"role": text, "content": text}}; got {message!r}'
        )
    return role, text


def _context_place(texts: Sequence[str]) -> int:
    """Index of the message with the context."""
    counts = [text.count(CONTEXT) for text in texts]
    if sum(counts) != 1:
        raise InvalidInputError(
            f"the messages need the place-holder {CONTEXT} exactly once, where the context "
            f"stands; found {sum(counts)} in {len(counts)} messages"
        )
    return counts.index(1)


def _check_query(query: str, texts: Sequence[str], is_ours: bool) -> None:
    """Whether the query and its place go together."""
    has_place = any(QUERY in text for text in texts)
    if has_place and not query.strip():
        where = "the default prompt asks it" if is_ours else f"the prompt has {QUERY}"
        raise InvalidInputError(
            f"the query is empty, but {where}: pass query=, or a prompt of your own without "
            f"{QUERY} as template= or messages="
        )
    if query and not has_place:
        raise InvalidInputError(
            f"the query stands nowhere in the prompt: put {QUERY} where it belongs, or leave "
            f"query= out where the prompt asks it already"
        )
