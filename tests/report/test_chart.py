"""The curve's numbers for the page: every point, where it is drawn, and in JSON."""

import json
from pathlib import Path

import pytest

from attribot.records import Records, read_records
from attribot.report.chart import ChartData, chart_data
from attribot.report.curve import Curve, curve_of
from attribot.report.summary import summarise
from tests.report.conftest import without_model
from tests.synthetic_run import METHODS, continue_run, manifest


def checked(curve: Curve) -> ChartData:
    chart = chart_data(curve, "seconds")
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart
    return chart


def test_the_chart_holds_every_point_and_its_interval(records: Records) -> None:
    curve = curve_of(summarise(records), records.manifest)
    chart = checked(curve)
    assert [point["method"] for point in chart["points"]] == [
        "loo_naive",
        "hierarchical",
        "similarity",
    ]
    point = chart["points"][1]
    assert (point["label"], point["kind"]) == (METHODS["hierarchical"].label, "trick")
    assert (point["x"], point["x_drawn"]) == (pytest.approx(8), pytest.approx(8))
    assert (point["y"], point["y_low"], point["y_high"]) == pytest.approx((0.8, 0.7, 0.9))
    assert (chart["unit"], chart["x_suffix"], chart["x_free"]) == ("seconds", "×", None)
    assert chart["x_limits"] == list(curve.x_range)
    assert chart["x_ticks"] == [1.0, 2.0, 5.0, 10.0, 20.0]
    assert chart["missing"] == ""


def test_methods_without_a_model_stand_in_their_strip(tmp_path: Path) -> None:
    for naive, is_cost in (("loo_naive", False), (None, True)):
        continue_run(tmp_path / str(naive), manifest(naive=naive))
        records = read_records(tmp_path / str(naive))
        chart = checked(curve_of(without_model(summarise(records)), records.manifest))
        assert chart["is_x_cost"] == is_cost
        free = chart["points"][-1]
        assert (free["method"], free["is_free"]) == ("similarity", True)
        low, high = chart["x_strip"]
        assert chart["x_free"] is not None
        assert low < chart["x_free"] == free["x_drawn"] < high
        assert (high if not is_cost else low) in chart["x_limits"]


def test_what_is_not_drawn_is_named(records: Records) -> None:
    summary = summarise(records)
    summary.loc[summary["method"] == "similarity", "average_precision"] = float("nan")
    chart = checked(curve_of(summary, records.manifest))
    assert chart["missing"] == "Not drawn (no mAP or no time): Similarity."
    assert len(chart["points"]) == 2
