"""Records survive kills and full disks, and a resumed run equals an uninterrupted one."""

import errno
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from attribot.errors import RecordsError
from attribot.manifest import SCHEMA_VERSION, DatasetSummary, ModelInfo
from attribot.recording import RecordWriter
from attribot.records import TABLES, Records, read_records
from tests.synthetic_run import continue_run, example_row, examples, manifest, pair_rows, pairs

NUM_PAIRS = 3 * 4


def written() -> dict[str, list[dict[str, Any]]]:
    """All rows of the made-up run as they went in, in canonical order."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    rows["examples"] = [asdict(row) for row in examples()]
    for example, method in pairs(manifest(), examples()):
        sources, cost, metrics = pair_rows(example, method)
        rows["sources"] += [asdict(row) for row in sources]
        rows["costs"].append(asdict(cost))
        rows["metrics"] += sorted((asdict(row) for row in metrics), key=lambda row: row["metric"])
    return rows


def assert_equal(records: Records, expected: dict[str, list[dict[str, Any]]]) -> None:
    for table, rows in expected.items():
        frame = getattr(records, table)
        assert list(frame.columns) == list(TABLES[table].__annotations__)
        as_read = [{k: _as_written(v) for k, v in row.items()} for row in frame.to_dict("records")]
        assert as_read == rows


def _as_written(value: Any) -> Any:
    """Missing values are NaN in a data frame, lists are arrays."""
    if isinstance(value, np.ndarray):
        return tuple(value)
    return None if pd.isna(value) else value


def test_parquet_and_json_lines_give_back_every_row(tmp_path: Path) -> None:
    running, done = tmp_path / "running", tmp_path / "a=b" / "done"
    with RecordWriter(running, manifest()) as writer:
        for example, method in pairs(manifest(), examples()):
            writer.write_example(example)
            writer.write_method(*pair_rows(example, method))
    continue_run(done)
    assert_equal(read_records(running), written())
    assert_equal(read_records(done), written())
    assert sorted(path.name for path in done.iterdir()) == sorted(
        ["manifest.json", *(f"{table}.parquet" for table in TABLES)]
    )


def test_seconds_may_be_missing(tmp_path: Path) -> None:
    running, done = tmp_path / "running", tmp_path / "done"
    continue_run(running, num_pairs=5, is_timed=False)
    continue_run(done, is_timed=False)
    for run_dir, num_pairs in ((running, 5), (done, NUM_PAIRS)):
        costs = read_records(run_dir).costs
        assert costs["wall_seconds"].dtype == np.float64
        assert costs["wall_seconds"].isna().tolist() == [True] * num_pairs
        assert costs["computed_tokens"].gt(0).all()


def test_manifest_and_schema_version_are_stored(tmp_path: Path) -> None:
    continue_run(tmp_path)
    stored = read_records(tmp_path).manifest
    assert stored.finished_at is not None
    assert replace(stored, finished_at=None) == manifest()
    for table in TABLES:
        metadata = pyarrow.parquet.read_schema(tmp_path / f"{table}.parquet").metadata
        assert metadata[b"attribot.schema_version"] == str(SCHEMA_VERSION).encode()


@pytest.mark.parametrize("num_pairs", [0, 1, 5, NUM_PAIRS - 1])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, num_pairs: int) -> None:
    continue_run(tmp_path / "whole")
    continue_run(tmp_path / "resumed", num_pairs=num_pairs)
    continue_run(tmp_path / "resumed")
    for table in TABLES:
        whole = (tmp_path / "whole" / f"{table}.parquet").read_bytes()
        assert (tmp_path / "resumed" / f"{table}.parquet").read_bytes() == whole


@pytest.mark.slow
def test_a_kill_at_any_byte_loses_the_open_pair_only(tmp_path: Path) -> None:
    """Every prefix of the byte stream of one pair, in the order it is written."""
    continue_run(tmp_path / "before", num_pairs=5)
    continue_run(tmp_path / "after", num_pairs=6)
    continue_run(tmp_path / "whole")
    stream = [
        (table, (tmp_path / "after" / f"{table}.jsonl").read_bytes())
        for table in ("examples", "sources", "metrics", "costs")
    ]
    starts = {table: (tmp_path / "before" / f"{table}.jsonl").stat().st_size for table, _ in stream}
    total = sum(len(content) - starts[table] for table, content in stream)
    for cut in [*range(0, total, 397), total - 1, total]:
        killed, left = tmp_path / f"cut-{cut}", cut
        shutil.copytree(tmp_path / "before", killed)
        for table, content in stream:
            size = min(len(content), starts[table] + left)
            left -= size - starts[table]
            (killed / f"{table}.jsonl").write_bytes(content[:size])
        num_done = 6 if cut == total else 5
        costs = pd.DataFrame(written()["costs"][:num_done])
        pd.testing.assert_frame_equal(read_records(killed).costs, costs, check_dtype=False)
        assert len(read_records(killed).sources) == 4 * num_done
        continue_run(killed)
        for table in TABLES:
            whole = (tmp_path / "whole" / f"{table}.parquet").read_bytes()
            assert (killed / f"{table}.parquet").read_bytes() == whole


def test_a_kill_between_parquet_and_manifest_changes_nothing(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=NUM_PAIRS - 1)
    for table in TABLES:
        (tmp_path / f"{table}.parquet").write_bytes(b"half a file")
    assert len(read_records(tmp_path).costs) == NUM_PAIRS - 1
    continue_run(tmp_path)
    assert_equal(read_records(tmp_path), written())


def test_a_full_disk_keeps_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    room = 700

    def write_until_full(descriptor: int, content: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size = write(descriptor, content[:room])
        room -= size
        return size

    continue_run(tmp_path, num_pairs=2)
    with RecordWriter(tmp_path, manifest()) as writer:
        pair = pair_rows(examples()[0], "hierarchical")
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write_until_full)
            with pytest.raises(RecordsError, match=r"No space left.*make room.*same command") as e:
                writer.write_method(*pair)
        assert isinstance(e.value.__cause__, OSError)
        assert len(read_records(tmp_path).costs) == 2
        assert not writer.is_done("example-0", "hierarchical")
        writer.write_method(*pair)
    assert len(read_records(tmp_path).sources) == 3 * 4
    continue_run(tmp_path)
    assert_equal(read_records(tmp_path), written())


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        RecordWriter(tmp_path, manifest()),
        pytest.raises(RecordsError, match=r"another process is writing .*costs\.jsonl"),
        RecordWriter(tmp_path, manifest()),
    ):
        pass
    continue_run(tmp_path)


def test_another_run_is_refused_by_both_names(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=1)
    with pytest.raises(RecordsError, match="holds the run 0123456789ab, this run is ffff"):
        RecordWriter(tmp_path, manifest(run_id="ffff"))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=1)
    target = manifest().models["target"]
    moved = manifest(models={"target": replace(target, device="cuda")})
    with RecordWriter(tmp_path, moved):
        pass
    other: dict[str, ModelInfo] = {"target": replace(target, weights_sha="w1")}
    with pytest.raises(RecordsError, match=r"role 'target'.*'w0'.*'w1'"):
        RecordWriter(tmp_path, manifest(models=other))


def test_later_starts_are_noted(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=1)
    later = manifest(started_at="2026-01-02T00:00:00+00:00", hardware={"cpu": "faster"})
    continue_run(tmp_path, later)
    continue_run(tmp_path, later)
    stored = read_records(tmp_path).manifest
    assert stored.started_at == manifest().started_at
    assert stored.resumed == (later.circumstances(),)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    continue_run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    continue_run(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with RecordWriter(tmp_path, manifest()) as writer:
        assert writer.is_done("example-2", "similarity")
        with pytest.raises(RecordsError, match="is finished and takes no new rows"):
            writer.write_example(example_row(7))
        with pytest.raises(RecordsError, match="is finished and takes no new rows"):
            writer.write_method(*pair_rows(example_row(0), "reference"))


def test_finish_may_replace_the_dataset_summary(tmp_path: Path) -> None:
    dropped = DatasetSummary("made_up", 4, {"prompt too long": 4})
    with RecordWriter(tmp_path, manifest()) as writer:
        writer.finish(dropped)
    records = read_records(tmp_path)
    assert records.manifest.dataset == dropped
    assert records.costs.empty
    assert list(records.costs.columns) == list(TABLES["costs"].__annotations__)


def test_an_example_must_stay_what_it_was(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=1)
    with RecordWriter(tmp_path, manifest()) as writer:
        writer.write_example(replace(example_row(0), base_log_likelihood=-1.5000001))
        with pytest.raises(RecordsError, match=r"'example-0'.*another response_sha: .*new folder"):
            writer.write_example(replace(example_row(0), response_sha="other"))
    assert len(read_records(tmp_path).examples) == 1


def test_rows_that_cannot_be_recorded_are_refused_before_writing(tmp_path: Path) -> None:
    sources, cost, metrics = pair_rows(example_row(0), "reference")
    with RecordWriter(tmp_path, manifest()) as writer:
        with pytest.raises(RecordsError, match="write_example must come before"):
            writer.write_method(sources, cost, metrics)
        writer.write_example(example_row(0))
        with pytest.raises(RecordsError, match=r"row of metrics.*missing number is None, not NaN"):
            writer.write_method(sources, cost, [replace(metrics[0], value=float("nan"))])
        with pytest.raises(RecordsError, match="row of costs cannot be recorded"):
            writer.write_method(sources, replace(cost, forward_passes=2.5), metrics)  # type: ignore[arg-type]
        with pytest.raises(RecordsError, match="unknown method 'magic'; the manifest lists: loo_"):
            writer.write_method([], replace(cost, method="magic"), [])
        with pytest.raises(RecordsError, match=r"\('example-0', 'reference'\) only, got .*'other'"):
            writer.write_method([replace(sources[0], method="other")], cost, metrics)
        with pytest.raises(RecordsError, match=r"rows of the run 0123456789ab, got .*'ffff'"):
            writer.write_method(sources, replace(cost, run_id="ffff"), metrics)
        writer.write_method(sources, cost, metrics)
        with pytest.raises(RecordsError, match="recorded already"):
            writer.write_method(sources, cost, metrics)
    assert len(read_records(tmp_path).metrics) == len(metrics)


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    sources, cost, metrics = pair_rows(example_row(0), "reference")
    cost = replace(cost, flops=np.float64(0.1), forward_passes=np.int64(7))  # type: ignore[arg-type]
    with RecordWriter(tmp_path, manifest()) as writer:
        writer.write_example(example_row(0))
        writer.write_method(sources, cost, metrics)
    costs = read_records(tmp_path).costs
    assert (costs["flops"][0], costs["forward_passes"][0]) == (0.1, 7)


def test_damage_is_reported_by_file_and_line(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=2)
    lines = (tmp_path / "sources.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "sources.jsonl").write_bytes(lines[0] + b"{oops}\n" + b"".join(lines[2:]))
    with pytest.raises(RecordsError, match=r"sources\.jsonl, line 2 is damaged"):
        continue_run(tmp_path)
    with pytest.raises(RecordsError, match=r"sources\.jsonl is damaged"):
        read_records(tmp_path)


def test_folders_that_hold_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match=r"no run folder: expected a manifest\.json"):
        read_records(tmp_path)
    continue_run(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(
        RecordsError, match=f"schema 99, this attribot reads schema {SCHEMA_VERSION}"
    ):
        read_records(tmp_path)
    path.write_text(json.dumps({**content, "surprise": 1}))
    with pytest.raises(RecordsError, match=r"manifest\.json is damaged .*surprise"):
        read_records(tmp_path)
    path.write_text(json.dumps(content)[:50])
    with pytest.raises(RecordsError, match=r"manifest\.json is damaged"):
        read_records(tmp_path)
