"""The command as a process of its own: pipes, signals, and the script that is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attribot.explain.result import AttributionResult
from tests.explain.cases import DOCUMENTS, QUERY, RESPONSE

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "attribot.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def write_rows(path: Path, num_rows: int) -> None:
    row = {"query": QUERY, "context": DOCUMENTS * 3, "response": RESPONSE}
    path.write_text("\n".join([json.dumps(row)] * num_rows), encoding="utf-8")


def test_a_reader_may_leave_early(tmp_path: Path, model_dir: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", 5)
    words = [*COMMAND, "attribute", "--model", str(model_dir), "--input", "rows.jsonl"]
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1', "_", *words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["line"] == 1


def test_ctrl_c_keeps_finished_lines(tmp_path: Path, model_dir: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", 2000)
    output = tmp_path / "scores.jsonl"
    words = ["attribute", "--model", str(model_dir), "--input", "rows.jsonl", "--output", output]
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (output.exists() and output.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors
    lines = [json.loads(line)["line"] for line in output.read_text().splitlines()]
    assert lines == list(range(1, len(lines) + 1))
    assert 0 < len(lines) < 2000


@pytest.mark.usefixtures("bundled_model_dir")
def test_the_script_attributes_with_the_bundled_model(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("attribot")
    assert script.is_file(), "pyproject.toml has changed since attribot was installed: make setup"
    (tmp_path / "lake.txt").write_text(
        "Lake Ornvik lies in a narrow valley. A road follows its shore.\n\n"
        "It freezes every winter. Near the bottom it stays at four degrees.\n"
    )
    arguments = [
        *("attribute", "--context", "lake.txt", "--json"),
        *("--query", "How warm is the bottom of Lake Ornvik in winter?"),
        *("--response", "The bottom of the lake stays at four degrees."),
    ]
    done = subprocess.run(
        [script, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    result = AttributionResult.from_json(done.stdout)
    assert result.top(1)[0].text == "Near the bottom it stays at four degrees."
