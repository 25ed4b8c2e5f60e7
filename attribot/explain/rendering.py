"""A result as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from attribot.types import FloatArray

if TYPE_CHECKING:
    from attribot.explain.result import AttributionResult

ROWS = 10
TEXT_WIDTH, LINE_WIDTH = 72, 100
CITED_NATS = 0.5
# Okabe and Ito's orange and sky blue, told apart under every common colour blindness.
HELPS, HINDERS = "86,180,233", "230,159,0"


def table(result: AttributionResult, num_rows: int = ROWS) -> str:
    """The first sources by rank; says how many it leaves out."""
    shown = result.top(num_rows)
    width = max([len("document"), *(len(source.document_id) for source in shown)])
    lines = [
        f"response: {_one_line(result.response, TEXT_WIDTH)}",
        *textwrap.wrap(
            f"method:   {result.method}: {result.reason}", LINE_WIDTH, subsequent_indent=" " * 10
        ),
        f"cost:     {result.cost.forward_passes} forward passes, "
        f"{result.cost.computed_tokens:,} tokens computed, "
        f"{result.cost.wall_seconds:.1f} s; model {result.model}",
        "",
        f"{'rank':>4}  {result.unit:>14}  {'source':>6}  {'document':<{width}}  text",
    ]
    for source in shown:
        score = "pruned" if source.is_pruned else f"{source.score:+.3f}"
        lines.append(
            f"{source.rank:>4}  {score:>14}  {f'[{source.number}]':>6}  "
            f"{source.document_id:<{width}}  {_one_line(source.text, TEXT_WIDTH)}"
        )
    if (num_more := len(result.sources) - len(shown)) > 0:
        lines.append(f"... and {num_more} more sources")
    if result.noise_floor is not None:
        lines.append(f"scores below {result.noise_floor:.2g} nats are rounding noise")
    return "\n".join(lines)


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
            text = text[:end] + " " + "".join(f"[{n}]" for n in numbers) + text[end:]
    return text


def heat_map(result: AttributionResult) -> str:
    """The documents with every source coloured by its score, then the parts and what they cite.

    Self-contained and escaped: no script, nothing to load.
    """
    scores = result.scores
    largest = float(np.nanmax(np.abs(scores), initial=0.0)) or 1.0
    parts = [
        '<div style="font-family:sans-serif;line-height:1.6">',
        f"<p><b>{escape(result.response)}</b></p>",
        f"<p><small>{escape(result.method)}: {escape(result.reason)}; "
        f"{result.cost.forward_passes} forward passes; scores in {escape(result.unit)}. "
        f'<span style="background:rgba({HELPS},.6)">makes the response likelier</span> '
        f'<span style="background:rgba({HINDERS},.6)">less likely</span></small></p>',
    ]
    for number, document in enumerate(result.documents):
        parts.append(
            f"<p><small>{escape(document.document_id)}</small></p>"
            '<div style="white-space:pre-wrap">'
        )
        position = 0
        for source in (each for each in result.sources if each.document == number):
            before = document.text[position : source.char_start]
            title = "pruned" if source.is_pruned else f"{source.score:+.3f} {result.unit}"
            parts.append(
                f'{escape(before)}<span title="[{source.number}] {escape(title)}, '
                f'rank {source.rank}" style="{_colour(source.score, largest)}">'
                f"{escape(source.text)}</span>"
            )
            position = source.char_end
        parts.append(f"{escape(document.text[position:])}</div>")
    if result.spans:
        items = "".join(f"<li>{_span_item(span.text, span.scores)}</li>" for span in result.spans)
        parts.append(f"<ol>{items}</ol>")
    return "".join(parts) + "</div>"


def _span_item(text: str, scores: Sequence[float]) -> str:
    """A part of the response and its best sources."""
    best = [f"[{number}] {scores[number - 1]:+.2f}" for number in _best(np.array(scores), 3, 0.0)]
    return f"{escape(text)} <small>{', '.join(best)}</small>"


def _colour(score: float, largest: float) -> str:
    if np.isnan(score):
        return "opacity:.6"
    colour = HELPS if score > 0 else HINDERS
    return f"background:rgba({colour},{0.7 * abs(score) / largest:.3f})"


def _best(scores: FloatArray, num: int, min_score: float) -> list[int]:
    """Numbers of the best sources above a score, best first."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:num]
    return [int(index) + 1 for index in order if scores[index] > min_score]


def _visible_end(text: str, start: int) -> int:
    """Where a part that begins at `start` ends, the white space behind it left out."""
    return start + len(text.rstrip())


def _one_line(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
