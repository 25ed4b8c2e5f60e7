"""LangChain: what a retrieval chain gave, as arguments of `attribot.attribute`.

Nothing of LangChain is imported: what looks like its documents, messages and prompts is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, overload, runtime_checkable

from attribot.errors import InvalidInputError
from attribot.integrations.arguments import Arguments, ContextArguments, context_entry

# (query, documents, response) in what chains give.
LAYOUTS = (
    ("input", "context", "answer"),
    ("query", "source_documents", "result"),
    ("question", "context", "answer"),
)
QUERY_VARIABLES = tuple(query for query, _, _ in LAYOUTS)
CONTEXT_VARIABLE = "context"
ROLES = {"system": "system", "human": "user", "ai": "assistant"}
# As `attribot.attribute` reads messages, and what it puts behind every document of a list.
CONTEXT, QUERY, BLANK_LINE = "{context}", "{query}", "\n\n"


@runtime_checkable
class RetrievedDocument(Protocol):
    """A `langchain_core.documents.Document`."""

    @property
    def page_content(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def id(self) -> str | None: ...


@runtime_checkable
class Prompt(Protocol):
    """A `ChatPromptTemplate`, or the `PromptTemplate` of one user turn."""

    @property
    def input_variables(self) -> Sequence[str]: ...
    def format_prompt(self, **values: Any) -> Any: ...


@overload
def from_langchain(given: Mapping[str, Any], prompt: Prompt | None = None) -> Arguments: ...
@overload
def from_langchain(
    given: Sequence[RetrievedDocument], prompt: Prompt | None = None
) -> ContextArguments: ...
def from_langchain(
    given: Mapping[str, Any] | Sequence[RetrievedDocument], prompt: Prompt | None = None
) -> ContextArguments:
    """Arguments of `attribot.attribute` from what a retrieval chain gave.

        attribot.attribute(model, tokenizer, **from_langchain(chain.invoke({"input": query})))

    given: the mapping of `create_retrieval_chain` with `input`, `context` and `answer`; that of
        `RetrievalQA` with `query`, `source_documents` and `result`; a state with `question`,
        `context` and `answer`; or a list of documents, where query and response are yours to pass.
        Sources come back with the metadata of their document, and the place of each is one in its
        `page_content`. The id is the `id` of the metadata, else the document's.
    prompt: what the chain asks, with the variables `context` and `input`, `query` or `question`;
        other variables are filled from the mapping. None asks with attribot's own prompt.

    With its prompt, the model reads what the chain's model read if documents are joined by blank
    lines and rendered as their `page_content`, as chains do by default, and if the prompt goes on
    with a blank line behind `{context}`. Where it does not, one blank line more stands behind the
    last document. Other separators, a `document_prompt`, and chains that ask more than once, such
    as "refine" and "map_reduce", cannot be expressed.

    Raises:
        InvalidInputError: it is none of these; a text is expected where something else stands; or
            the prompt has variables that nothing fills, or messages of other roles.
    """
    arguments: ContextArguments
    others: Mapping[str, Any] = {}
    if isinstance(given, Mapping):
        query, documents, response = _layout_of(given)
        others = {key: given[key] for key in given if key not in (query, documents)}
        arguments = Arguments(
            context=_context(given[documents], f"`{documents}`"),
            query=_text(given[query], f"`{query}`"),
            response=_text(given[response], f"`{response}`"),
        )
    else:
        what = "anything but the mapping of a retrieval chain"
        arguments = ContextArguments(context=_context(given, what))
    if prompt is not None:
        arguments["messages"] = _messages(prompt, others)
    return arguments


def _layout_of(given: Mapping[str, Any]) -> tuple[str, str, str]:
    for layout in LAYOUTS:
        if all(key in given for key in layout):
            return layout
    known = "; ".join(", ".join(layout) for layout in LAYOUTS)
    raise InvalidInputError(
        f"expected what a retrieval chain gave, with the keys of one of: {known}; found "
        f"{sorted(map(str, given))}. RetrievalQA gives its documents with "
        f"return_source_documents=True; else pass a list of documents"
    )


def _context(documents: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(documents, Sequence) or isinstance(documents, str):
        raise InvalidInputError(
            f"{what} must be a list of LangChain documents; got {type(documents).__name__}"
        )
    if not documents:
        raise InvalidInputError("no documents were retrieved: there is nothing to attribute to")
    return [_entry(index, document) for index, document in enumerate(documents)]


def _entry(index: int, document: Any) -> dict[str, Any]:
    if not isinstance(document, RetrievedDocument):
        raise InvalidInputError(
            f"document {index} must be a LangChain document, with page_content, metadata and id; "
            f"got {type(document).__name__}"
        )
    return context_entry(index, document.page_content, document.id, document.metadata)


def _text(given: Any, what: str) -> str:
    """Of a text, or of a message that has nothing but text."""
    content = getattr(given, "content", given)
    parts = content if isinstance(content, list) else [content]
    texts: list[Any] = [
        part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part
        for part in parts
    ]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(
            f"{what} must be a text, or a message of text alone; got {type(given).__name__} "
            f"{str(given)[:80]!r}: put its text there"
        )
    return "".join(texts)


def _messages(prompt: Prompt, others: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of the chain, with place-holders for the documents and the query.

    others: values of the prompt's other variables.
    """
    if not isinstance(prompt, Prompt):
        raise InvalidInputError(
            f"the prompt must be a ChatPromptTemplate or a PromptTemplate; got "
            f"{type(prompt).__name__}"
        )
    variables, asked = set(prompt.input_variables), [*QUERY_VARIABLES, CONTEXT_VARIABLE]
    if CONTEXT_VARIABLE not in variables or variables - {*others, *asked}:
        raise InvalidInputError(
            f"the prompt has the variables {sorted(variables)}: expected {CONTEXT_VARIABLE!r} for "
            f"the documents, one of {list(QUERY_VARIABLES)} for the query, and others only where "
            f"the chain's mapping has them; fill the rest with prompt.partial(...)"
        )
    unmarked = {**dict.fromkeys(asked, ""), **others, CONTEXT_VARIABLE: ""}
    if any(mark in text for _, text in _turns(prompt, unmarked) for mark in (CONTEXT, QUERY)):
        raise InvalidInputError(
            f"the prompt, or what the chain gave for it, has {CONTEXT} or {QUERY} as ordinary "
            f"text, which attribot would replace: write it in another way"
        )
    marked = {**dict.fromkeys(asked, QUERY), **others, CONTEXT_VARIABLE: CONTEXT}
    # Chains put blank lines between documents, attribot one behind each, so also the last one.
    return [
        {"role": role, "content": text.replace(CONTEXT + BLANK_LINE, CONTEXT)}
        for role, text in _turns(prompt, marked)
    ]


def _turns(prompt: Prompt, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of the messages that the prompt makes of values."""
    turns = []
    for index, message in enumerate(prompt.format_prompt(**values).to_messages()):
        role = message.role if message.type == "chat" else ROLES.get(message.type)
        if role is None:
            raise InvalidInputError(
                f"message {index} of the prompt is of the type {message.type!r}; known: "
                f"{', '.join(ROLES)}"
            )
        turns.append((role, _text(message, f"message {index} of the prompt")))
    return turns
