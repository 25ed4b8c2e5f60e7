"""A small made-up run: three examples, four methods, every kind of row and of missing value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from attribot.manifest import DatasetSummary, Manifest, MethodInfo, ModelInfo
from attribot.recording import RecordWriter
from attribot.records import CostRow, ExampleRow, MetricRow, SourceRow

RUN_ID = "0123456789ab"
METHODS = {
    "loo_naive": MethodInfo("LeaveOneOut(target), no reuse", "exact", "a0"),
    "reference": MethodInfo("LeaveOneOut(target)", "exact", "a1"),
    "hierarchical": MethodInfo("TwoStage(paragraph, TopK(1))", "trick", "a2"),
    "similarity": MethodInfo("Similarity", "baseline", "a3"),
}
SECONDS = {"loo_naive": 8.0, "reference": 4.0, "hierarchical": 1.0, "similarity": 0.25}
SENTENCES = (
    "Paris is the capital of France. ",
    "It lies on the Seine. \n\n",
    "Ada 👩🏽‍💻 likes <b>tea</b>. ",
    "Ben likes coffee. \n\n",
)

Pair = tuple[list[SourceRow], CostRow, list[MetricRow]]


def manifest(naive: str | None = "loo_naive", **changes: object) -> Manifest:
    """The manifest of the made-up run."""
    methods = {name: info for name, info in METHODS.items() if name != "loo_naive" or naive}
    base = Manifest(
        run_id=RUN_ID,
        config={"dataset": {"name": "made_up"}, "methods": ["loo"]},
        methods=methods,
        models={
            "target": ModelInfo(
                "tiny", None, "w0", "float32", "eager", "c0", num_parameters=1000, device="cpu"
            )
        },
        dataset=DatasetSummary("made_up", num_read=4, dropped={"empty response": 1}),
        reference="reference",
        naive=naive,
        seed=0,
        git_commit="deadbeef",
        is_dirty=False,
        versions={"python": "3.11"},
        hardware={"cpu": "abacus", "cores": 2, "gpu": None},
        started_at="2026-01-01T00:00:00+00:00",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def example_row(index: int, sentences: tuple[str, ...] = SENTENCES, query: str = "") -> ExampleRow:
    """One example; the second has no answer and no gold sources."""
    return ExampleRow(
        run_id=RUN_ID,
        example_id=f"example-{index}",
        dataset="made_up",
        split="test",
        query=query or f"What is the capital, number {index}?",
        context="".join(sentences),
        response="Paris.",
        answer=None if index == 1 else "Paris",
        num_sources=len(sentences),
        num_prompt_tokens=40,
        num_response_tokens=3,
        prompt_sha=f"p{index}",
        response_sha=f"r{index}",
        gold_sources=() if index == 1 else (0,),
        base_log_likelihood=-1.5,
    )


def pair_rows(
    example: ExampleRow,
    method: str,
    sentences: tuple[str, ...] = SENTENCES,
    is_timed: bool = True,
) -> Pair:
    """Rows of one method on one example: decimals that do not fit binary floats, Nones, ties."""
    index = int(example.example_id.split("-")[1])
    noise = np.random.default_rng([index, *method.encode()]).normal(0, 0.1, len(sentences))
    scores = np.linspace(2, -1, len(sentences)) + (0 if "loo" in method else noise)
    half = len(sentences) // 2
    ends = np.cumsum([len(text) for text in sentences])
    keys = {"run_id": RUN_ID, "example_id": example.example_id, "dataset": example.dataset}
    sources = []
    for source, text in enumerate(sentences):
        is_pruned = method == "hierarchical" and source >= half
        has_likelihood = method != "similarity" and not is_pruned
        score = float(scores[source])
        sources.append(
            SourceRow(
                **keys,
                method=method,
                source_id=source,
                document_id=f"page {2 * source // len(sentences)}",
                parent_id=2 * source // len(sentences),
                char_start=int(ends[source]) - len(text),
                char_end=int(ends[source]) - len(text) + len(text.rstrip()),
                score=None if is_pruned else score,
                priority=1.0 if is_pruned else float(2 + (scores < score).sum()),
                is_pruned=is_pruned,
                base_log_likelihood=-1.5 if has_likelihood else None,
                ablated_log_likelihood=-1.5 - score if has_likelihood else None,
            )
        )
    cost = CostRow(
        **keys,
        method=method,
        forward_passes=len(sentences) + 1,
        computed_tokens=int(100 * SECONDS[method]),
        reused_tokens=0 if method == "loo_naive" else 90,
        flops=1e9 * SECONDS[method],
        wall_seconds=SECONDS[method] * (1 + 0.1 * index) if is_timed else None,
        peak_memory_bytes=0,
        is_response_reencoded=False,
    )
    has_outliers = index != 1
    precision = {"hierarchical": 0.9, "similarity": 0.5}.get(method, 1.0) - 0.1 * index
    values = {
        "average_precision": precision if has_outliers else None,
        "has_outliers": float(has_outliers),
        "spearman": 1 - 0.1 * index,
        "pearson": 0.8,
        "top1_hit": float(method != "similarity"),
        "recall@3": 0.7 if has_outliers else None,
        "gold_average_precision": None if index == 1 else 0.6,
    }
    metrics = [MetricRow(**keys, method=method, metric=m, value=v) for m, v in values.items()]
    return sources, cost, metrics


def examples(count: int = 3) -> list[ExampleRow]:
    return [example_row(index) for index in range(count)]


def pairs(of: Manifest, rows: list[ExampleRow]) -> Iterator[tuple[ExampleRow, str]]:
    """Example and method, in the order of a run."""
    for row in rows:
        for method in of.methods:
            yield row, method


def continue_run(
    run_dir: Path, of: Manifest | None = None, num_pairs: int = 100, is_timed: bool = True
) -> None:
    """Write what is missing, `num_pairs` pairs at most; finish if nothing is missing then."""
    of = of or manifest()
    with RecordWriter(run_dir, of) as writer:
        for row, method in pairs(of, examples()):
            writer.write_example(row)
            if not writer.is_done(row.example_id, method):
                if num_pairs == 0:
                    return
                writer.write_method(*pair_rows(row, method, is_timed=is_timed))
                num_pairs -= 1
        writer.finish()
