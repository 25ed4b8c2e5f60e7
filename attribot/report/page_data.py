"""What the page shows, as plain values that become JSON; built from results here.

Text is cut here and not in the page: JavaScript counts an emoji as two chars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from attribot.errors import InvalidInputError
from attribot.report.response_parts import (
    PieceData,
    Span,
    ranks_of,
    response_pieces,
    scores_of_parts,
)

SCORE_DIGITS = 4
TOKEN_SCORE_DIGITS = 3
# At about 7 bytes each, 14 MB of the page; beyond, the scores of whole parts remain.
MAX_TOKEN_SCORES = 2_000_000


class SourceData(TypedDict):
    """A source, and the text between it and the source before it: headers and separators."""

    text: str
    before: str
    document: str
    paragraph: int


class ResultData(TypedDict):
    """What one method found on one example.

    scores: `[num_sources]`, None where pruned. ranks: `[num_sources]`, ties share the best.
    part_scores, part_ranks: `[num_parts][num_sources]` the same of parts of the response alone;
        None without them.
    token_scores: `[num_sources][num_tokens]` what each token of the response loses with the source
        [nats], None for a pruned source; None without them.
    noise_floor: scores of this size or less are no evidence; None where it is not known.
    measures: metrics and costs by their titles. notes: what else to know about this result.
    """

    unit: str
    scores: list[float | None]
    ranks: list[int]
    part_scores: list[list[float | None]] | None
    part_ranks: list[list[int]] | None
    token_scores: list[list[float] | None] | None
    noise_floor: float | None
    measures: dict[str, float | None]
    notes: list[str]


class ExampleData(TypedDict):
    """One example.

    sources: in the order of the context; `after` is the text behind the last one.
    gold: ids of the sources that hold annotated evidence.
    tokens: the response's, as text; empty where no method has scores by token.
    parts: the response's parts that can be chosen, as text. pieces: joined, the response.
    results: one per method of the page, None where the method has none.
    """

    id: str
    query: str
    answer: str | None
    gold: list[int]
    sources: list[SourceData]
    after: str
    tokens: list[str]
    parts: list[str]
    pieces: list[PieceData]
    results: list[ResultData | None]


class MethodData(TypedDict):
    name: str
    label: str


class PageData(TypedDict):
    """The whole page.

    charts: see `chart.ChartData`; empty without a curve.
    reference: which method the others are compared with; None without one.
    part_note: why parts of the response cannot be chosen, where they cannot.
    """

    title: str
    subtitle: list[str]
    charts: list[Any]
    methods: list[MethodData]
    reference: int | None
    part_note: str
    examples: list[ExampleData]


def rounded(value: float | None, digits: int = SCORE_DIGITS) -> float | None:
    """The number with few digits, which keeps the page small; JSON has no NaN."""
    return None if value is None or np.isnan(value) else float(f"{value:.{digits}g}")


def source_data(
    context: str, spans: Iterable[Span], documents: Iterable[str], paragraphs: Iterable[int]
) -> tuple[list[SourceData], str]:
    """Sources of one text and the text behind the last; `spans` in the order of the text."""
    sources: list[SourceData] = []
    position = 0
    for (start, end), document, paragraph in zip(spans, documents, paragraphs, strict=True):
        before, text = context[position:start], context[start:end]
        sources.append(
            SourceData(text=text, before=before, document=document, paragraph=int(paragraph))
        )
        position = end
    return sources, context[position:]


def data_of_results(
    results: Sequence[Mapping[str, Any]], sentences: Sequence[Span] = ()
) -> PageData:
    """The page of one response, attributed by one method or by several to be compared.

    results: `AttributionResult.to_dict()` of each.
    sentences: chars `[start, end)` of the response's sentences, which can be chosen where no
        result has spans of its own.

    Raises:
        InvalidInputError: there is no result, or they differ in response, sources, spans or tokens.
    """
    if not results:
        raise InvalidInputError("expected at least one result to show; got none")
    first = results[0]
    for result in results[1:]:
        _check_same(first, result)
    parts = [(span["char_start"], span["char_end"]) for span in first["spans"]] or list(sentences)
    offsets = next((_offsets(result) for result in results if _offsets(result)), [])
    response = first["response"]
    sources, after = _sources(first)
    found = [_result(result, parts) for result in results]
    example = ExampleData(
        id="response",
        query=first["query"],
        answer=None,
        gold=[],
        sources=sources,
        after=after,
        tokens=[response[start:end] for start, end in offsets],
        parts=[response[start:end] for start, end in parts],
        pieces=response_pieces(response, offsets, parts),
        results=list(found),
    )
    return PageData(
        title="Which sources the response rests on",
        subtitle=[f"Model: {first['model']}"],
        charts=[],
        methods=[MethodData(name=result["method"], label=result["method"]) for result in results],
        reference=None,
        part_note="" if any(one["part_scores"] for one in found) else _part_note(parts),
        examples=[example],
    )


def _check_same(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Results stand on one page if they are about the same text, cut the same way."""

    def texts(result: Mapping[str, Any]) -> list[str]:
        return [source["text"] for source in result["sources"]]

    def spans(result: Mapping[str, Any]) -> list[Span]:
        return [(span["char_start"], span["char_end"]) for span in result["spans"]]

    both = _offsets(first) and _offsets(other)
    for what, is_same in (
        ("response", first["response"] == other["response"]),
        ("sources", texts(first) == texts(other)),
        ("spans", spans(first) == spans(other)),
        ("tokens", not both or _offsets(first) == _offsets(other)),
    ):
        if not is_same:
            raise InvalidInputError(
                f"expected results about the same {what}; {first['method']} and "
                f"{other['method']} differ: save a page of each"
            )


