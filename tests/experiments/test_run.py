"""The command line: what it refuses, what it prints, what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.errors import InstantiationException
from rich.console import Console

from attribot.errors import InvalidInputError, ModelNotFoundError
from attribot.records import read_records
from experiments import run as command
from experiments.progress import Progress
from tests.experiments.test_configuration import REPOSITORY, composed

QUESTIONS = (
    {
        "id": "castle",
        "query": "Who built the castle?",
        "context": "The castle stands on a hill. King Oswin built it in 1204. It is of stone.",
    },
    {
        "id": "river",
        "query": "Where does the river end?",
        "context": "The river is old. It ends in the Lake of Arn. Few people live there.",
    },
)


def arguments(output_dir: Path, *overrides: str, module: str = "experiments.run") -> list[str]:
    """The command with its folders in a place of its own."""
    folders = (f"output_dir={output_dir}", f"cache_path={output_dir / 'scores.sqlite'}")
    return [sys.executable, "-m", module, *overrides, *folders, "num_threads=1"]


def start(
    output_dir: Path, *overrides: str, module: str = "experiments.run"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(output_dir, *overrides, module=module),
        cwd=REPOSITORY,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def questions(tmp_path: Path) -> tuple[str, ...]:
    """Overrides for a run that takes the bundled model a few seconds."""
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    return ("dataset=jsonl", f"dataset.path={path}", "evaluation=fast", "tracking=none")


def printed_paths(output: str) -> dict[str, list[Path]]:
    """Paths by what they are said to be."""
    found: dict[str, list[Path]] = {}
    for what, path in re.findall(r"^ *(records|table|figure|report|W&B run)  (/.*)$", output, re.M):
        found.setdefault(what, []).append(Path(path))
    return found


def refused(output_dir: Path, *overrides: str) -> str:
    """The one line that the command prints before it exits with 2."""
    ended = start(output_dir, *overrides)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    return line


def no_models(*_: object) -> None:
    raise AssertionError("mistakes are found before models are loaded")


@pytest.fixture
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=squad", "dataset.path=/nonexistent.json"], r"cannot read /nonexistent\.json"),
        (["dataset=jsonl"], r"dataset\.path has no value: add dataset\.path=\.\.\. to"),
        (
            ["model@proxy=none", "pruning=proxy"],
            r"'selected' asks for the role\(s\) \['proxy'\], but only \['embedder', 'target'\] are",
        ),
        (["pruning=hierarchical", "pruning.k=0"], r"keeps at least one unit; got k=0"),
    ],
    ids=["no file", "no path", "no proxy", "no survivor"],
)
def test_mistakes_are_found_before_models_are_loaded(
    overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_models", no_models)
    with pytest.raises((InvalidInputError, InstantiationException)) as caught:
        command.build_experiment(composed([*overrides, "num_threads=1"]))
    assert re.search(message, str(command.own_error(caught.value)))


@pytest.mark.usefixtures("_threads")
def test_errors_are_found_behind_hydras_own() -> None:
    config = composed(
        ["model@target=local-directory", "target.name_or_path=/no/model", "num_threads=1"]
    )
    with pytest.raises(InstantiationException) as caught:
        command.build_experiment(config)
    own = command.own_error(caught.value)
    assert isinstance(own, ModelNotFoundError)
    assert str(own).startswith("cannot load the model '/no/model': there is no such directory")
    assert command.own_error(ValueError("not ours")) is None


def test_names_with_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are rich's markup: unescaped they vanish, or end the run with an error."""
    text = StringIO()
    summary = pd.DataFrame(
        {
            "dataset": ["tiny"],
            "label": ["proxy [k=3] [/x]"],
            "kind": ["trick"],
            "average_precision": [0.5],
            "average_precision_low": [0.25],
            "average_precision_high": [0.75],
            "forward_passes": [7.0],
            "wall_seconds": [1.5],
        }
    )
    command.print_summary(summary, Console(file=text, width=120))
    command.print_paths(Path("/runs/[a]/[/b]"), Console(file=text, width=20))
    assert "proxy [k=3] [/x]" in text.getvalue()
    assert "/runs/[a]/[/b]/report.html\n" in text.getvalue()
    with Progress(2) as progress:
        progress.show(0, "[/page]", "loo")
    assert "example 1/2  [/page]" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("dataset=squad", "dataset.path=/nonexistent.json", "tracking=none"),
            "error: cannot read /nonexistent.json (No such file or directory): give the official "
            "file, or path=null downloads 'rajpurkar/squad_v2' from the hub",
        ),
        (
            ("model@proxy=none", "pruning=proxy"),
            "error: the method 'selected' asks for the role(s) ['proxy'], but only ['embedder', "
            "'target'] are filled: choose a model@<role>= or an embedder=",
        ),
        (
            ("model@target=gguf-file", "target.name_or_path=/no.gguf"),
            "error: cannot load the model '/no.gguf': there is no such file. Expected a hub id",
        ),
    ],
    ids=["no file", "no proxy", "no model"],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    assert refused(tmp_path, *overrides).startswith(message)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_an_error_inside_a_tracked_run_is_one_line_too(tmp_path: Path) -> None:
    line = refused(tmp_path, "generation.max_new_tokens=9000", "tracking=wandb")
    assert re.search(
        r"take 9\d\d\d tokens, but \S+ accepts at most 8192: shorten the context", line
    )


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_the_demo_ends_with_paths_that_exist(tmp_path: Path) -> None:
    small = ("methods=exact", "evaluation=fast", "dataset.max_examples=1")
    ended = start(tmp_path, "experiment=demo", *small, "tracking=wandb")
    assert ended.returncode == 0, ended.stderr
    for expected in ("examples: 1 of 1 examples", "speedup against faithfulness", "naive LOO"):
        assert expected in ended.stdout
    paths = printed_paths(ended.stdout)
    (run_dir,) = tmp_path.glob("demo-*")
    assert paths.pop("records") == [run_dir / "*.parquet"]
    assert len(list(run_dir.glob("*.parquet"))) == 4
    assert {path.name for path in paths["table"]} >= {"curve.md", "ranking.md", "metrics.md"}
    assert {what: len(found) for what, found in paths.items() if what != "table"} == {
        "figure": 3,
        "report": 1,
        "W&B run": 1,
    }
    assert all(path.exists() for found in paths.values() for path in found)
    (tracked,) = paths["W&B run"]
    assert list(tracked.glob("run-*.wandb"))
    records = read_records(run_dir)
    assert list(records.examples["example_id"]) == ["lake-ice"]
    scores = records.sources.pivot(index="source_id", columns="method", values="score")
    pd.testing.assert_series_equal(
        scores["loo"], scores["loo_naive"], atol=1e-4, rtol=0, check_names=False
    )


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_a_killed_command_continues(tmp_path: Path, questions: tuple[str, ...]) -> None:
    """Killed from outside as soon as the first timed method stands; started again as it was."""
    overrides = ("methods=exact", *questions)
    with subprocess.Popen(
        arguments(tmp_path, *overrides), cwd=REPOSITORY, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not committed_methods(tmp_path) > 1:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    (run_dir,) = tmp_path.glob("exact-*")
    before = read_records(run_dir).costs
    assert 1 < len(before) < 2 * 3
    ended = start(tmp_path, *overrides)
    assert ended.returncode == 0, ended.stderr
    records = read_records(run_dir)
    assert records.manifest.finished_at is not None
    assert len(records.manifest.resumed) == 1
    pd.testing.assert_frame_equal(records.costs.head(len(before)), before)
    assert len(records.costs) == 2 * 3
    assert (records.sources.groupby(["example_id", "method"]).size() == 3).all()


def committed_methods(output_dir: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in output_dir.glob("exact-*/costs.jsonl"))


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_a_sweep_makes_one_run_per_option(tmp_path: Path, questions: tuple[str, ...]) -> None:
    ended = start(tmp_path, "-m", "methods=exact,single", "dataset.max_examples=1", *questions)
    assert ended.returncode == 0, ended.stderr
    run_dirs = sorted(tmp_path.glob("*-*/manifest.json"))
    assert [path.parent.name.split("-")[0] for path in run_dirs] == ["exact", "single"]
    methods = [set(read_records(path.parent).costs["method"]) for path in run_dirs]
    exact = {"reference", "loo_naive", "loo"}
    assert methods == [exact, exact | {"selected"}]
    found = printed_paths(ended.stdout)["report"]
    assert [path.parent for path in found] == [path.parent for path in run_dirs]
    assert all(path.is_file() for path in found)
