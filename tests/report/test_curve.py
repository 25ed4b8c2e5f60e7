"""The curve: its points, its front, and the place of what has no cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.errors import InvalidInputError
from attribot.records import Records, read_records
from attribot.report.curve import cost_units, curve_of, pareto_front, ticks
from attribot.report.summary import summarise
from tests.report.conftest import without_model
from tests.synthetic_run import METHODS, continue_run, manifest

SHOWN = ["loo_naive", "hierarchical", "similarity"]


def test_pareto_front_by_hand() -> None:
    x = np.array([1.0, 2.0, 2.0, 3.0, 4.0, 4.0])
    y = np.array([1.0, 1.0, 0.5, 0.4, 0.6, 0.6])
    expected = [False, True, False, False, True, True]
    np.testing.assert_array_equal(pareto_front(x, y), expected)
    np.testing.assert_array_equal(pareto_front(np.empty(0), np.empty(0)), [])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.9, 25) == [1, 2, 5, 10, 20]
    assert ticks(0.04, 0.3) == pytest.approx([0.05, 0.1, 0.2])
    assert ticks(1.5, 250) == [2, 5, 10, 20, 50, 100, 200]
    assert ticks(0.5, 20000) == [1, 10, 100, 1000, 10000]


@pytest.mark.parametrize("unit", ["seconds", "tokens", "flops"])
def test_points_are_the_summarys(records: Records, unit: str) -> None:
    curve = curve_of(summarise(records), records.manifest, unit)  # type: ignore[arg-type]
    points = curve.points
    assert points["method"].tolist() == SHOWN
    for column in ("x", "x_drawn", "x_low", "x_high"):
        np.testing.assert_allclose(points[column], [1, 8, 32])
    np.testing.assert_allclose(points["y"], [0.9, 0.8, 0.4])
    np.testing.assert_allclose(points["y_low"], [0.8, 0.7, 0.3])
    assert points["is_front"].tolist() == [True, True, True]
    assert (curve.is_x_cost, curve.x_suffix, curve.x_free) == (False, "×", None)
    assert curve.x_limits == curve.x_range
    assert curve.x_range[0] < 1
    assert curve.x_range[1] > 32


def test_titles_say_what_was_measured(records: Records) -> None:
    summary = summarise(records)
    seconds = curve_of(summary, records.manifest)
    assert seconds.title == "Faithfulness against speed: data set made_up, n = 3, 2 with outliers"
    assert seconds.subtitle == ("target tiny", "float32 on cpu (abacus, cores: 2)")
    assert seconds.x_title == ("Speedup in wall seconds over LeaveOneOut(target), no reuse")
    flops = curve_of(summary.assign(average_precision_count=3), records.manifest, "flops")
    assert flops.title == "Faithfulness against computation: data set made_up, n = 3"
    assert flops.subtitle == ("target tiny",)
    tokens = curve_of(summary, records.manifest, "tokens")
    assert tokens.heading == "Faithfulness against computed tokens"
    assert tokens.x_title == "Saving in computed tokens over LeaveOneOut(target), no reuse"
    assert tokens.subtitle == ("target tiny",)


def test_without_a_naive_method_cost_stands_in(tmp_path: Path) -> None:
    continue_run(tmp_path, manifest(naive=None))
    records = read_records(tmp_path)
    summary = summarise(records)
    curve = curve_of(summary, records.manifest)
    assert (curve.x_title, curve.x_suffix) == ("Wall seconds per example", " s")
    assert curve.is_x_cost
    np.testing.assert_allclose(curve.points["x"], [1.1, 0.275])
    np.testing.assert_allclose(curve.points["x_low"], [1.1, 0.275])
    assert curve.points["is_front"].tolist() == [True, True]
    assert curve_of(summary, records.manifest, "flops").x_title == "Counted FLOPs per example"

    free = curve_of(without_model(summary), records.manifest)
    assert free.x_free is not None
    assert free.x_free < free.x_break == free.x_range[0]
    assert free.x_limits == (free.x_strip[0], free.x_range[1])


def test_without_seconds_counted_cost_stands_in(records: Records, untimed: Records) -> None:
    assert cost_units(summarise(records)) == ("seconds", "flops")
    summary = summarise(untimed)
    assert cost_units(summary) == ("tokens", "flops")
    curve = curve_of(summary, untimed.manifest, "tokens")
    np.testing.assert_allclose(curve.points["x"], [1, 8, 32])
    seconds = curve_of(summary, untimed.manifest, "seconds")
    assert (len(seconds.points), len(seconds.missing)) == (0, 3)


def test_a_naive_method_without_seconds_gives_no_speedup_but_savings(records: Records) -> None:
    costs = records.costs.copy()
    costs.loc[costs["method"] == "loo_naive", "wall_seconds"] = np.nan
    summary = summarise(replace(records, costs=costs))
    seconds = curve_of(summary, records.manifest, "seconds")
    assert (seconds.is_x_cost, seconds.x_title) == (True, "Wall seconds per example")
    np.testing.assert_allclose(seconds.points["x"], [1.1, 0.275])
    assert seconds.missing == (METHODS["loo_naive"].label,)
    tokens = curve_of(summary, records.manifest, "tokens")
    assert not tokens.is_x_cost
    np.testing.assert_allclose(tokens.points["x"], [1, 8, 32])


def test_tokens_per_example_stand_in_for_savings(tmp_path: Path) -> None:
    continue_run(tmp_path, manifest(naive=None), is_timed=False)
    records = read_records(tmp_path)
    curve = curve_of(summarise(records), records.manifest, "tokens")
    assert (curve.is_x_cost, curve.x_title) == (True, "Computed tokens per example")
    np.testing.assert_allclose(curve.points["x"], [100, 25])
    free = without_model(summarise(records)).assign(computed_tokens=[100.0, 0.0])
    assert curve_of(free, records.manifest, "tokens").points["is_free"].tolist() == [False, True]


@pytest.mark.parametrize("unit", ["seconds", "tokens", "flops"])
def test_methods_without_a_model_stand_beyond_the_scale(records: Records, unit: str) -> None:
    summary = pd.concat(
        [without_model(summarise(records)), without_model(summarise(records)).tail(1)]
    ).reset_index(drop=True)
    worse = len(summary) - 1
    summary.loc[worse, ["method", "average_precision", "speedup"]] = ["random", 0.1, 99999.0]
    curve = curve_of(summary, records.manifest, unit)  # type: ignore[arg-type]
    assert curve.points["is_free"].tolist() == [False, False, True, True]
    assert curve.x_free is not None
    assert curve.points["x_drawn"].tolist() == [1, 8, curve.x_free, curve.x_free]
    # Their measured times stretch no scale and decide nothing among themselves.
    assert 8 < curve.x_break == curve.x_range[1] < 20
    assert curve.x_break < curve.x_free < curve.x_strip[1] == curve.x_limits[1]
    assert curve.points["is_front"].tolist() == [True, True, True, False]


def test_what_was_not_counted_is_named_not_drawn(records: Records) -> None:
    summary = summarise(records)
    summary.loc[2, ["flops", "flops_saving", "flops_saving_low", "flops_saving_high"]] = [
        *(0.0, np.nan, np.nan, np.nan)
    ]
    curve = curve_of(summary, records.manifest, "flops")
    assert (curve.missing, curve.wanting) == (("Similarity",), "no mAP or no counted FLOPs")
    assert curve.points["method"].tolist() == SHOWN[:2]
    costs = summary[["flops", "forward_passes"]].join(summary.iloc[:, :9])
    assert curve_of(costs, records.manifest, "flops").missing == ("Similarity",)
    assert curve_of(summary, records.manifest).missing == ()


def test_methods_without_a_map_are_named_not_drawn(records: Records) -> None:
    summary = summarise(records)
    metric = ["average_precision", "average_precision_low", "average_precision_high"]
    summary.loc[2, metric] = np.nan
    curve = curve_of(summary, records.manifest)
    assert curve.missing == (METHODS["similarity"].label,)
    assert curve.points["method"].tolist() == SHOWN[:2]
    empty = curve_of(summary.drop(columns=metric), records.manifest)
    assert (len(empty.points), len(empty.missing)) == (0, 3)


def test_another_scale_moves_what_stands_beyond_it_and_nothing_else(records: Records) -> None:
    curve = curve_of(without_model(summarise(records)), records.manifest)
    wider = curve.over((0.5, 100.0), has_strip=True)
    assert wider.x_range == (0.5, 100.0)
    assert wider.x_free is not None
    assert wider.points["x_drawn"].tolist() == [1, 8, wider.x_free]
    assert 100 < wider.x_free < wider.x_strip[1] == wider.x_limits[1]
    pd.testing.assert_frame_equal(
        wider.points.drop(columns="x_drawn"), curve.points.drop(columns="x_drawn")
    )
    timed = curve_of(summarise(records), records.manifest)
    assert timed.over((0.5, 100.0), has_strip=False).x_free is None


def test_the_pooled_data_sets_are_drawn(records: Records) -> None:
    summary = summarise(records)
    pooled = pd.concat([summary.assign(dataset=name) for name in ("made_up", "other", "all")])
    curve = curve_of(pooled, records.manifest)
    assert len(curve.points) == 3
    assert "2 data sets, n = 3" in curve.title


def test_an_unknown_unit_lists_the_known_ones(records: Records) -> None:
    with pytest.raises(
        InvalidInputError, match="unknown unit of cost 'watts'; known: seconds, tokens, fl"
    ):
        curve_of(summarise(records), records.manifest, "watts")  # type: ignore[arg-type]
