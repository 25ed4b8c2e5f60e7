"""The summary against values worked by hand and against the statistics it is built on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.evaluation.statistics import mean_interval, ratio_interval
from attribot.records import Records, read_records
from attribot.report.summary import summarise
from tests.synthetic_run import METHODS, continue_run, manifest


def test_one_row_per_method_in_the_manifests_order(records: Records) -> None:
    summary = summarise(records)
    shown = {name: info for name, info in METHODS.items() if name != "reference"}
    assert summary["dataset"].tolist() == ["made_up"] * 3
    assert summary["method"].tolist() == list(shown)
    assert summary["label"].tolist() == [info.label for info in shown.values()]
    assert summary["kind"].tolist() == [info.kind for info in shown.values()]
    assert summary["num_examples"].tolist() == [3] * 3


def test_means_and_intervals_are_those_of_the_metric_rows(records: Records) -> None:
    summary = summarise(records).set_index("method")
    # Examples 0 and 2 have outliers; 0.1 is lost per example.
    np.testing.assert_allclose(summary["average_precision"], [0.9, 0.8, 0.4])
    np.testing.assert_allclose(summary["without_outliers"], [1 / 3] * 3)
    np.testing.assert_allclose(summary["spearman"], [0.9] * 3)
    assert summary["average_precision_count"].tolist() == [2] * 3
    interval = mean_interval([0.9, np.nan, 0.7])
    row = summary.loc["hierarchical"]
    assert (row["average_precision_low"], row["average_precision_high"]) == (
        interval.low,
        interval.high,
    )


def test_costs_are_compared_on_the_same_examples(records: Records) -> None:
    summary = summarise(records).set_index("method")
    np.testing.assert_allclose(summary["speedup"], [1, 8, 32])
    np.testing.assert_allclose(summary["token_saving"], [1, 8, 32])
    np.testing.assert_allclose(summary["token_saving_low"], [1, 8, 32])
    np.testing.assert_allclose(summary["flops_saving"], [1, 8, 32])
    np.testing.assert_allclose(summary["wall_seconds"], [8.8, 1.1, 0.275])
    np.testing.assert_allclose(summary["computed_tokens"], [800, 100, 25])
    np.testing.assert_allclose(summary["num_sources"], [4] * 3)
    np.testing.assert_allclose(summary["num_prompt_tokens"], [40] * 3)

    # Without example 0 of the naive method and example 2 of the other, example 1 alone counts.
    costs = records.costs
    is_gone = ((costs["method"] == "loo_naive") & (costs["example_id"] == "example-0")) | (
        (costs["method"] == "hierarchical") & (costs["example_id"] == "example-2")
    )
    costs = costs.assign(wall_seconds=costs["wall_seconds"] ** 2)[~is_gone]
    row = summarise(replace(records, costs=costs)).set_index("method").loc["hierarchical"]
    assert row["speedup_count"] == 1
    assert row["speedup"] == pytest.approx(64)
    assert row["num_examples"] == 2
    similarity = summarise(replace(records, costs=costs)).set_index("method").loc["similarity"]
    interval = ratio_interval([8.8**2, 9.6**2], [0.275**2, 0.3**2])
    assert similarity["speedup_high"] == pytest.approx(interval.high)


def test_a_method_without_flops_has_no_flop_saving(records: Records) -> None:
    costs = records.costs.copy()
    costs.loc[costs["method"] == "similarity", "flops"] = 0.0
    row = summarise(replace(records, costs=costs)).set_index("method").loc["similarity"]
    assert np.isnan(row["flops_saving"])
    assert row["flops_saving_count"] == 0
    assert row["speedup"] == pytest.approx(32)


def test_without_a_naive_method_there_is_no_speedup(tmp_path: Path) -> None:
    continue_run(tmp_path, manifest(naive=None))
    summary = summarise(read_records(tmp_path))
    assert not [name for name in summary.columns if "speedup" in name or "saving" in name]
    assert summary["method"].tolist() == ["hierarchical", "similarity"]


def test_savings_are_ratios_of_sums_resampled_in_pairs(records: Records) -> None:
    costs = records.costs.copy()
    costs["computed_tokens"] *= costs["example_id"].map(lambda name: 1 + int(name[-1]))
    is_other = costs["method"] == "hierarchical"
    costs.loc[is_other, "computed_tokens"] = [100, 50, 400]
    row = summarise(replace(records, costs=costs)).set_index("method").loc["hierarchical"]
    interval = ratio_interval([800, 1600, 2400], [100, 50, 400])
    assert row["token_saving"] == interval.mean == pytest.approx(4800 / 550)
    assert (row["token_saving_low"], row["token_saving_high"]) == (interval.low, interval.high)
    assert row["token_saving_count"] == 3


def test_without_seconds_all_else_stands(records: Records, untimed: Records) -> None:
    timed, summary = summarise(records), summarise(untimed)
    of_time = ["wall_seconds", "speedup", "speedup_low", "speedup_high"]
    assert summary[of_time].isna().all(axis=None)
    assert summary["speedup_count"].tolist() == [0] * 3
    others = summary.columns.drop([*of_time, "speedup_count"])
    assert len(others) == len(summary.columns) - 5
    pd.testing.assert_frame_equal(summary[others], timed[others])


def test_several_data_sets_are_also_pooled(records: Records) -> None:
    def rename(table: pd.DataFrame) -> pd.DataFrame:
        is_other = table["example_id"] == "example-2"
        return table.assign(dataset=table["dataset"].where(~is_other, "other"))

    split = replace(
        records,
        examples=rename(records.examples),
        costs=rename(records.costs),
        metrics=rename(records.metrics),
    )
    summary = summarise(split)
    assert summary["dataset"].unique().tolist() == ["made_up", "other", "all"]
    pooled = summary[summary["dataset"] == "all"].drop(columns="dataset").reset_index(drop=True)
    pd.testing.assert_frame_equal(pooled, summarise(records).drop(columns="dataset"))
    other = summary[summary["dataset"] == "other"].set_index("method")
    np.testing.assert_allclose(other["average_precision"], [0.8, 0.7, 0.3])
    assert other["average_precision_low"].isna().all()


def test_a_run_without_records_gives_an_empty_summary(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=0)
    assert summarise(read_records(tmp_path)).empty
