"""The records of the made-up run, written once."""

from pathlib import Path

import numpy as np
import pandas as pd
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


def without_model(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as if `similarity` ran no model and took next to no time."""
    summary = summary.copy()
    is_free = summary["method"] == "similarity"
    summary.loc[is_free, ["forward_passes", "flops", "wall_seconds"]] = [0.0, 0.0, 1e-4]
    for column in summary.columns:
        if column.startswith("speedup") and not column.endswith("count"):
            summary.loc[is_free, column] = 20000.0
        if column.startswith("flops_saving") and not column.endswith("count"):
            summary.loc[is_free, column] = np.nan
    return summary
