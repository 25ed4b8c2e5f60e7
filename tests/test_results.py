"""What is committed under results/ is what its records say; figures quoted are those of tables."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

from attribot.data.examples import BundledDataset
from attribot.manifest import read_manifest
from attribot.records import read_records
from attribot.report.joining import join_runs
from attribot.report.summary import summarise
from experiments.benchmark.report import build
from experiments.verdicts import __main__ as verdicts
from experiments.views import build_views, views_of
from tests.quoted_numbers import FIGURE, TIME_OF_A_RUN, blocks, problems

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "results"
WITH_RECORDS = sorted(path.parent for path in RESULTS.glob("*/records"))
VIEWS = [(folder.name, view) for folder in WITH_RECORDS for view in views_of(folder)]
OWN_PAGE = {"tables": "tables/curve.md", "sensitivity": "sensitivity/sensitivity.md"}
BENCHMARK = RESULTS / "benchmark"
README = (RESULTS / "README.md").read_text(encoding="utf-8")
CLAIMS = yaml.safe_load((RESULTS / "claims.yaml").read_text(encoding="utf-8"))
PAGES = ["README.md", "results/README.md"]
PAGES += [f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES.remove("docs/methods.md")  # is written from the tables, and compared with them


def records_of(experiment):
    return join_runs([read_records(run) for run in sorted(experiment.glob("records/*"))])


@pytest.fixture(params=[name for name, view in VIEWS if view == "tables"])
def experiment(request):
    return RESULTS / request.param


@pytest.mark.slow
def test_the_table_is_a_view_of_the_records(experiment):
    expected = summarise(records_of(experiment))
    committed = pd.read_csv(experiment / "tables" / "curve.csv")
    pd.testing.assert_frame_equal(committed, expected, check_dtype=False, rtol=1e-9)


@pytest.mark.parametrize("folder", WITH_RECORDS, ids=lambda path: path.name)
def test_runs_were_finished_on_a_clean_commit(folder):
    for run in folder.glob("records/*"):
        manifest = read_manifest(run)
        assert manifest.finished_at
        assert manifest.is_dirty is False


def time_of_run(table):
    """Minutes of the parts, commit and date in the row of the README that links the table."""
    (row,) = [line for line in README.splitlines() if line.startswith("|") and f"({table})" in line]
    minutes, commit, date = [cell.strip() for cell in row.strip("|").split("|")][-3:]
    return sorted(map(int, minutes.split(" + "))), commit, date


@pytest.mark.parametrize("folder", WITH_RECORDS, ids=lambda path: path.name)
def test_the_readme_says_when_runs_were_and_how_long_they_took(folder):
    manifests = [read_manifest(run) for run in folder.glob("records/*")]
    starts = [datetime.fromisoformat(manifest.started_at) for manifest in manifests]
    ends = [datetime.fromisoformat(manifest.finished_at) for manifest in manifests]
    took = [(end - start).total_seconds() / 60 for start, end in zip(starts, ends, strict=True)]
    # Of the many short runs of a sweep, the sum.
    minutes = sorted(map(round, took)) if len(took) <= 4 else [round(sum(took))]
    (commit,) = {manifest.git_commit[:7] for manifest in manifests}
    found = time_of_run(f"{folder.name}/{OWN_PAGE[views_of(folder)[0]]}")
    assert found == (minutes, commit, str(max(ends).date()))


@pytest.mark.parametrize("table", ["benchmark/benchmark", "efficiency/generation_time"])
def test_the_readme_says_when_seconds_were_measured_and_for_how_long(table):
    stored = json.loads((RESULTS / f"{table}.json").read_text(encoding="utf-8"))
    runs = stored["runs"] if "runs" in stored else [stored["run"]]
    measured = pd.read_csv(RESULTS / f"{table}.csv").assign(all=1)
    seconds = measured.groupby("run" if "run" in measured else "all")["seconds"].sum()
    ((commit, date),) = {(run["commit"][:7], run["date"]) for run in runs}
    took = sorted(round(each / 60) for each in seconds)
    assert time_of_run(f"{table}.md") == (took, commit, date)


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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "view"), [pair for pair in VIEWS if pair[1] != "tables"])
def test_views_of_records_are_what_their_command_gives(name, view, tmp_path, monkeypatch):
    copied = tmp_path / "results" / name
    copied.mkdir(parents=True)
    (copied / "records").symlink_to(RESULTS / name / "records")
    monkeypatch.chdir(tmp_path)
    results = Path("results", name)
    build_views([view], sorted(results.glob("records/*")), results)
    committed = [path for path in (RESULTS / name / view).iterdir() if path.suffix != ".png"]
    assert committed
    for path in committed:
        assert (copied / view / path.name).read_text("utf-8") == path.read_text("utf-8"), path.name


def blocks_of(page):
    path = REPOSITORY / page
    return list(blocks(path.read_text(encoding="utf-8"), path.parent, RESULTS))


@pytest.fixture(scope="module")
def phrases():
    """Phrases with figures that no single cell holds, from the records."""
    contexts = records_of(RESULTS / "first_results").examples
    medians = contexts.groupby("dataset")["num_sources"].median()
    tokens = records_of(RESULTS / "ablation_windows").examples["num_prompt_tokens"]
    compositions = set(pd.read_csv(RESULTS / "efficiency" / "efficiency.csv")["composition"])
    ranking = pd.read_csv(RESULTS / "comparison" / "tables" / "ranking.csv")
    ranked = ranking.query("dataset == 'all' and metric == 'average_precision'")
    at2 = json.loads((RESULTS / "comparison" / "estimators" / "at2.json").read_text("utf-8"))
    return [
        f"{contexts['num_sources'].min()} to {contexts['num_sources'].max()} sentences, with "
        f"medians of {medians.min():.0f} to {medians.max():.0f}",
        f"{tokens.min():,} to {tokens.max():,} tokens",
        f"{len([name for name in compositions if not name.startswith('(floor)')])} compositions",
        f"{ranked['groups'].str.contains('a').sum()} of {len(ranked)} methods",
        f"{at2['training']['num_examples']} other questions",
        f"{len(list(BundledDataset().candidates()))} bundled questions",
    ]


def test_phrases_of_the_records_are_quoted(phrases):
    quoted = " ".join(" ".join(block.text for page in PAGES for block in blocks_of(page)).split())
    assert [phrase for phrase in phrases if phrase not in quoted] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_that_of_its_record(page, phrases):
    """See tests/quoted_numbers.py."""
    found = [problem for block in blocks_of(page) for problem in problems(block, phrases)]
    assert found == []


def test_no_figure_passes_with_another_last_digit(phrases):
    altered = []
    for block in blocks_of("results/README.md"):
        text = re.sub(TIME_OF_A_RUN, "", block.text)
        for figure in FIGURE.finditer(text):
            end = figure.end(1)
            digit = str((int(text[end - 1]) + 1) % 10)
            altered.append(replace(block, text=text[: end - 1] + digit + text[end:]))
    assert len(altered) > 400
    assert [block.text for block in altered if not problems(block, phrases)] == []
