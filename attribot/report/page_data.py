"""What the page shows, as plain values that become JSON; built from results here.

Text is cut here and not in the page: JavaScript counts an emoji as two chars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from attribot.errors import InvalidInputError
from attribot.report.page_words import document_names
from attribot.report.response_parts import (
    PieceData,
    Span,
    ranks_of,
    response_pieces,
    scores_of_parts,
    tokens_of_parts,
)

SCORE_DIGITS = 4
TOKEN_SCORE_DIGITS = 3
# At about 7 bytes each, 14 MB of the page; beyond, the scores of whole parts remain.
MAX_TOKEN_SCORES = 2_000_000


class SourceData(TypedDict):
    """A source, and the text between it and the source before it: headers and separators.

    document: its name, "" without one. paragraph: counted from 0.
    closing: only of the first source of a document: what still belongs to the document before.
    """

    text: str
    before: str
    document: str
    paragraph: int
    closing: NotRequired[str]


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
    part_tokens: ids in `tokens`, per part; absent where no method has scores by token.
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
    part_tokens: NotRequired[list[list[int]]]
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
    """Sources of one text and the text behind the last; `spans` in the order of the text.

    A document begins where its name is another one.
    """
    sources: list[SourceData] = []
    position = 0
    for (start, end), document, paragraph in zip(spans, documents, paragraphs, strict=True):
        before, text = context[position:start], context[start:end]
        source = SourceData(text=text, before=before, document=document, paragraph=int(paragraph))
        if not sources or sources[-1]["document"] != document:
            source["closing"] = ""
        sources.append(source)
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
        InvalidInputError: there is no result, or they differ in response, sources, or in spans or
            tokens where they have some.
    """
    if not results:
        raise InvalidInputError("expected at least one result to show; got none")
    first = results[0]
    _check_same(results)
    parts = next(filter(None, map(_spans, results)), list(sentences))
    offsets = next(filter(None, map(_offsets, results)), [])
    response = first["response"]
    sources, after = _sources(first)
    part_tokens = tokens_of_parts(response, offsets, parts)
    found = [_result(result, part_tokens) for result in results]
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
        part_tokens=part_tokens,
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


def _check_same(results: Sequence[Mapping[str, Any]]) -> None:
    """Results stand on one page if they are about the same text, cut the same way.

    Not all need to have spans, or scores by token.
    """
    for what, of, is_needed in (
        ("response", _response, True),
        ("sources", _texts, True),
        ("spans", _spans, False),
        ("tokens", _offsets, False),
    ):
        those = [result for result in results if is_needed or of(result)]
        for other in those[1:]:
            if of(other) != of(those[0]):
                raise InvalidInputError(
                    f"expected results about the same {what}; {those[0]['method']} and "
                    f"{other['method']} differ: save a page of each"
                )


def _response(result: Mapping[str, Any]) -> str:
    return str(result["response"])


def _texts(result: Mapping[str, Any]) -> list[str]:
    return [source["text"] for source in result["sources"]]


def _spans(result: Mapping[str, Any]) -> list[Span]:
    return [(span["char_start"], span["char_end"]) for span in result["spans"]]


def _offsets(result: Mapping[str, Any]) -> list[Span]:
    """Offsets of the response's tokens, if the result has a score by token."""
    if result["token_scores"] is None:
        return []
    return [(int(start), int(end)) for start, end in result["token_offsets"]]


def _sources(result: Mapping[str, Any]) -> tuple[list[SourceData], str]:
    """Sources, document after document, and what stands behind the last."""
    sources: list[SourceData] = []
    after = ""
    given = [(each["document_id"], each["metadata"]) for each in result["documents"]]
    for index, name in enumerate(document_names(given)):
        own = [source for source in result["sources"] if source["document"] == index]
        if not own:
            continue
        spans = [(source["char_start"], source["char_end"]) for source in own]
        paragraphs = [source["paragraph"] for source in own]
        text = result["documents"][index]["text"]
        cut, behind = source_data(text, spans, [name] * len(own), paragraphs)
        if sources:
            cut[0]["closing"] = f"{after}\n\n"
        sources, after = [*sources, *cut], behind
    return sources, after


def _result(result: Mapping[str, Any], part_tokens: Sequence[Sequence[int]]) -> ResultData:
    """part_tokens: ids of the tokens of each part, for results without spans of their own."""
    notes = [result["reason"]] if result["reason"] else []
    token_scores = result["token_scores"]
    part_scores = [list(span["scores"]) for span in result["spans"]]
    part_ranks = [[int(rank) for rank in span["ranks"]] for span in result["spans"]]
    if not part_scores and token_scores is not None:
        part_scores = scores_of_parts(token_scores, part_tokens)
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
