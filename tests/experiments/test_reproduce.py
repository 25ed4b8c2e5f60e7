"""Reproducing an experiment: run, rebuilt, compared with committed tables, judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from attribot.records import read_records
from attribot.report.build import build_report
from attribot.report.merging import merge_records
from attribot.report.summary import summarise
from attribot.report.tables import write_tables
from experiments.reproduce import __main__ as reproduce
from experiments.runner import run
from experiments.views import VIEWS
from tests.experiments.tiny_experiment import tiny_experiment
from tests.synthetic_run import continue_run

QUESTION = {
    "query": "Who built the castle?",
    "context": "The castle stands on a hill. King Oswin built it in 1204. It is of stone.",
}


def build_tables(run_dirs: Sequence[Path], output: Path) -> None:
    """What stands in for the whole report, whose figures take seconds to draw."""
    records = merge_records([read_records(folder) for folder in run_dirs])
    write_tables(summarise(records), records.manifest, output / "tables")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a made-up experiment."""
    folder = tmp_path_factory.mktemp("made_up")
    continue_run(folder / "records" / "all")
    build_tables([folder / "records" / "all"], folder)
    return folder


@pytest.fixture
def results(tmp_path: Path, made_up: Path) -> Path:
    """A results folder with them in it."""
    shutil.copytree(made_up, tmp_path / "results" / "made_up")
    return tmp_path / "results"


@pytest.fixture
def started(tmp_path: Path, made_up: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Overrides that runs are started with: made-up ones take the place of Hydra's."""
    overrides: list[Sequence[str]] = []

    def run_grid(of: Sequence[str]) -> int:
        overrides.append(of)
        shutil.copytree(made_up / "records" / "all", tmp_path / "run", dirs_exist_ok=True)
        return 0

    monkeypatch.setattr(reproduce, "run_grid", run_grid)
    monkeypatch.setattr(reproduce, "run_dirs", lambda _: [tmp_path / "run"])
    monkeypatch.setitem(VIEWS, "tables", build_tables)
    return overrides


def reproduced(tmp_path: Path, *arguments: str) -> int:
    folders = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return reproduce.main(["made_up", *folders, *arguments])


@pytest.mark.usefixtures("results")
def test_an_equal_run_agrees(
    tmp_path: Path, started: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduced(tmp_path, "--data-dir", "data", "dataset=castles") == 0
    output = f"output_dir={tmp_path / 'runs'}"
    assert started == [["experiment=made_up", output, "data_dir=data", "dataset=castles"]]
    printed = capsys.readouterr().out
    assert "tables/curve.csv: 0 differences beyond 0.005 in" in printed
    for what in (f"new run {tmp_path / 'run'}", "committed run"):
        assert what in printed
    assert "commit deadbeef, 2026-01-01T00:00:00+00:00" in printed
    assert (tmp_path / "runs" / "made_up" / "tables" / "curve.md").is_file()


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("column", "code", "line"),
    [
        ("flops", 1, "hierarchical, flops: 4e+09 -> 1e+09\n"),
        ("wall_seconds", 0, "hierarchical, wall_seconds: 4.4 -> 1.1, 0.25 times (measured)\n"),
    ],
)
def test_only_computed_cells_fail(
    tmp_path: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    column: str,
    code: int,
    line: str,
) -> None:
    path = results / "made_up" / "tables" / "curve.csv"
    table = pd.read_csv(path)
    table.loc[table["method"] == "hierarchical", column] *= 4
    table.to_csv(path, index=False)
    assert reproduced(tmp_path) == code
    assert line in capsys.readouterr().out
    assert reproduced(tmp_path, "--tolerance", "1", "--factor", "5") == 0


@pytest.mark.usefixtures("started")
def test_a_view_that_is_not_rebuilt_fails(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "made_up" / "figures").mkdir()
    (results / "made_up" / "figures" / "panels.png").touch()
    assert reproduced(tmp_path) == 1
    assert "figures/panels.png: committed, but not rebuilt" in capsys.readouterr().out


@pytest.mark.usefixtures("started")
def test_without_committed_tables_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduced(tmp_path) == 0
    assert f"{tmp_path / 'results' / 'made_up'} does not exist" in capsys.readouterr().out


@pytest.mark.usefixtures("started")
def test_a_failed_run_is_no_reproduction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "run_grid", lambda _: 1)
    assert reproduced(tmp_path) == 2
    assert "the same command continues where it stopped" in capsys.readouterr().out


def test_a_fresh_reproduction_takes_over_neither_runs_nor_scores(
    tmp_path: Path, started: list[Sequence[str]]
) -> None:
    assert reproduced(tmp_path, "--fresh") == 0
    ((_, output, cache),) = started
    folder = Path(output.removeprefix("output_dir="))
    assert folder.parent == tmp_path / "runs"
    assert folder.name.startswith("made_up-fresh-")
    assert cache == f"cache_path={folder / 'scores.sqlite'}"
    assert (folder / "made_up" / "tables" / "curve.csv").is_file()


def test_an_unknown_experiment_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        reproduce.main(["first_result"])
    assert "first_results" in capsys.readouterr().err


@pytest.mark.slow
def test_the_grid_is_the_experiments_but_for_what_is_settled() -> None:
    overrides = ["experiment=first_results", "data_dir=data"]
    assert reproduce.grid(overrides) == [
        [*overrides, f"dataset={name}_samples"] for name in ("squad", "hotpotqa", "qasper")
    ]
    settled = [*overrides, "dataset=examples"]
    assert reproduce.grid(settled) == [settled]


@pytest.mark.slow
def test_a_tiny_experiment_is_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of tiny models, nothing shared between them, with figures and report."""
    methods = ("loo_naive", "hierarchical", "stranger_pruning")
    results = tmp_path / "results" / "made_up"
    run(tiny_experiment(results / "records" / "all", methods=methods))
    build_report([results / "records" / "all"], results)

    def run_grid(_: Sequence[str]) -> int:
        run(tiny_experiment(tmp_path / "run", methods=methods))
        return 0

    monkeypatch.setattr(reproduce, "run_grid", run_grid)
    monkeypatch.setattr(reproduce, "run_dirs", lambda _: [tmp_path / "run"])
    assert reproduced(tmp_path) == 0
    assert "tables/curve.csv: 0 differences beyond 0.005" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr(
        reproduce,
        "run_grid",
        lambda _: run(tiny_experiment(tmp_path / "run", methods=methods[:2])) is None,
    )
    assert reproduced(tmp_path) == 1
    assert "stranger_pruning: only in the committed table" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_the_whole_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run of the bundled model from the command line; found again, it is not run anew."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    command = ["demo", "--output", str(tmp_path), "--results", str(tmp_path / "results")]
    command += ["dataset=jsonl", f"dataset.path={questions}", "methods=exact", "tracking=none"]
    command += ["num_threads=1", f"cache_path={tmp_path / 'scores.sqlite'}"]
    assert reproduce.main(command) == 0
    shutil.copytree(tmp_path / "demo", tmp_path / "results" / "demo")
    assert "there is nothing to compare" in capfd.readouterr().out
    assert reproduce.main(command) == 0
    printed = capfd.readouterr().out
    assert "only its report is rebuilt" in printed
    assert "tables/curve.csv: 0 differences" in printed
    assert ", 0 beyond a factor" in printed
