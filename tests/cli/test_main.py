"""The commands around attribution, and what holds for all of them."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import termios
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest

from attribot.cli.settings import DTYPES, LEVELS, METHODS
from attribot.explain import methods
from attribot.models.bundled import BUNDLED_NAME
from attribot.models.loading import DType
from attribot.types import Level
from tests.cli.conftest import Run

CHILDREN = resource.RUSAGE_CHILDREN


def test_names_are_those_that_the_package_knows() -> None:
    assert ("auto", *methods.METHODS) == METHODS
    assert set(LEVELS) == set(get_args(Level))
    assert get_args(DType) == DTYPES


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from attribot.cli.main import cli; cli(['attribute', '--help'], "
        "standalone_mode=False); assert not {'torch', 'transformers', 'numpy', 'pandas'} & "
        "set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "racing" in done.stdout


@pytest.mark.slow
def test_help_comes_at_once() -> None:
    """Within 150 ms after the interpreter."""

    def seconds(*arguments: str) -> float:
        """CPU time, which other work on the machine does not lengthen as it does wall time."""
        before = resource.getrusage(CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def least(*arguments: str) -> float:
        return min(seconds(*arguments) for _ in range(3))

    assert least("-m", "attribot.cli", "--help") - least("-c", "pass") < 0.15


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"attribot, version {metadata.version('attribot')}\n"


def test_models_prepare_prints_the_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribot.models.bundled.prepare_bundled", lambda: Path("there"))
    assert run("models", "prepare").stdout == "there\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_bars_are_drawn_on_terminals_only(is_terminal: bool) -> None:
    """Of tqdm, as transformers imports it to convert a model."""
    code = (
        "from attribot.cli import main\n"
        "main.cli = lambda **_: list(__import__('tqdm.auto').auto.tqdm([0]))\n"
        "main.main()"
    )
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    if is_terminal:
        termios.tcsetwinsize(writer, (24, 80))
    subprocess.run([sys.executable, "-c", code], check=True, stderr=writer)
    os.write(writer, b"end")
    drawn = b""
    while not drawn.endswith(b"end"):
        drawn += os.read(reader, 4096)
    os.close(reader)
    os.close(writer)
    assert (b"1/1" in drawn) == is_terminal


def test_models_precision_measures_the_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    monkeypatch.setattr("attribot.models.__main__.print_precision", measured.append)
    monkeypatch.setattr("attribot.models.bundled.prepare_bundled", lambda: Path("there"))
    run("models", "precision", "--model", "mine")
    run("models", "precision")
    assert measured == ["mine", None]


@pytest.mark.slow
def test_a_report_of_what_is_no_run_is_refused(run: Run) -> None:
    Path("empty").mkdir()
    done = run("report", "empty")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_a_report_of_several_runs_needs_a_folder(run: Run) -> None:
    Path("empty").mkdir()
    done = run("report", "empty", "empty")
    assert (done.exit_code, "several runs need --output DIR" in done.stderr) == (2, True)


@pytest.mark.slow
def test_report_passes_on_what_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []

    def build(*arguments: Any) -> Path:
        built.append(arguments)
        return Path("report.html")

    monkeypatch.setattr("attribot.report.build.build_report", build)
    Path("a").mkdir()
    Path("b").mkdir()
    assert run("report", "a").stdout == "report.html\n"
    run("report", "a", "b", "--output", "c", "--examples", 7)
    assert built == [
        ((Path("a"),), Path("a"), 50),
        ((Path("a"), Path("b")), Path("c"), 7),
    ]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that shares its folder with a file of someone else."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATTRIBOT_CACHE", str(folder))
    (folder / f"{BUNDLED_NAME}-0123-v1").mkdir(parents=True)
    (folder / f"{BUNDLED_NAME}-0123-v1" / "model.safetensors").write_bytes(bytes(2_300_000))
    (folder / "scores.sqlite-wal").write_bytes(bytes(1_000_000))
    (folder / "thesis.sqlite").write_bytes(bytes(700_000))
    return folder


def test_the_cache_is_listed(run: Run, cache: Path) -> None:
    assert run("cache").stdout.splitlines() == [
        f"       2.3 MB  {BUNDLED_NAME}-0123-v1",
        "       1.0 MB  scores.sqlite-wal",
        f"       3.3 MB  in {cache}",
    ]
    assert run("cache", "path").stdout == f"{cache}\n"


def test_cleaning_asks_and_deletes_its_own_files_only(run: Run, cache: Path) -> None:
    refused = run("cache", "clean", input="n\n")
    assert refused.exit_code == 1
    assert f"{BUNDLED_NAME}-0123-v1, scores.sqlite-wal (3.3 MB)" in refused.stdout
    assert len(list(cache.iterdir())) == 3
    assert run("cache", "clean", "--yes").stdout == "deleted 3.3 MB\n"
    assert [path.name for path in cache.iterdir()] == ["thesis.sqlite"]
    assert run("cache", "clean").stdout == f"nothing to delete in {cache}\n"


def test_shells_complete_methods(run: Run) -> None:
    assert "_ATTRIBOT_COMPLETE=zsh_complete" in run("completion", "zsh").stdout
    words = {
        "_ATTRIBOT_COMPLETE": "bash_complete",
        "COMP_WORDS": "attribot attribute --method mas",
        "COMP_CWORD": "3",
    }
    assert run(env=words).stdout.splitlines() == ["plain,mask_paragraph", "plain,mask"]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("attribute --context ", ["file,"]),
        ("attribute --context a.txt ", ["file,"]),
        ("attribute --context a.txt b", ["file,b"]),
        ("attribute --context a.txt --js", ["plain,--json"]),
        ("attribute --context a.txt --json ", [""]),
        ("attribute --model ./", ["file,./"]),
        ("attribute --proxy ", ["file,"]),
        ("models precision --model ", ["file,"]),
    ],
)
def test_shells_complete_files(run: Run, words: str, completed: list[str]) -> None:
    environment = {
        "_ATTRIBOT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"attribot {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    assert run(env=environment).stdout.splitlines() == completed
