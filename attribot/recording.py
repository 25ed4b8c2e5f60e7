"""Writing the records of a run so that a kill or a full disk never costs what was committed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from attribot.durable import (
    append,
    complete_lines,
    cut_back,
    lock,
    storage_errors,
    write_atomically,
)
from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary, Manifest, read_manifest
from attribot.records import (
    TABLES,
    CostRow,
    ExampleRow,
    MetricRow,
    Row,
    SourceRow,
    parse_lines,
    read_tables,
)


class RecordWriter:
    """Writes the records of one run, and continues those of a run that was interrupted.

    Opening a folder drops a torn last line and rows that were never committed, and takes the
    folder's own manifest, with this start noted in `resumed`. A finished run accepts no new rows.

        with RecordWriter(run_dir, manifest) as writer:
            writer.write_example(example_row)
            if not writer.is_done(example_row.example_id, "loo"):
                writer.write_method(source_rows, cost_row, metric_rows)
            writer.finish()

    Raises:
        RecordsError: the folder belongs to another run or other models, is damaged, or a write
            fails; what was committed stays readable.
    """

    def __init__(self, run_dir: Path, manifest: Manifest) -> None:
        self.run_dir = run_dir
        _opened_manifest(run_dir, manifest)
        self.manifest = manifest
        self._files = ExitStack()
        self._descriptors: dict[str, int] = {}
        self._examples: dict[str, dict[str, Any]] = {}
        self._done: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        with storage_errors(self.run_dir), ExitStack() as opened:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            for table in TABLES:
                # Unbuffered: nothing half-written is left over for a later write to flush.
                file = self._lines(table).open("ab", buffering=0)
                self._descriptors[table] = opened.enter_context(file).fileno()
            lock(self._descriptors["costs"], self._lines("costs"))
            # Once more, now that no other process can finish the run under our hands.
            self.manifest = _opened_manifest(self.run_dir, self.manifest)
            if self.is_finished:
                self._recall(read_tables(self.run_dir, self.manifest))
                self._remove_lines()
                return self
            write_atomically(self.run_dir / "manifest.json", self.manifest.to_json().encode())
            self._recover()
            self._files = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.close()

    @property
    def is_finished(self) -> bool:
        return self.manifest.finished_at is not None

    def is_done(self, example_id: str, method: str) -> bool:
        """Whether the rows of this pair are committed."""
        return (example_id, method) in self._done

    def write_example(self, row: ExampleRow) -> None:
        """Add an example; one that stands already is checked and left alone.

        Raises:
            RecordsError: it stands with other content, or the write fails.
        """
        line = self._encode("examples", [row])
        new, stored = json.loads(line), self._examples.get(row.example_id)
        if stored is None:
            self._refuse_if_finished()
            with self._all_or_nothing():
                append(self._descriptors["examples"], line)
            self._examples[row.example_id] = new
            return
        # The likelihood may differ in its last digits: batch sizes are no part of a run's identity.
        changed = [key for key in new if new[key] != stored[key]]
        if set(changed) - {"base_log_likelihood"}:
            raise RecordsError(
                f"example {row.example_id!r} stands in {self.run_dir} with another "
                f"{', '.join(changed)}: it is no longer what the run began with; start the run in "
                "a new folder"
            )

    def write_method(
        self, sources: Sequence[SourceRow], cost: CostRow, metrics: Sequence[MetricRow]
    ) -> None:
        """Commit what one method gave for one example.

        Raises:
            RecordsError: the rows are not those of one new pair, or the write fails; nothing of
                the pair stands then.
        """
        self._check_pair(sources, cost, metrics)
        lines = {
            "sources": self._encode("sources", sources),
            "metrics": self._encode("metrics", metrics),
            "costs": self._encode("costs", [cost]),
        }
        with self._all_or_nothing():
            for table, text in lines.items():
                append(self._descriptors[table], text)
        self._done.add((cost.example_id, cost.method))

    def finish(self, dataset: DatasetSummary | None = None) -> None:
        """Turn the JSON lines into Parquet; a finished run is left as it is.

        dataset: replaces the manifest's summary, where reasons to drop examples came up late.
        """
        if self.is_finished:
            return
        done = replace(
            self.manifest,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            dataset=dataset or self.manifest.dataset,
        )
        with storage_errors(self.run_dir):
            for name, table in read_tables(self.run_dir, self.manifest).items():
                buffer = io.BytesIO()
                pa.parquet.write_table(table, buffer, compression="zstd")
                write_atomically(self.run_dir / f"{name}.parquet", buffer.getvalue())
            # The manifest decides which files are read: until it says so, the JSON lines are.
            write_atomically(self.run_dir / "manifest.json", done.to_json().encode())
        self.manifest = done
        self._files.close()
        self._remove_lines()

    def _lines(self, table: str) -> Path:
        return self.run_dir / f"{table}.jsonl"

    def _remove_lines(self) -> None:
        for table in TABLES:
            self._lines(table).unlink(missing_ok=True)

    def _recover(self) -> None:
        """Cut every file back to its committed rows and recall what they are."""
        for table in ("examples", "costs"):
            cut_back(self._lines(table), lambda _: True)
        self._examples = {
            row["example_id"]: row for row, _ in complete_lines(self._lines("examples"))
        }
        self._done = {_pair(row) for row, _ in complete_lines(self._lines("costs"))}
        for table in ("sources", "metrics"):
            cut_back(self._lines(table), lambda row: _pair(row) in self._done)

    def _recall(self, tables: Mapping[str, pa.Table]) -> None:
        self._examples = {row["example_id"]: row for row in tables["examples"].to_pylist()}
        self._done = {_pair(row) for row in tables["costs"].to_pylist()}

    def _refuse_if_finished(self) -> None:
        if self.is_finished:
            raise RecordsError(
                f"the run in {self.run_dir} is finished and takes no new rows; start a new folder"
            )

    def _check_pair(
        self, sources: Sequence[SourceRow], cost: CostRow, metrics: Sequence[MetricRow]
    ) -> None:
        self._refuse_if_finished()
        pair = (cost.example_id, cost.method)
        rows: list[SourceRow | MetricRow] = [*sources, *metrics]
        others = {(row.example_id, row.method) for row in rows} - {pair}
        if others:
            raise RecordsError(f"expected rows of {pair} only, got some of {sorted(others)}")
        if cost.method not in self.manifest.methods:
            raise RecordsError(
                f"unknown method {cost.method!r}; the manifest lists: "
                f"{', '.join(self.manifest.methods)}"
            )
        if pair in self._done:
            raise RecordsError(f"{pair} is recorded already; ask is_done before the work")
        if cost.example_id not in self._examples:
            raise RecordsError(f"write_example must come before write_method of {pair}")

    def _encode(self, table: str, rows: Sequence[Row]) -> bytes:
        """JSON lines of rows, checked against the schema before anything is written."""
        strangers = {row.run_id for row in rows} - {self.manifest.run_id}
        if strangers:
            raise RecordsError(
                f"expected rows of the run {self.manifest.run_id}, got {sorted(strangers)}"
            )
        try:
            text = "".join(
                json.dumps(asdict(row), ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
                for row in rows
            ).encode()
            parse_lines(text, table)
            return text
        except (TypeError, ValueError) as error:
            raise RecordsError(
                f"a row of {table} cannot be recorded ({error}); a missing number is None, not NaN"
            ) from error

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Take back what was appended unless the block ends well."""
        sizes = {file: os.fstat(file).st_size for file in self._descriptors.values()}
        is_complete = False
        with storage_errors(self.run_dir):
            try:
                yield
                is_complete = True
            finally:
                if not is_complete:
                    for file, size in sizes.items():
                        os.ftruncate(file, size)


def _plain(value: object) -> object:
    """The Python number of a NumPy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is neither text nor a number")


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["example_id"], row["method"]


def _opened_manifest(run_dir: Path, new: Manifest) -> Manifest:
    """The manifest to go on with: `new` in an empty folder, else the folder's own."""
    if not (run_dir / "manifest.json").exists():
        return new
    stored = read_manifest(run_dir)
    if stored.run_id != new.run_id:
        raise RecordsError(
            f"{run_dir} holds the run {stored.run_id}, this run is {new.run_id}: their settings "
            "differ; choose another folder or repeat the first run's settings"
        )
    for role, model in stored.models.items():
        if role not in new.models or replace(new.models[role], device=model.device) != model:
            raise RecordsError(
                f"the model of role {role!r} is not the one that {run_dir} began with: expected "
                f"{model}, got {new.models.get(role)}; choose another folder"
            )
    if stored.finished_at is not None:
        return stored
    return replace(stored, resumed=(*stored.resumed, new.circumstances()))
