"""Runs of made-up attributions: any scores, and the metrics that the evaluator gives for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.manifest import Manifest, MethodInfo
from attribot.recording import RecordWriter
from attribot.records import (
    TABLES,
    CostRow,
    ExampleRow,
    MetricRow,
    Records,
    SourceRow,
    table_schema,
)
from attribot.types import Attribution, Cost, FloatArray
from tests.synthetic_run import manifest

REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class ScoredExample:
    """An example and what every method said of it.

    scores: by method, `[num_sources]` or `[num_stages, num_sources]`, final stage first; those of
        the reference are exact.
    sizes: sentences per paragraph; None puts all into one.
    """

    name: str
    scores: Mapping[str, ArrayLike]
    sizes: Sequence[int] | None = None
    dataset: str = "made_up"
    query: str | None = None
    response: str = "Paris."

    def stages(self, method: str) -> FloatArray:
        return np.atleast_2d(np.asarray(self.scores[method], dtype=np.float64))

    @property
    def paragraphs(self) -> list[int]:
        num_sources = self.stages(REFERENCE).shape[1]
        sizes = self.sizes or [num_sources]
        assert sum(sizes) == num_sources
        return [index for index, size in enumerate(sizes) for _ in range(size)]


def scored_records(
    examples: Sequence[ScoredExample],
    kinds: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    evaluation: FaithfulnessEvaluation | None = None,
    **changes: Any,
) -> Records:
    """Records of the examples; `kinds` by method, the reference aside.

    changes: fields of the manifest.
    """
    of = _manifest(kinds, config, **changes)
    rows: dict[str, list[Any]] = {name: [] for name in TABLES}
    for example in examples:
        rows["examples"].append(_example_row(of.run_id, example))
        for pair in _pairs(of, example, evaluation):
            for name, own in zip(("sources", "costs", "metrics"), pair, strict=True):
                rows[name] += own if isinstance(own, list) else [own]
    tables = {
        name: pa.Table.from_pylist([asdict(row) for row in own], schema=table_schema(name))
        for name, own in rows.items()
    }
    return Records(of, **{name: table.to_pandas() for name, table in tables.items()})


def write_run(
    run_dir: Path,
    examples: Sequence[ScoredExample],
    kinds: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """The same as the folder of a finished run."""
    of = _manifest(kinds, config, **changes)
    with RecordWriter(run_dir, of) as writer:
        for example in examples:
            writer.write_example(_example_row(of.run_id, example))
            for pair in _pairs(of, example, None):
                writer.write_method(*pair)
        writer.finish()
    return run_dir


def _manifest(
    kinds: Mapping[str, Any], config: Mapping[str, Any] | None, **changes: Any
) -> Manifest:
    methods = {
        name: MethodInfo(name.replace("_", " "), kind, f"hash of {name}")
        for name, kind in {REFERENCE: "exact", **kinds}.items()
    }
    return manifest(naive=None, **{"methods": methods, "config": config or {}, **changes})


def _pairs(
    of: Manifest, example: ScoredExample, evaluation: FaithfulnessEvaluation | None
) -> Iterator[tuple[list[SourceRow], CostRow, list[MetricRow]]]:
    for method in of.methods:
        if method in example.scores:
            yield _pair_rows(of.run_id, example, method, evaluation)


def _example_row(run_id: str, example: ScoredExample) -> ExampleRow:
    num_sources = len(example.paragraphs)
    return ExampleRow(
        run_id=run_id,
        example_id=example.name,
        dataset=example.dataset,
        split="test",
        query=example.query or f"What of {example.name}?",
        context="A. " * num_sources,
        response=example.response,
        answer=None,
        num_sources=num_sources,
        num_prompt_tokens=40,
        num_response_tokens=3,
        prompt_sha="p",
        response_sha="r",
        gold_sources=(),
        base_log_likelihood=-1.5,
    )


def _pair_rows(
    run_id: str,
    example: ScoredExample,
    method: str,
    evaluation: FaithfulnessEvaluation | None,
) -> tuple[list[SourceRow], CostRow, list[MetricRow]]:
    keys = {
        "run_id": run_id,
        "example_id": example.name,
        "dataset": example.dataset,
        "method": method,
    }
    attribution = Attribution(example.stages(method), Cost())
    numbers = zip(
        itertools.count(),
        example.paragraphs,
        attribution.scores.tolist(),
        attribution.priority.tolist(),
        strict=False,
    )
    sources = [
        SourceRow(
            **keys,
            source_id=source,
            document_id="page",
            parent_id=paragraph,
            char_start=3 * source,
            char_end=3 * source + 2,
            score=None if math.isnan(score) else score,
            priority=priority,
            is_pruned=math.isnan(score),
            base_log_likelihood=-1.5,
            ablated_log_likelihood=None if "baseline" in method else -1.5,
        )
        for source, paragraph, score, priority in numbers
    ]
    cost = CostRow(
        **keys,
        forward_passes=1,
        computed_tokens=10,
        reused_tokens=0,
        flops=1e9,
        wall_seconds=None,
        peak_memory_bytes=0,
        is_response_reencoded=False,
    )
    if method == REFERENCE:
        return sources, cost, []
    values = (evaluation or FaithfulnessEvaluation()).evaluate(
        attribution, example.stages(REFERENCE)[0]
    )
    metrics = [
        MetricRow(**keys, metric=name, value=None if math.isnan(value) else value)
        for name, value in values
    ]
    return sources, cost, metrics
