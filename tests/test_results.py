"""What is committed under results/ is what its records say."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from attribot.records import read_records
from attribot.report.merging import merge_records
from attribot.report.summary import summarise
from experiments.benchmark_report import build

RESULTS = Path(__file__).resolve().parents[1] / "results"
EXPERIMENTS = sorted(path.parent for path in RESULTS.glob("*/records"))
BENCHMARK = RESULTS / "benchmark"
README = (RESULTS / "README.md").read_text()


def records_of(experiment):
    return merge_records([read_records(run) for run in sorted(experiment.glob("records/*"))])


@pytest.fixture(params=EXPERIMENTS, ids=lambda path: path.name)
def experiment(request):
    return request.param


def test_the_table_is_a_view_of_the_records(experiment):
    expected = summarise(records_of(experiment))
    committed = pd.read_csv(experiment / "tables" / "curve.csv")
    pd.testing.assert_frame_equal(committed, expected, check_dtype=False, rtol=1e-9)


def test_the_run_was_finished_on_a_clean_commit(experiment):
    manifest = records_of(experiment).manifest
    assert manifest.finished_at
    assert manifest.is_dirty is False
    assert manifest.git_commit[:7] in README


def test_the_readme_names_every_committed_result(experiment):
    for view in ("tables/curve.md", "figures/curve.png", "figures/curve_flops.png"):
        assert (experiment / view).stat().st_size > 0
        assert f"({experiment.name}/{view})" in README


def test_the_benchmark_is_a_view_of_its_measurements(tmp_path):
    for name in ("benchmark.csv", "benchmark.json"):
        shutil.copy(BENCHMARK / name, tmp_path)
    assert build(tmp_path).read_text() == (BENCHMARK / "benchmark.md").read_text()


def test_quoted_numbers_stand_in_a_table():
    """Every decimal number in the prose is a number of a committed table, rounded as quoted."""
    prose = README.split("## What the numbers show")[1]
    quoted = re.findall(r"-?\d+\.\d+", prose)
    assert quoted
    tables = [pd.read_csv(e / "tables" / "curve.csv") for e in EXPERIMENTS]
    known = pd.concat([t.select_dtypes("number").stack() for t in tables]).to_numpy()
    measured = re.findall(r"-?\d+\.\d+", (BENCHMARK / "benchmark.md").read_text())
    for text in quoted:
        digits = len(text.split(".")[1])
        is_known = float(text) in set(known.round(digits)) or text in measured
        assert is_known, f"{text} stands in no committed table"
