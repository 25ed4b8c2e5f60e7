"""Tracking offline, read back from the files that `wandb sync` would send."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from attribot.errors import InvalidInputError
from attribot.records import read_records
from attribot.report.build import build_report
from attribot.report.summary import summarise
from attribot.tracking import NoTracker, Tracker, WandbTracker
from tests.synthetic_run import METHODS, continue_run, examples, manifest, pair_rows, pairs

LOG_BLOCK = 32768
LOG_HEADER = 7


@pytest.fixture(autouse=True)
def wandb_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No login, no network, and nothing of wandb left outside `tmp_path` or behind."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(home / kind.lower()))
    yield home
    wandb.teardown()


def stored_records(run_dir: Path) -> list[Record]:
    """What a .wandb file holds: a log in blocks, each piece after (crc, size, kind)."""
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    content, position, parts, found = path.read_bytes(), LOG_HEADER, b"", []
    while position + LOG_HEADER <= len(content):
        room = LOG_BLOCK - position % LOG_BLOCK
        if room < LOG_HEADER:
            position += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        position += LOG_HEADER + size
        parts += content[position - size : position]
        if kind in (1, 4):  # a whole record, or the last piece of one
            found.append(Record.FromString(parts))
            parts = b""
    return found


def history(records: list[Record]) -> list[dict[str, Any]]:
    rows = [r.history for r in records if r.WhichOneof("record_type") == "history"]
    return [{"/".join(i.nested_key): json.loads(i.value_json) for i in row.item} for row in rows]


def track(
    run_dir: Path, tracker: Tracker, naive: str | None = "loo_naive", is_timed: bool = True
) -> list[Record]:
    of = manifest(naive)
    continue_run(run_dir, of, is_timed=is_timed)
    build_report([run_dir], run_dir)
    with tracker.start(of.config, of, run_dir) as tracked:
        for example, method in pairs(of, examples()):
            _, cost, metrics = pair_rows(example, method, is_timed=is_timed)
            tracked.log_progress(int(example.example_id[-1]), cost, metrics)
        tracked.finish(summarise(read_records(run_dir)), run_dir)
    wandb.teardown()
    return stored_records(run_dir)


@pytest.mark.slow
def test_an_offline_run_holds_config_progress_results_and_files(tmp_path: Path) -> None:
    run_dir, stdout = tmp_path / "run", sys.stdout
    tracker = WandbTracker(project="p", group="g", tags=("a", "b"))
    records = track(run_dir, tracker)

    (run,) = (r.run for r in records if r.WhichOneof("record_type") == "run")
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert (run.project, run.run_group, list(run.tags)) == ("p", "g", ["a", "b"])
    assert (run.display_name, run.job_type) == (manifest().run_id, "attribution")
    assert {key: config[key] for key in manifest().config} == manifest().config
    assert config["manifest"]["run_id"] == manifest().run_id
    steps = {r.metric.glob_name: r.metric.step_metric for r in records if r.metric.glob_name}
    assert steps == {"eval/*": "example", "cost/*": "example"}

    *progress, results = history(records)
    assert [row["example"] for row in progress] == [0] * 4 + [1] * 4 + [2] * 4
    for row, (example, method) in zip(progress, pairs(manifest(), examples()), strict=True):
        _, cost, metrics = pair_rows(example, method)
        values = {key: value for key, value in row.items() if key.startswith("eval/")}
        assert values == {
            f"eval/{method}/{m.metric}": m.value for m in metrics if m.value is not None
        }
        assert row[f"cost/{method}/wall_seconds"] == cost.wall_seconds

    (folder,) = run_dir.glob("wandb/offline-run-*/files")
    summary = summarise(read_records(run_dir))
    table = json.loads((folder / results["results/summary/path"]).read_text())
    assert table["columns"] == list(summary.columns)
    assert [row[1] for row in table["data"]] == [m for m in METHODS if m != "reference"]
    points = json.loads((folder / results["results/curve_table/path"]).read_text())
    assert points["columns"] == ["method", "kind", "log10_speedup", "x", "map"]
    expected = [[np.log10(x), x, y] for x, y in ((1, 0.9), (8, 0.8), (32, 0.4))]
    np.testing.assert_allclose([row[2:] for row in points["data"]], expected)
    assert (folder / results["results/figure/path"]).is_file()

    artifacts = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
    (artifact,) = (a for a in artifacts if a.type == "records")
    assert artifact.name == f"records-{manifest().run_id}"
    assert sorted(entry.path for entry in artifact.manifest.contents) == [
        *("costs.parquet", "examples.parquet", "figures/curve.png", "figures/curve_flops.png"),
        *("manifest.json", "metrics.parquet", "report.html", "sources.parquet"),
        *("tables/curve.csv", "tables/curve.md", "tables/curve.tex"),
        *("tables/equal_cost.csv", "tables/equal_cost.md", "tables/metrics.md"),
        *("tables/ranking.csv", "tables/ranking.md"),
        *("tables/sample_sizes.csv", "tables/sample_sizes.md"),
    ]
    assert wandb.run is None
    assert sys.stdout is stdout


@pytest.mark.slow
def test_without_a_naive_method_the_chart_shows_seconds(tmp_path: Path) -> None:
    records = track(tmp_path, WandbTracker(name="n"), naive=None)
    (run,) = (r.run for r in records if r.WhichOneof("record_type") == "run")
    assert run.display_name == "n"
    (charts,) = (
        json.loads(update.value_json)
        for r in records
        for update in r.config.update
        if list(update.nested_key) == ["_wandb", "visualize", "results/curve"]
    )
    assert charts["panel_config"]["fieldSettings"] == {"x": "log10_seconds", "y": "map"}


@pytest.mark.slow
def test_without_seconds_the_chart_shows_counted_tokens(tmp_path: Path) -> None:
    *progress, results = history(track(tmp_path, WandbTracker(), is_timed=False))
    costs = {key.rsplit("/", 1)[1] for row in progress for key in row if key.startswith("cost/")}
    assert costs == {"forward_passes", "computed_tokens", "reused_tokens", "flops"}
    (folder,) = tmp_path.glob("wandb/offline-run-*/files")
    points = json.loads((folder / results["results/curve_table/path"]).read_text())
    assert points["columns"] == ["method", "kind", "log10_token_saving", "x", "map"]
    np.testing.assert_allclose([row[3] for row in points["data"]], [1, 8, 32])


def test_an_error_inside_marks_the_run_failed(tmp_path: Path) -> None:
    of = manifest()
    with pytest.raises(RuntimeError, match="out of memory"), WandbTracker().start({}, of, tmp_path):
        raise RuntimeError("out of memory")
    wandb.teardown()
    exits = [r.exit for r in stored_records(tmp_path) if r.WhichOneof("record_type") == "exit"]
    assert [stored.exit_code for stored in exits] == [1]
    assert wandb.run is None


def test_online_needs_a_login(tmp_path: Path) -> None:
    tracker = WandbTracker(mode="online")
    with (
        pytest.raises(InvalidInputError, match="run `wandb login` or set WANDB_API_KEY"),
        tracker.start({}, manifest(), tmp_path),
    ):
        pass
    assert not list(tmp_path.glob("wandb*"))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'on-line'; known: offline, online"):
        WandbTracker(mode="on-line")  # type: ignore[arg-type]


def test_no_tracker_leaves_nothing(tmp_path: Path) -> None:
    with NoTracker().start({}, manifest(), tmp_path) as tracked:
        _, cost, metrics = pair_rows(examples()[0], "reference")
        tracked.log_progress(0, cost, metrics)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
