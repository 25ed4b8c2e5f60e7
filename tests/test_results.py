"""What is committed under results/ is what its records say; what is quoted stands in a table."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from attribot.records import read_records
from attribot.report.merging import merge_records
from attribot.report.summary import summarise
from experiments.assumptions import __main__ as assumptions
from experiments.benchmark.report import build
from experiments.best_setting import __main__ as best_setting
from experiments.sensitivity import __main__ as sensitivity
from experiments.verdicts import __main__ as verdicts

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "results"
EXPERIMENTS = sorted(path.parent for path in RESULTS.glob("*/records"))
BEST_SETTINGS = sorted(path.parent for path in RESULTS.glob("*/best_settings.md"))
VIEWS = [
    (command.build, folder)
    for command in (assumptions, sensitivity)
    for folder in sorted(RESULTS.glob(f"*/{command.__name__.split('.')[-1]}"))
]
TABLES = sorted(RESULTS.rglob("*.csv"))
BENCHMARK = RESULTS / "benchmark"
README = (RESULTS / "README.md").read_text(encoding="utf-8")
CLAIMS = yaml.safe_load((RESULTS / "claims.yaml").read_text(encoding="utf-8"))
# A decimal that is no part of a name, a version or a longer number; `1.8x` is one.
DECIMAL = re.compile(r"(?<![\w.:/-])-?\d+\.\d+(?=x\b|\W|$)(?!\.\d)")
# What stands in the READMEs with a decimal point and is no result.
NAMES = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|Python 3\.\d+|Apache-2\.0", flags=re.S)


def records_of(experiment):
    return merge_records([read_records(run) for run in sorted(experiment.glob("records/*"))])


@pytest.fixture(params=EXPERIMENTS, ids=lambda path: path.name)
def experiment(request):
    return request.param


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_benchmark_is_a_view_of_its_measurements(tmp_path):
    for name in ("benchmark.csv", "benchmark.json"):
        shutil.copy(BENCHMARK / name, tmp_path)
    assert build(tmp_path).read_text() == (BENCHMARK / "benchmark.md").read_text()


@pytest.mark.slow
def test_the_verdicts_are_what_claims_and_tables_give(tmp_path):
    """Every verdict is checked against its numbers on the way."""
    for entry in RESULTS.iterdir():
        if entry.name != "verdicts.md":
            (tmp_path / entry.name).symlink_to(entry)
    written = verdicts.build(tmp_path / "claims.yaml").read_text(encoding="utf-8")
    assert written == (RESULTS / "verdicts.md").read_text(encoding="utf-8")


def test_links_of_the_verdicts_lead_to_tables():
    text = (RESULTS / "verdicts.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"\]\(([^)]+)\)", text))
    assert len(targets) > 2
    for target in targets:
        assert (RESULTS / target).is_file(), target


@pytest.mark.parametrize("folder", CLAIMS["results"])
def test_commands_behind_claims_exist(folder):
    words = shlex.split(CLAIMS["results"][folder]["command"])
    if words[:2] == ["make", "reproduce"]:
        (name,) = [w.removeprefix("EXPERIMENT=") for w in words if w.startswith("EXPERIMENT=")]
        assert name == folder
        assert (REPOSITORY / "conf" / "experiment" / f"{name}.yaml").is_file()
        assert "\nreproduce:" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    else:
        assert words[:2] == ["python", "-m"]
        assert find_spec(words[2]) is not None


@pytest.mark.parametrize("folder", BEST_SETTINGS, ids=lambda path: path.name)
@pytest.mark.slow
def test_best_settings_are_what_their_command_gives(folder, tmp_path, monkeypatch):
    page = (folder / "best_settings.md").read_text(encoding="utf-8")
    (arguments,) = re.search(r"`python -m experiments\.best_setting (.+)`", page).groups()
    copied = tmp_path / folder.relative_to(REPOSITORY)
    copied.mkdir(parents=True)
    (copied / "records").symlink_to(folder / "records")
    monkeypatch.chdir(tmp_path)
    best_setting.main(shlex.split(arguments))
    assert (copied / "best_settings.md").read_text(encoding="utf-8") == page
    for name in ("best_settings.csv", "best_settings_chosen.csv"):
        found, committed = pd.read_csv(copied / name), pd.read_csv(folder / name)
        pd.testing.assert_frame_equal(found, committed, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("build_view", "folder"), VIEWS, ids=lambda v: getattr(v, "name", None))
def test_views_of_records_are_what_their_command_gives(build_view, folder, tmp_path):
    build_view(sorted(folder.parent.glob("records/*")), tmp_path)
    for path in sorted(folder.glob("*.csv")) + sorted(folder.glob("*.md")):
        assert (tmp_path / path.name).read_text("utf-8") == path.read_text("utf-8"), path.name


@pytest.fixture(scope="module")
def known():
    """Whether a decimal, as quoted, is a number of a committed table, rounded to its digits."""
    numbers = [pd.read_csv(table).select_dtypes("number") for table in TABLES]
    values = np.concatenate([table.to_numpy(float).ravel() for table in numbers])
    # Medians over rounds, which the table of single rounds does not have.
    measured = set(DECIMAL.findall((BENCHMARK / "benchmark.md").read_text(encoding="utf-8")))
    rounded = {}

    def is_known(text):
        digits = len(text.split(".")[1])
        if digits not in rounded:
            rounded[digits] = set(values.round(digits))
        return float(text) in rounded[digits] or text in measured

    return is_known


def test_only_numbers_of_tables_are_known(known):
    """The check can fail: these are in no table."""
    assert not known("0.123456789")
    assert not known("98765.4")


def test_decimals_are_found_in_prose_and_not_in_names():
    text = "1.79× [-0.5, 2.0], Python 3.11, [Apache-2.0](a-1.5.md) `x=0.5` v1.2.3 qwen2.5-1.5b "
    text += "0.25x 0.9."
    assert DECIMAL.findall(NAMES.sub(" ", text)) == ["1.79", "-0.5", "2.0", "0.25", "0.9"]


def test_numbers_quoted_in_the_results_stand_in_a_table(known):
    quoted = DECIMAL.findall(NAMES.sub(" ", README.split("## What the numbers show")[1]))
    assert len(quoted) > 100
    for text in quoted:
        assert known(text), f"{text} stands in no committed table"


def test_numbers_quoted_in_the_readme_stand_in_a_table(known):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for text in DECIMAL.findall(NAMES.sub(" ", readme)):
        assert known(text), f"{text} stands in no committed table"
