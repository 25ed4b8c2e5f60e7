"""A result as text and as HTML."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from attribot.report.page_words import LIKELIHOOD_UNITS, document_names, score_text
from attribot.types import FloatArray

if TYPE_CHECKING:
    from attribot.explain.result import AttributionResult, SourceScore

ROWS = 10
# Chars in a line, where it is not a terminal that is written to.
LINE_WIDTH = 100
LEAST_WIDTH = 8
CITED_NATS = 0.5
# Okabe and Ito's orange and sky blue, told apart under every common colour blindness.
HELPS, HINDERS = "86,180,233", "230,159,0"
# Text that turns its direction turns nothing around it.
ISOLATED = "unicode-bidi:isolate"
FENCE = re.compile("`{3,}|~{3,}")


def table(result: AttributionResult, num_rows: int = ROWS, width: int | None = None) -> str:
    """The first sources by rank; says how many it leaves out.

    width: chars in a line, kept from 60 on; what is cut for it ends, or begins, in an ellipsis.
        None asks for that of the terminal, and for `LINE_WIDTH` where the output is none.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else LINE_WIDTH
    cost = (
        f"{result.cost.forward_passes} forward passes, {result.cost.computed_tokens:,} tokens "
        f"computed, {result.cost.wall_seconds:.1f} s; model {result.model}"
    )
    lines = [
        _cut(f"response: {result.response}", width),
        *(["          which was cut at max_new_tokens"] if result.is_response_cut else []),
        *_wrapped(f"method:   {result.method}: {result.reason}", width),
        *_wrapped(f"cost:     {cost}", width),
        "",
        *_rows(result, result.top(num_rows), width),
    ]
    if (num_more := len(result.sources) - num_rows) > 0:
        lines.append(f"... and {num_more} more sources")
    if result.noise_floor is not None:
        lines.append(f"scores below {result.noise_floor:.2g} nats are rounding noise")
    return "\n".join(lines)


