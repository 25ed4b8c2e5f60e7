"""The curve: its points, its front, and a drawing that is the same every time."""

from pathlib import Path

import numpy as np
import pandas as pd
import vl_convert
from matplotlib.image import imread

from attribot.records import Records, read_records
from attribot.report.figures import curve_of, curve_spec, draw_curve, pareto_front
from attribot.report.summary import summarise
from tests.synthetic_run import METHODS, continue_run, manifest


def test_pareto_front_by_hand() -> None:
    x = np.array([1.0, 2.0, 2.0, 3.0, 4.0, 4.0])
    y = np.array([1.0, 1.0, 0.5, 0.4, 0.6, 0.6])
    expected = [False, True, False, False, True, True]
    np.testing.assert_array_equal(pareto_front(x, y), expected)
    np.testing.assert_array_equal(pareto_front(np.empty(0), np.empty(0)), [])


def test_points_are_the_summarys(records: Records) -> None:
    curve = curve_of(summarise(records), records.manifest)
    points = curve.points
    assert points["method"].tolist() == list(METHODS)
    np.testing.assert_allclose(points["x"], [1, 2, 8, 32])
    np.testing.assert_allclose(points["y"], [0.9, 0.9, 0.8, 0.4])
    np.testing.assert_allclose(points["y_low"], [0.8, 0.8, 0.7, 0.3])
    assert points["is_front"].tolist() == [False, True, True, True]
    assert curve.title == "made_up, 3 examples; target tiny"
    assert (curve.x_title, curve.is_x_cost) == ("Speedup over loo_naive", False)


def test_without_a_naive_method_seconds_stand_in(tmp_path: Path) -> None:
    continue_run(tmp_path, manifest(naive=None))
    records = read_records(tmp_path)
    curve = curve_of(summarise(records), records.manifest)
    assert (curve.x_title, curve.is_x_cost) == ("Seconds per example", True)
    np.testing.assert_allclose(curve.points["x"], [4.4, 1.1, 0.275])
    np.testing.assert_allclose(curve.points["x_low"], [4.4, 1.1, 0.275])
    assert curve.points["is_front"].tolist() == [True, True, True]
    draw_curve(curve, tmp_path / "curve.png")
    assert curve_spec(curve)["layer"][0]["encoding"]["x"]["scale"]["reverse"] is True


def test_methods_without_a_map_are_named_not_drawn(records: Records, tmp_path: Path) -> None:
    summary = summarise(records)
    metric = ["average_precision", "average_precision_low", "average_precision_high"]
    summary.loc[3, metric] = np.nan
    curve = curve_of(summary, records.manifest)
    assert curve.missing == ("similarity",)
    assert curve.points["method"].tolist() == list(METHODS)[:3]
    empty = curve_of(summary.drop(columns=metric), records.manifest)
    assert (len(empty.points), empty.missing) == (0, tuple(METHODS))
    draw_curve(empty, tmp_path / "empty.png")


def test_the_pooled_data_sets_are_drawn(records: Records) -> None:
    summary = summarise(records)
    pooled = pd.concat([summary.assign(dataset=name) for name in ("made_up", "other", "all")])
    curve = curve_of(pooled, records.manifest)
    assert len(curve.points) == 4
    assert curve.title.startswith("made_up, 3 examples")


def test_the_drawing_is_deterministic_and_shows_every_kind(
    records: Records, tmp_path: Path
) -> None:
    curve = curve_of(summarise(records), records.manifest)
    for name in ("first.png", "second.png"):
        draw_curve(curve, tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "second.png").read_bytes()
    pixels = np.round(imread(tmp_path / "first.png")[..., :3] * 255).astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert ((pixels == colour).all(axis=2)).sum() > 50


def test_the_specification_is_valid_and_holds_the_points(records: Records) -> None:
    spec = curve_spec(curve_of(summarise(records), records.manifest))
    assert vl_convert.vegalite_to_svg(spec).count("hierarchical") >= 1
    scales = {
        layer["encoding"]["x"]["scale"]["type"]
        for layer in spec["layer"]
        if "x" in layer["encoding"]
    }
    assert scales == {"log"}
    methods = [{point["method"] for point in points} for points in spec["datasets"].values()]
    assert set(METHODS) in methods
