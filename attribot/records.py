"""Records of a run: four flat tables, JSON lines while it runs and Parquet when it is done.

    RUN_DIR/manifest.json
    RUN_DIR/{examples,sources,costs,metrics}.jsonl      while running
    RUN_DIR/{examples,sources,costs,metrics}.parquet    when done

The rows of one (example, method) count once its cost row stands: it is written last. A run that is
killed anywhere has either all rows of a pair or, after it is opened again, none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from attribot.errors import RecordsError
from attribot.manifest import SCHEMA_VERSION, Manifest, read_manifest
from attribot.types import IntArray

# Arrow wants every JSON line to fit one block: room for a context of many million chars.
BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class ExampleRow:
    """One example as it was attributed.

    context: the full context as rendered; char offsets of sources count in it.
    gold_sources: ids of the sources that overlap annotated evidence.
    base_log_likelihood: of the response under the full context, target model [nats].
    """

    run_id: str
    example_id: str
    dataset: str
    split: str
    query: str
    context: str
    response: str
    answer: str | None
    num_sources: int
    num_prompt_tokens: int
    num_response_tokens: int
    prompt_sha: str
    response_sha: str
    gold_sources: tuple[int, ...]
    base_log_likelihood: float | None


@dataclass(frozen=True)
class SourceRow:
    """One source of one example under one method.

    parent_id: ordinal of the paragraph it lies in.
    char_start, char_end: its text without separator is `context[char_start:char_end]`.
    score: None when the final stage pruned it.
    priority: larger = ranked earlier, equal = tied; see `types.Attribution.priority`.
    base_log_likelihood, ablated_log_likelihood: of the final stage [nats]; None without one.
    """

    run_id: str
    example_id: str
    dataset: str
    method: str
    source_id: int
    document_id: str
    parent_id: int
    char_start: int
    char_end: int
    score: float | None
    priority: float
    is_pruned: bool
    base_log_likelihood: float | None
    ablated_log_likelihood: float | None


@dataclass(frozen=True)
class CostRow:
    """What one method cost on one example; see `types.Cost`.

    wall_seconds: None where the method's time was not measured on its own.
    is_response_reencoded: a proxy with another tokenizer encoded the response's text anew.
    """

    run_id: str
    example_id: str
    dataset: str
    method: str
    forward_passes: int
    computed_tokens: int
    reused_tokens: int
    flops: float
    wall_seconds: float | None
    peak_memory_bytes: int
    is_response_reencoded: bool


@dataclass(frozen=True)
class MetricRow:
    """One metric of one method on one example; None where it is not defined."""

    run_id: str
    example_id: str
    dataset: str
    method: str
    metric: str
    value: float | None


Row = ExampleRow | SourceRow | CostRow | MetricRow
TABLES: Mapping[str, type[Row]] = {
    "examples": ExampleRow,
    "sources": SourceRow,
    "costs": CostRow,
    "metrics": MetricRow,
}
_ARROW_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    str | None: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    float | None: pa.float64(),
    bool: pa.bool_(),
    tuple[int, ...]: pa.list_(pa.int64()),
}


@cache
def table_schema(table: str) -> pa.Schema:
    """Arrow schema of a table: the fields of its row type, in order."""
    types = get_type_hints(TABLES[table])
    columns = [(field.name, _ARROW_TYPES[types[field.name]]) for field in fields(TABLES[table])]
    return pa.schema(columns, metadata={"attribot.schema_version": str(SCHEMA_VERSION)})


def parse_lines(content: bytes, table: str) -> pa.Table:
    """Rows of a table from JSON lines.

    Raises:
        pyarrow.ArrowInvalid: a line is not JSON or does not fit the schema.
    """
    schema = table_schema(table)
    if not content:
        return schema.empty_table()
    rows = pa.json.read_json(
        io.BytesIO(content),
        read_options=pa.json.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pa.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="error"
        ),
    )
    return rows.replace_schema_metadata(schema.metadata)


@dataclass(frozen=True, eq=False)
class Records:
    """All committed rows of a run; missing numbers are NaN, missing texts None or NaN."""

    manifest: Manifest
    examples: pd.DataFrame
    sources: pd.DataFrame
    costs: pd.DataFrame
    metrics: pd.DataFrame


def read_records(run_dir: Path) -> Records:
    """Records of a finished run (Parquet) or of one that is running or was killed (JSON lines).

    Rows come in canonical order: data set, example, method, source id or metric.

    Raises:
        RecordsError: no run folder, another schema, or a damaged file.
    """
    manifest = read_manifest(run_dir)
    tables = read_tables(run_dir, manifest)
    return Records(manifest, **{name: table.to_pandas() for name, table in tables.items()})


def read_tables(run_dir: Path, manifest: Manifest) -> dict[str, pa.Table]:
    """Committed rows of every table in canonical order."""
    if manifest.finished_at is not None:
        return {name: _read_parquet(run_dir / f"{name}.parquet") for name in TABLES}
    # Costs first: what a cost row commits is on disk before it, even while the run goes on.
    order = ("costs", "examples", "sources", "metrics")
    tables = {name: _read_lines(run_dir, name) for name in order}
    return _canonical(tables, manifest)


def _read_parquet(path: Path) -> pa.Table:
    try:
        # A folder named "key=value", as sweeps have them, is no partition and adds no column.
        return pa.parquet.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise RecordsError(f"{path} cannot be read ({error}); restore it from a copy") from error


def _read_lines(run_dir: Path, name: str) -> pa.Table:
    """Rows of a JSON lines file without a torn last line."""
    path = run_dir / f"{name}.jsonl"
    content = path.read_bytes() if path.exists() else b""
    content = content[: content.rfind(b"\n") + 1]
    try:
        return parse_lines(content, name)
    except pa.ArrowInvalid as error:
        raise RecordsError(f"{path} is damaged ({error}); restore it or start afresh") from error


def _canonical(tables: Mapping[str, pa.Table], manifest: Manifest) -> dict[str, pa.Table]:
    """Committed rows, by data set, example (as written), method (as in the manifest), row."""
    examples = tables["examples"]
    datasets = examples["dataset"].to_pylist()
    order = sorted(range(len(datasets)), key=lambda position: (datasets[position], position))
    out = {"examples": examples.take(np.asarray(order, dtype=np.int64))}
    example_rank = {
        name: rank for rank, name in enumerate(out["examples"]["example_id"].to_pylist())
    }
    method_rank = {name: rank for rank, name in enumerate(manifest.methods)}

    def pair_ranks(table: pa.Table) -> IntArray:
        pairs = zip(table["example_id"].to_pylist(), table["method"].to_pylist(), strict=True)
        ranks = [example_rank[e] * len(method_rank) + method_rank[m] for e, m in pairs]
        return np.asarray(ranks, dtype=np.int64)

    committed = pair_ranks(tables["costs"])
    for name, column in (("sources", "source_id"), ("costs", "method"), ("metrics", "metric")):
        ranks = pair_ranks(tables[name])
        within = np.unique(np.asarray(tables[name][column].to_pylist()), return_inverse=True)[1]
        rows = np.lexsort((within, ranks))
        out[name] = tables[name].take(rows[np.isin(ranks[rows], committed)])
    return out
