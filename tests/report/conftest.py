"""The records of the made-up run, written once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.manifest import Manifest, MethodInfo
from attribot.records import Records, read_records
from tests.synthetic_run import continue_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    continue_run(path)
    return path


@pytest.fixture(scope="session")
def untimed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without a measured second."""
    path = tmp_path_factory.mktemp("untimed")
    continue_run(path, is_timed=False)
    return path


@pytest.fixture
def untimed(untimed_dir: Path) -> Records:
    return read_records(untimed_dir)


@pytest.fixture
def records(run_dir: Path) -> Records:
    return read_records(run_dir)


def with_families(of: Manifest) -> Manifest:
    """The manifest as if two of the methods were one under a growing setting."""
    families = {
        "hierarchical": MethodInfo("screen, 3 kept, exactly", "trick", "a2", "screen, exactly"),
        "similarity": MethodInfo("screen, 5 kept, exactly", "trick", "a3", "screen, exactly"),
    }
    return replace(of, methods={**of.methods, **families})


def without_model(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as if `similarity` ran no model and took next to no time."""
    summary = summary.copy()
    is_free = summary["method"] == "similarity"
    summary.loc[is_free, ["forward_passes", "flops", "wall_seconds"]] = [0.0, 0.0, 1e-4]
    for column in summary.columns:
        if column.startswith("speedup") and not column.endswith("count"):
            summary.loc[is_free, column] = 20000.0
        if column.startswith(("token_saving", "flops_saving")) and not column.endswith("count"):
            summary.loc[is_free, column] = np.nan
    return summary
