"""Results as spans of OpenTelemetry, by the conventions of OpenInference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attribot.errors import InvalidInputError
from attribot.explain.result import AttributionResult, SourceScore
from attribot.extras import import_extra

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

RESULT_FIELDS = (
    "method",
    "reason",
    "unit",
    "cost",
    "noise_floor",
    "base_log_likelihood",
    "provenance",
)


def export_span(result: AttributionResult, tracer: Tracer, name: str = "attribution") -> None:
    """Writes a result as one span, a child of the span that is current.

        with tracer.start_as_current_span("answer"):
            ...
            export_span(result, tracer)

    Its kind is RERANKER, for what attribution does: documents go in, and come out in an order, with
    scores. The documents are the sources: as input in the order of the context, as output by rank,
    with their `document.score` in the unit of the result; those that were pruned are not put out.
    Such a score says what the source did for the response, that of another reranker what it has to
    do with the query. Input value are query and response, `metadata` have method, unit and cost;
    those of a document have the place of the source under `attribot`. The span lasts only as long
    as it is written. For a part of the response, export `result.span(start, end)`.

    tracer: may limit attributes, OpenTelemetry's own default is 128; this takes 7 for each source
        and 6 more.

    Raises:
        MissingExtraError: openinference-semantic-conventions is not installed.
        InvalidInputError: the tracer would drop attributes, and nothing is exported; or the
            metadata of a document do not go into JSON.
    """
    attributes = span_attributes(result)
    span = tracer.start_span(name, attributes=attributes)
    dropped = getattr(span, "dropped_attributes", 0)
    if dropped:
        # A span that does not end is not exported.
        raise InvalidInputError(
            f"the tracer keeps {len(attributes) - dropped} of {len(attributes)} attributes of a "
            f"result with {len(result.sources)} sources: make it with "
            f"TracerProvider(span_limits=SpanLimits(max_span_attributes=...)), or set "
            f"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
        )
    span.end()


def span_attributes(result: AttributionResult) -> dict[str, str | float]:
    """The attributes of the span; see `export_span`."""
    conventions = import_extra("openinference.semconv.trace", "openinference")
    span, reranker = conventions.SpanAttributes, conventions.RerankerAttributes
    plain = result.to_dict()
    attributes: dict[str, str | float] = {
        span.OPENINFERENCE_SPAN_KIND: conventions.OpenInferenceSpanKindValues.RERANKER.value,
        span.INPUT_VALUE: _json({"query": result.query, "response": result.response}),
        span.INPUT_MIME_TYPE: conventions.OpenInferenceMimeTypeValues.JSON.value,
        span.METADATA: _json({key: plain[key] for key in RESULT_FIELDS}),
        reranker.RERANKER_QUERY: result.query,
        reranker.RERANKER_MODEL_NAME: result.model,
    }
    key = conventions.DocumentAttributes
    for position, source in enumerate(result.sources):
        document = f"{reranker.RERANKER_INPUT_DOCUMENTS}.{position}"
        attributes |= _document_attributes(document, source, key)
    ranked = [source for source in result.top(len(result.sources)) if not source.is_pruned]
    for position, source in enumerate(ranked):
        document = f"{reranker.RERANKER_OUTPUT_DOCUMENTS}.{position}"
        attributes |= _document_attributes(document, source, key)
        attributes[f"{document}.{key.DOCUMENT_SCORE}"] = source.score
    return attributes


def _document_attributes(document: str, source: SourceScore, key: Any) -> dict[str, str]:
    """What a source is, whatever its score.

    document: prefix of the attributes. key: the names of OpenInference.
    """
    place = {
        "number": source.number,
        "paragraph": source.paragraph,
        "char_start": source.char_start,
        "char_end": source.char_end,
    }
    return {
        f"{document}.{key.DOCUMENT_ID}": source.document_id,
        f"{document}.{key.DOCUMENT_CONTENT}": source.text,
        f"{document}.{key.DOCUMENT_METADATA}": _json({**source.metadata, "attribot": place}),
    }


def _json(plain: Mapping[str, Any]) -> str:
    try:
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the result does not go into a span ({error}): the metadata of documents must be "
            f"texts, finite numbers, lists and mappings"
        ) from error
