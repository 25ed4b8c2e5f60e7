"""Processes that are really killed: the run, started again, ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attribot.manifest import Manifest
from attribot.pipeline import attribute_example
from attribot.records import TABLES, Records, read_records
from attribot.types import Attribution
from experiments import runner
from experiments.runner import run
from tests.experiments import interruptible_run
from tests.experiments.interruptible_run import METHODS
from tests.experiments.tiny_experiment import CONTEXTS, tiny_experiment

TOLERANCE = 1e-4
VOLATILE = ["wall_seconds", "peak_memory_bytes"]
# When one process after the other is killed (see `interruptible_run`): the number of its write, the
# share of it that reaches the disk, and how many methods are committed by then.
KILLS = {
    "before there is a manifest": (1, 0.0, 0),
    "in an example": (2, 0.5, 0),
    "in sources": (3, 0.5, 0),
    "after metrics, before the cost row that commits them": (6, 0.0, 1),
    "in a cost row": (7, 0.9, 2),
    "right after a commit": (4, 1.0, 3),
    "in metrics": (3, 0.1, 3),
    "in the second example": (8, 0.7, 5),
    "in its second method": (5, 0.3, 6),
    "between sources and metrics": (23, 1.0, 13),
    "between two Parquet files": (9, 1.0, 15),
    "before the manifest says finished": (6, 0.0, 15),
    "before the JSON lines are removed": (6, 1.0, 15),
}


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Fresh processes that need not import torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([interruptible_run.__name__])
    return context


def start(
    processes: ForkServerContext, folder: Path, kill_at: int | None = None, share: float = 1.0
) -> int | None:
    """One process of the run in `folder`; its exit code, negative for a signal."""
    arguments = (str(folder / "run"), str(folder / "cache.sqlite"), kill_at, share)
    process = processes.Process(target=interruptible_run.main, args=arguments)
    process.start()
    process.join(timeout=120)
    return process.exitcode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Records:
    experiment = tiny_experiment(tmp_path_factory.mktemp("run"), methods=METHODS)
    run(experiment)
    return read_records(experiment.run_dir)


def assert_same(records: Records, expected: Records) -> None:
    """All rows and columns but times and memory; the manifest but for the later starts."""
    for table in TABLES:
        found, wanted = (
            getattr(each, table).drop(columns=VOLATILE, errors="ignore")
            for each in (records, expected)
        )
        pd.testing.assert_frame_equal(found, wanted, rtol=0, atol=TOLERANCE)
    assert timeless(records.manifest) == timeless(expected.manifest)


def timeless(manifest: Manifest) -> Manifest:
    return replace(manifest, started_at="", finished_at=None, resumed=(), is_dirty=None)


def committed(run_dir: Path) -> pd.DataFrame:
    """Cost rows in the order of the run, times included."""
    if not (run_dir / "manifest.json").exists():
        return pd.DataFrame()
    return read_records(run_dir).costs


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_if_uninterrupted(
    tmp_path: Path, processes: ForkServerContext, uninterrupted: Records
) -> None:
    before = pd.DataFrame()
    for moment, (kill_at, share, num_committed) in KILLS.items():
        assert start(processes, tmp_path, kill_at, share) == -signal.SIGKILL, moment
        now = committed(tmp_path / "run")
        assert len(now) == num_committed, moment
        # Their times stand too, so nothing that was committed has been computed again.
        if len(before):
            pd.testing.assert_frame_equal(now.head(len(before)), before)
        before = now
    assert start(processes, tmp_path) == 0
    records = read_records(tmp_path / "run")
    assert len(records.costs) == len(("reference", *METHODS)) * len(CONTEXTS)
    assert_same(records, uninterrupted)
    # The first kill left no manifest to resume, and the last start found a finished run.
    assert len(records.manifest.resumed) == len(KILLS) - 2
    assert (tmp_path / "run" / "report.html").is_file()
    assert not list((tmp_path / "run").glob("*.jsonl"))


@pytest.mark.slow
def test_torn_last_lines_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Records
) -> None:
    """Of every file at once, cut inside a character."""
    attributed: list[object] = []

    def interrupted(*arguments: Any) -> Attribution:
        if len(attributed) == 2:
            raise KeyboardInterrupt
        attributed.append(arguments)
        return attribute_example(*arguments)

    experiment = tiny_experiment(tmp_path, methods=METHODS)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "attribute_example", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(experiment)
    before = committed(tmp_path)
    assert len(before) == 3
    for table in TABLES:
        path = tmp_path / f"{table}.jsonl"
        last_line = path.read_bytes().splitlines()[-1]
        with path.open("ab") as lines:
            lines.write(last_line[: len(last_line) // 2] + "é".encode()[:1])
    pd.testing.assert_frame_equal(committed(tmp_path), before)
    run(experiment)
    records = read_records(tmp_path)
    pd.testing.assert_frame_equal(records.costs.head(3), before)
    assert_same(records, uninterrupted)
