"""Prompt text from a context and a query. The chat template is applied later, by the model."""

from __future__ import annotations

from dataclasses import dataclass

from attribot.errors import InvalidInputError

PAPER_TEMPLATE = (
    "Answer the question based on the provided context:\n\nContext:\n{context}\n\nQuestion: {query}"
)


@dataclass(frozen=True)
class PromptTemplate:
    """Text with the place-holders `{context}` and `{query}`, each replaced once.

    Other braces, in the template, the context or the query, are ordinary text.

    Raises:
        InvalidInputError: `{context}` does not stand in the text exactly once, or `{query}` more
            than once.
    """

    text: str = PAPER_TEMPLATE

    def __post_init__(self) -> None:
        if self.text.count("{context}") != 1 or self.text.count("{query}") > 1:
            raise InvalidInputError(
                "a prompt template needs {context} exactly once and {query} at most once; "
                f"got {self.text!r}"
            )

    def render(self, context: str, query: str) -> str:
        """The user turn."""
        before, after = self.text.split("{context}")
        return before.replace("{query}", query) + context + after.replace("{query}", query)

    def context_offset(self, query: str) -> int:
        """Char position of the context inside `render(context, query)`."""
        return len(self.text.split("{context}")[0].replace("{query}", query))