def _rows(result: AttributionResult, shown: Sequence[SourceScore], width: int) -> Iterator[str]:
    """A heading, and a line per source; documents and texts share what the numbers leave."""
    names = _names(result)
    documents = [names[source.document] for source in shown]
    scores = [_score(source, result.unit) for source in shown]
    score_width = max(len(result.unit), *map(len, scores))
    room = width - len(f"rank  {'':>{score_width}}  source  ")
    name_width = 0
    if any(names):
        longest = max(map(len, ["document", *documents]))
        name_width = min(longest, max(LEAST_WIDTH, room // 3))
        room -= name_width + 2
    cells = [("rank", result.unit, "source", "document" if name_width else "", "text")]
    cells += [
        (str(source.rank), score, f"[{source.number}]", name, source.text)
        for source, score, name in zip(shown, scores, documents, strict=True)
    ]
    for rank, score, number, name, text in cells:
        place = f"{_cut_front(name, name_width):<{name_width}}  " if name_width else ""
        line = f"{rank:>4}  {score:>{score_width}}  {number:>6}  {place}"
        yield line + _cut(text, max(room, LEAST_WIDTH))


def cited(result: AttributionResult, num_citations: int, min_score: float | None) -> str:
    """See `AttributionResult.cite`."""
    if min_score is None:
        min_score = CITED_NATS if result.unit == "nats" else 0.0
    text = result.response
    marks = [(len(text.rstrip()), result.scores)]
    if result.spans:
        marks = [(_visible_end(s.text, s.char_start), np.array(s.scores)) for s in result.spans]
    # From behind, so that what is put in moves nothing that is still to come.
    for end, scores in sorted(marks, key=lambda mark: -mark[0]):
        numbers = _best(scores, num_citations, min_score)
        if numbers:
            text = _with_mark(text, end, "".join(f"[{n}]" for n in numbers))
    return text


def _with_mark(text: str, end: int, mark: str) -> str:
    """The mark behind text that ends there, so that Markdown stays what it is: below the fence of
    code, and in the last cell of a table's row."""
    line = text[text.rfind("\n", 0, end) + 1 : end].strip()
    if FENCE.fullmatch(line):
        return f"{text[:end]}\n{mark}{text[end:]}"
    if line.startswith("|") and line.endswith("|") and len(line) > 1:
        return f"{text[: end - 1].rstrip()} {mark} |{text[end:]}"
    return f"{text[:end]} {mark}{text[end:]}"


def heat_map(result: AttributionResult) -> str:
    """The documents with every source coloured by its score, then the parts and what they cite.

    Self-contained and escaped: no script, nothing to load.
    """
    largest = float(np.nanmax(np.abs(result.scores), initial=0.0)) or 1.0
    parts = [
        '<div style="font-family:sans-serif;line-height:1.6;overflow-wrap:anywhere">',
        f'<p dir="auto"><b>{escape(result.response)}</b></p>',
        f"<p><small>{escape(result.method)}: {escape(result.reason)}; "
        f"{result.cost.forward_passes} forward passes; scores in {escape(result.unit)}. "
        f"{_key(result)}</small></p>",
    ]
    for number, (document, name) in enumerate(zip(result.documents, _names(result), strict=True)):
        if name:
            parts.append(f'<p dir="auto"><small>{escape(name)}</small></p>')
        parts.append('<div dir="auto" style="white-space:pre-wrap">')
        position = 0
        for source in (each for each in result.sources if each.document == number):
            parts.append(_isolated(document.text[position : source.char_start]))
            parts.append(_marked(source, result.unit, largest))
            position = source.char_end
        parts.append(f"{_isolated(document.text[position:])}</div>")
    if result.spans:
        items = "".join(
            f"<li>{_span_item(span.text, span.scores, result.unit)}</li>" for span in result.spans
        )
        parts.append(f"<ol>{items}</ol>")
    return "".join(parts) + "</div>"


def _key(result: AttributionResult) -> str:
    """What the colours say; of scores that are never negative there is but one."""
    is_likelihood = result.unit in LIKELIHOOD_UNITS
    helps = "makes the response likelier" if is_likelihood else "higher score"
    hinders = "less likely" if is_likelihood else "score below zero"
    key = f'<span style="background:rgba({HELPS},.6)">{helps}</span>'
    if is_likelihood or (result.scores < 0).any():
        key += f' <span style="background:rgba({HINDERS},.6)">{hinders}</span>'
    return key


def _marked(source: SourceScore, unit: str, largest: float) -> str:
    """A source in its colour, behind its number."""
    score = _score(source, unit) + ("" if source.is_pruned or not unit else f" {unit}")
    return (
        f"<small>[{source.number}]</small>&nbsp;"
        f'<span title="[{source.number}] {escape(score)}, rank {source.rank}" '
        f'style="{_colour(source.score, largest)};{ISOLATED}">{escape(source.text)}</span>'
    )


def _isolated(text: str) -> str:
    return f'<span style="{ISOLATED}">{escape(text)}</span>' if text.strip() else text


def _span_item(text: str, scores: Sequence[float], unit: str) -> str:
    """A part of the response and its best sources."""
    best = [
        f"[{number}] {score_text(scores[number - 1], unit)}"
        for number in _best(np.array(scores), 3, 0.0)
    ]
    return f"{_isolated(text)} <small>{', '.join(best)}</small>"


def _colour(score: float, largest: float) -> str:
    if np.isnan(score):
        return "opacity:.6"
    colour = HELPS if score > 0 else HINDERS
    return f"background:rgba({colour},{0.7 * abs(score) / largest:.3f})"


def _score(source: SourceScore, unit: str) -> str:
    return "pruned" if source.is_pruned else score_text(source.score, unit)


def _names(result: AttributionResult) -> list[str]:
    return document_names((each.document_id, each.metadata) for each in result.documents)


def _best(scores: FloatArray, num: int, min_score: float) -> list[int]:
    """Numbers of the best sources above a score, best first."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:num]
    return [int(index) + 1 for index in order if scores[index] > min_score]


def _visible_end(text: str, start: int) -> int:
    """Where a part that begins at `start` ends, the white space behind it left out."""
    return start + len(text.rstrip())


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=" " * 10)


def _cut(text: str, width: int) -> str:
    """The text on one line, as much of its beginning as fits."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _cut_front(text: str, width: int) -> str:
    """The end: names of files and addresses differ there."""
    line = " ".join(text.split())
    return line if len(line) <= width else "…" + line[1 - width :]
