"""Results as spans, as OpenTelemetry exports them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attribot.errors import InvalidInputError, MissingExtraError
from attribot.explain.result import AttributionResult
from attribot.integrations.openinference import export_span
from tests.explain.test_result import result_of

pytest.importorskip("openinference.semconv", reason="needs the extra openinference")
pytest.importorskip("opentelemetry.sdk", reason="spans are exported by opentelemetry-sdk")

from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

NUM_ATTRIBUTES_OF_RESULT = 6 + 3 * 3 + 4 * 2


class Exported:
    """A tracer, and the spans that it has exported."""

    def __init__(self, max_attributes: int | None = None) -> None:
        provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=max_attributes))
        self.exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("tests")

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())


def attributes_of(result: AttributionResult) -> Mapping[str, Any]:
    exported = Exported()
    export_span(result, exported.tracer)
    (span,) = exported.spans()
    return dict(span.attributes)


def documents(attributes: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    """The attributes of every document of a list, in its order."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(f"reranker.{which}_documents."):
            _, _, position, name = key.split(".", 3)
            found.setdefault(int(position), {})[name] = value
    assert sorted(found) == list(range(len(found)))
    return [found[position] for position in sorted(found)]


def test_a_result_is_the_span_of_a_reranker() -> None:
    result = result_of()
    attributes = attributes_of(result)
    assert attributes["openinference.span.kind"] == "RERANKER"
    assert attributes["reranker.query"] == "Why?"
    assert attributes["reranker.model_name"] == "tiny"
    assert attributes["input.mime_type"] == "application/json"
    assert json.loads(attributes["input.value"]) == {"query": "Why?", "response": result.response}
    metadata = json.loads(attributes["metadata"])
    assert (metadata["method"], metadata["unit"]) == ("mask", "nats")
    assert metadata["cost"]["forward_passes"] == 7
    assert len(attributes) == NUM_ATTRIBUTES_OF_RESULT


def test_sources_go_in_by_place_and_come_out_by_rank() -> None:
    result = replace(
        result_of(),
        sources=tuple(
            replace(source, score=score, rank=rank)
            for source, score, rank in zip(
                result_of().sources, (-1.5, np.nan, 3.0), (2, 3, 1), strict=True
            )
        ),
    )
    attributes = attributes_of(result)
    first, pruned, last = documents(attributes, "input")
    assert [each["document.content"] for each in (first, pruned, last)] == [
        source.text for source in result.sources
    ]
    assert documents(attributes, "output") == [
        last | {"document.score": 3.0},
        first | {"document.score": -1.5},
    ]
    assert not any("document.score" in each for each in (first, pruned, last))
    assert first["document.id"] == "a<b"
    assert json.loads(last["document.metadata"]) == {
        "page": 7,
        "attribot": {"number": 3, "paragraph": 0, "char_start": 25, "char_end": 30},
    }


def test_a_part_of_the_response_is_a_span_of_its_own() -> None:
    part = result_of().span(12, 31)
    attributes = attributes_of(part)
    assert json.loads(attributes["input.value"])["response"] == "<i>Second</i> part."
    scores = [each["document.score"] for each in documents(attributes, "output")]
    assert scores == [0.5, 0.25, 0.125]


def test_a_span_is_a_child_of_the_current_one() -> None:
    exported = Exported()
    with exported.tracer.start_as_current_span("answer"):
        export_span(result_of(), exported.tracer, "why")
    child, parent = exported.spans()
    assert (child.name, child.parent.span_id) == ("why", parent.context.span_id)
    assert child.status.is_ok or child.status.is_unset


def test_a_tracer_that_would_drop_attributes_is_refused() -> None:
    exact = Exported(NUM_ATTRIBUTES_OF_RESULT)
    export_span(result_of(), exact.tracer)
    assert len(exact.spans()[0].attributes) == NUM_ATTRIBUTES_OF_RESULT
    short = Exported(NUM_ATTRIBUTES_OF_RESULT - 1)
    message = f"keeps 22 of {NUM_ATTRIBUTES_OF_RESULT} attributes of a result with 3 sources"
    with pytest.raises(InvalidInputError, match=message):
        export_span(result_of(), short.tracer)
    assert short.spans() == []


def test_a_tracer_that_records_nothing_gets_nothing() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    export_span(result_of(), provider.get_tracer("tests"))
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("value", [object(), np.nan, {1, 2}])
def test_metadata_that_json_cannot_hold_are_named(value: Any) -> None:
    odd = tuple(replace(source, metadata={"when": value}) for source in result_of().sources)
    exported = Exported()
    with pytest.raises(InvalidInputError, match="the metadata of documents must be texts"):
        export_span(replace(result_of(), sources=odd), exported.tracer)
    assert exported.spans() == []


def test_without_the_conventions_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openinference.semconv.trace", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'attribot\[openinference\]'"):
        export_span(result_of(), Exported().tracer)
