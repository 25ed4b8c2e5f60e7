"""Sentences of texts with Markdown in them, as models write it and as documents hold it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter

from markdown_it import MarkdownIt

from attribot.context.partition import SentenceSplitter
from attribot.data.passages import BLANK_LINES
from attribot.errors import InvalidInputError

Extent = tuple[int, int]
"""Chars `[start, end)` of a text."""

# Lines as Markdown counts them; `str.splitlines` would also cut at form feeds and the like.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_FENCE = re.compile(
    r"[ \t]*(?:[-*+] +|\d+[.)] +)?(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\r\n]*)[\r\n]*$"
)
_MARKER = re.compile(r"\s*\d{1,9}[.)]\s+")
# Bullets that word processors write, read as Markdown's; one char for one.
_BULLETS = str.maketrans(dict.fromkeys("\u2022\u2023\u2043\u25aa\u25cf\u25e6", "-"))
# What begins a sentence of its own; blocks that only hold others begin with one of these.
_BLOCKS = ("paragraph_open", "heading_open", "list_item_open", "tr_open")
# Without code by indentation, which text with margins would be taken for.
_PARSER = MarkdownIt("zero").enable(["blockquote", "heading", "lheading", "hr", "list", "table"])
_PARSER.core.ruler.enableOnly(["normalize", "block"])


@dataclass(frozen=True)
class BlockSplitter:
    """Cuts a text into the blocks of its Markdown, and those into sentences.

    Blocks end at blank lines and before headings, items of lists and rows of tables; fenced code
    is one sentence. A line without a letter or digit, such as a rule, belongs to the sentence
    before it. Text without Markdown is cut as `sentences` cuts it, between its blank lines.

    sentences: cuts a block.
    """

    sentences: SentenceSplitter

    def split(self, text: str) -> tuple[int, ...]:
        """See `SentenceSplitter.split`.

        Raises:
            InvalidInputError: `sentences` does not cut a block into pieces.
        """
        if not text.strip():
            return ()
        code = fenced_code(text)
        ends: list[int] = []
        is_line_over = has_said = False
        for start, end in pairwise((0, *self._cuts(text, code))):
            piece = text[start:end]
            says = any(map(str.isalnum, piece))
            is_mark = is_line_over and not (says and has_said)
            if ends and (is_mark or _is_inside(start, code)):
                ends[-1] = end
            else:
                ends.append(end)
            is_line_over = _ends_a_line(piece) or (is_line_over and not piece.strip())
            has_said = has_said or says
        return tuple(ends)

    def _cuts(self, text: str, code: Sequence[Extent]) -> Iterator[int]:
        """Ends of the sentences of all blocks; the number of an item is none by itself."""
        for start, end in blocks_of(text, code):
            marker = _MARKER.match(text, start, end)
            behind = start if marker is None else marker.end()
            ends = (start + each for each in self._ends(text[start:end]))
            yield from (each for each in ends if each > behind or each == end)

    def _ends(self, block: str) -> tuple[int, ...]:
        ends = tuple(self.sentences.split(block))
        if not ends and not block.strip():
            return (len(block),)
        is_increasing = all(a < b for a, b in pairwise((0, *ends)))
        if not ends or not is_increasing or ends[-1] != len(block):
            raise InvalidInputError(
                f"sentence ends must increase from above 0 to the text's length {len(block)}; "
                f"{type(self.sentences).__name__} gave {ends} for {block[:60]!r}"
            )
        return ends


def blocks_of(text: str, code: Sequence[Extent]) -> list[Extent]:
    """Chars `[start, end)` of the blocks of a text, side by side; blank lines end the block before
    them."""
    starts = {0, len(text), *(edge for extent in code for edge in extent)}
    starts |= {end for _, end in blank_lines(text, code)}
    starts |= {start for start in _block_starts(text, code) if not _is_inside(start, code)}
    return list(pairwise(sorted(starts)))


def fenced_code(text: str) -> list[Extent]:
    """Chars `[start, end)` of code between fences, its lines whole.

    A fence that nothing closes reaches to the end if it names a language, as in a text that was
    cut; else it is the end of code that began before the text did.
    """
    fences: list[Extent] = []
    opened: tuple[int, str, str] | None = None
    for start, end in _lines(text):
        fence = _FENCE.match(text, start, end)
        if fence is None:
            continue
        marks, info = fence["marks"], fence["info"].strip()
        is_stray = opened is not None and info and not opened[2] and marks[0] == opened[1][0]
        if opened is None or is_stray:
            opened = (start, marks, info)
        elif not info and marks.startswith(opened[1]):
            fences.append((opened[0], end))
            opened = None
    if opened is not None and opened[2]:
        fences.append((opened[0], len(text)))
    return fences


def blank_lines(text: str, code: Sequence[Extent]) -> list[Extent]:
    """Chars `[start, end)` of the runs of blank lines outside of code."""
    found = (match.span() for match in BLANK_LINES.finditer(text))
    return [(start, end) for start, end in found if not _is_inside(end, code)]


def _is_inside(position: int, extents: Sequence[Extent]) -> bool:
    """Whether a cut at this position would part one of the extents, which are in order."""
    index = bisect_left(extents, position, key=itemgetter(0)) - 1
    return index >= 0 and position < extents[index][1]


def _block_starts(text: str, code: Sequence[Extent]) -> list[int]:
    """Where the blocks of Markdown begin, but for code."""
    lines = _lines(text)
    seen = ["" if _is_inside(first + 1, code) else text[first:last] for first, last in lines]
    tokens = _PARSER.parse("\n".join(line.rstrip("\r\n") for line in seen).translate(_BULLETS))
    return [lines[token.map[0]][0] for token in tokens if token.type in _BLOCKS and token.map]


def _ends_a_line(text: str) -> bool:
    """Whether only white space follows its last line break."""
    return not {"\n", "\r"}.isdisjoint(text[len(text.rstrip()) :])


def _lines(text: str) -> list[Extent]:
    """Chars `[start, end)` of all lines, with what ends them."""
    ends = accumulate(len(line) for line in _LINE.findall(text) if line)
    return list(pairwise((0, *ends)))
