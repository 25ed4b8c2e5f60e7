"""A tiny model on disk, and the command in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers.utils.logging import disable_progress_bar

from attribot.cli.main import cli
from tests.explain.cases import tiny

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `tests.explain.cases`."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny().model.save_pretrained(path)
    tiny().tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with these arguments, in an empty folder; errors that click does not know
    come through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # The entry point keeps bars out of files, before anything is imported.
    disable_progress_bar()

    def invoke(*arguments: object, **options: Any) -> Result:
        texts = [str(argument) for argument in arguments]
        return CliRunner().invoke(
            cli, texts, prog_name="attribot", catch_exceptions=False, **options
        )

    return invoke
