"""The records of the made-up run, written once."""

from pathlib import Path

import pytest

from attribot.records import Records, read_records
from tests.synthetic_run import continue_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    continue_run(path)
    return path


@pytest.fixture
def records(run_dir: Path) -> Records:
    return read_records(run_dir)