def _offsets(result: Mapping[str, Any]) -> list[Span]:
    """Offsets of the response's tokens, if the result has a score by token."""
    if result["token_scores"] is None:
        return []
    return [(int(start), int(end)) for start, end in result["token_offsets"]]


def _sources(result: Mapping[str, Any]) -> tuple[list[SourceData], str]:
    """Sources, document after document, and what stands behind the last."""
    sources: list[SourceData] = []
    after = ""
    for index, document in enumerate(result["documents"]):
        own = [source for source in result["sources"] if source["document"] == index]
        if not own:
            continue
        name = own[0]["document_id"]
        if name == str(index):
            name = f"document {name}" if len(result["documents"]) > 1 else ""
        spans = [(source["char_start"], source["char_end"]) for source in own]
        paragraphs = [source["paragraph"] for source in own]
        cut, behind = source_data(document["text"], spans, [name] * len(own), paragraphs)
        if sources:
            cut[0]["before"] = f"{after}\n\n{cut[0]['before']}"
        sources, after = [*sources, *cut], behind
    return sources, after


def _result(result: Mapping[str, Any], parts: Sequence[Span]) -> ResultData:
    notes = [result["reason"]] if result["reason"] else []
    token_scores = result["token_scores"]
    part_scores = [list(span["scores"]) for span in result["spans"]]
    part_ranks = [[int(rank) for rank in span["ranks"]] for span in result["spans"]]
    if not part_scores and token_scores is not None:
        part_scores = scores_of_parts(token_scores, _offsets(result), parts)
        part_ranks = [ranks_of(scores) for scores in part_scores]
    if token_scores is not None and np.size(token_scores) > MAX_TOKEN_SCORES:
        notes.append(
            f"Scores by token are left out: {np.size(token_scores):,} of them, more than the "
            f"{MAX_TOKEN_SCORES:,} that a page holds."
        )
        token_scores = None
    cost = result["cost"]
    measures = {
        "forward passes": cost["forward_passes"],
        "computed tokens": cost["computed_tokens"],
        "reused tokens": cost["reused_tokens"],
        "seconds": rounded(cost["wall_seconds"]),
        "log-likelihood of the response [nats]": rounded(result["base_log_likelihood"]),
    }
    return ResultData(
        unit=result["unit"],
        scores=[rounded(source["score"]) for source in result["sources"]],
        ranks=[int(source["rank"]) for source in result["sources"]],
        part_scores=[[rounded(score) for score in row] for row in part_scores] or None,
        part_ranks=part_ranks or None,
        token_scores=None if token_scores is None else [_token_row(row) for row in token_scores],
        noise_floor=rounded(result["noise_floor"]),
        measures={title: value for title, value in measures.items() if value is not None},
        notes=notes,
    )


def _token_row(row: Sequence[float | None]) -> list[float] | None:
    """Scores of one source by token; None for a pruned source."""
    numbers = [rounded(score, TOKEN_SCORE_DIGITS) for score in row]
    present = [number for number in numbers if number is not None]
    return present if len(present) == len(numbers) else None


def _part_note(parts: Sequence[Span]) -> str:
    return "This method scores the whole response, not its sentences." if parts else ""
