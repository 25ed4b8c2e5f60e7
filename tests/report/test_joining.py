"""Runs of several settings as one run of many methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.records import TABLES, Records
from attribot.report.build import build_report
from attribot.report.joining import join_runs
from attribot.report.summary import summarise
from tests.synthetic_run import RUN_ID, continue_run, manifest

EXACT = ("loo_naive", "reference")


def setting(records: Records, method: str, label: str, run_id: str, **changes: object) -> Records:
    """A sweep's run: the exact methods and one of the run's others, as `selected`."""
    infos = {name: records.manifest.methods[name] for name in EXACT}
    infos["selected"] = replace(records.manifest.methods[method], label=label)
    described = replace(records.manifest, run_id=run_id, methods=infos, **changes)
    tables = {
        name: getattr(records, name)[getattr(records, name)["method"].isin([*EXACT, method])]
        for name in TABLES
        if name != "examples"
    }
    renamed = {
        name: rows.assign(method=rows["method"].replace(method, "selected"))
        for name, rows in tables.items()
    }
    return Records(described, examples=records.examples, **renamed)


def test_a_sweeps_runs_are_the_run_that_has_all_their_methods(records: Records) -> None:
    runs = [
        setting(records, "hierarchical", "k = 1", "run-a"),
        setting(records, "similarity", "k = 2", "run-b"),
    ]
    joined = join_runs(runs)
    names = {"hierarchical": "k_1", "similarity": "k_2"}
    assert list(joined.manifest.methods) == [*EXACT, *names.values()]
    assert [info.label for info in joined.manifest.methods.values()][2:] == ["k = 1", "k = 2"]
    whole, found = (
        summarise(of).set_index("method").drop(columns=["label", "kind"])
        for of in (records, joined)
    )
    pd.testing.assert_frame_equal(whole.rename(index=names), found)
    assert joined.manifest.run_id == "run-a + run-b"
    assert set(joined.manifest.config) == {"run-a", "run-b"}


def test_proxies_of_several_runs_are_all_named(records: Records) -> None:
    target = records.manifest.models["target"]
    runs = [
        setting(
            records,
            "hierarchical",
            name,
            name,
            models={"target": target, "proxy": replace(target, name=name)},
        )
        for name in ("small", "large")
    ]
    joined = join_runs(runs)
    assert {role: model.name for role, model in joined.manifest.models.items()} == {
        "target": "tiny",
        "proxy": "small",
        "proxy_2": "large",
    }


def test_one_run_and_equal_runs_on_other_examples_are_merged(records: Records) -> None:
    alone = join_runs([records])
    assert alone.manifest.run_id == RUN_ID
    pd.testing.assert_frame_equal(alone.metrics, records.metrics)
    tables = {
        name: getattr(records, name).assign(
            example_id="more-" + getattr(records, name)["example_id"]
        )
        for name in TABLES
    }
    assert len(join_runs([records, replace(records, **tables)]).examples) == 6


def altered_responses(records: Records) -> Records:
    return replace(records, examples=records.examples.assign(response_sha="other"))


def other_target(records: Records) -> Records:
    models = {"target": replace(records.manifest.models["target"], weights_sha="w1")}
    return replace(records, manifest=replace(records.manifest, models=models))


def other_precision(records: Records) -> Records:
    is_precision = records.metrics["metric"] == "average_precision"
    values = records.metrics["value"].where(~is_precision, records.metrics["value"] / 2)
    return replace(records, metrics=records.metrics.assign(value=values))


def test_what_cannot_be_compared_is_refused(records: Records) -> None:
    one = setting(records, "hierarchical", "k = 1", "run-a")
    two = setting(records, "similarity", "k = 2", "run-b")
    for other, message in (
        (altered_responses(two), "run-a and run-b differ in examples, prompts or responses"),
        (other_target(two), "run-a and run-b differ in the target"),
        (replace(two, manifest=replace(two.manifest, seed=5)), "differ in seed"),
        (replace(two, manifest=replace(two.manifest, git_commit="0ff1ce")), "differ in git_commit"),
        (setting(records, "similarity", "k = 1", "run-c"), "'k = 1' stands for several settings"),
        (
            setting(records, "similarity", "k: 1", "run-c"),
            "'k = 1' and 'k: 1' make one name, 'k_1'",
        ),
        (other_precision(two), "'LeaveOneOut.target., no reuse' stands for several settings"),
    ):
        with pytest.raises(RecordsError, match=message):
            join_runs([one, other])
    with pytest.raises(RecordsError, match="nothing to merge"):
        join_runs([])


@pytest.mark.slow
def test_the_report_of_a_sweep_shows_every_setting(tmp_path: Path) -> None:
    infos = manifest().methods
    for name, label in (("hierarchical", "k = 1"), ("similarity", "k = 2")):
        methods = {of: infos[of] for of in EXACT} | {name: replace(infos[name], label=label)}
        continue_run(tmp_path / name, replace(manifest(), methods=methods))
    build_report([tmp_path / "hierarchical", tmp_path / "similarity"], tmp_path)
    labels = pd.read_csv(tmp_path / "tables" / "curve.csv")["label"].unique()
    assert {"k = 1", "k = 2"} < set(labels)
