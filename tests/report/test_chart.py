"""The chart of the page: a valid specification that holds every point."""

from pathlib import Path
from typing import Any

import vl_convert

from attribot.records import Records, read_records
from attribot.report.chart import chart_spec
from attribot.report.curve import curve_of
from attribot.report.summary import summarise
from tests.report.conftest import without_model
from tests.synthetic_run import METHODS, continue_run, manifest


def x_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [layer["encoding"]["x"] for layer in spec["layer"]]


def test_the_specification_is_valid_and_holds_the_points(records: Records) -> None:
    spec = chart_spec(curve_of(summarise(records), records.manifest))
    svg = vl_convert.vegalite_to_svg(spec)
    # Vega words every point of its marks for screen readers.
    for name in ("loo_naive", "hierarchical", "similarity"):
        assert f"method: {METHODS[name].label}; name: {name}" in svg
    assert ">10×<" in svg
    assert "no model" not in svg
    assert {x["scale"]["type"] for x in x_of(spec)} == {"log"}


def test_the_page_finds_the_points_by_name(records: Records) -> None:
    spec = chart_spec(curve_of(summarise(records), records.manifest))
    marks = vl_convert.vegalite_to_vega(spec)["marks"]
    assert [mark["type"] for mark in marks if mark["name"] == "points_marks"] == ["symbol"]


def test_methods_without_a_model_have_a_tick_of_their_own(tmp_path: Path) -> None:
    for naive, is_reversed in (("loo_naive", False), (None, True)):
        continue_run(tmp_path / str(naive), manifest(naive=naive))
        records = read_records(tmp_path / str(naive))
        curve = curve_of(without_model(summarise(records)), records.manifest)
        spec = chart_spec(curve)
        assert vl_convert.vegalite_to_svg(spec).count(">no model<") == 1
        assert all(x["axis"]["values"][-1] == curve.x_free for x in x_of(spec))
        assert {x["scale"]["reverse"] for x in x_of(spec)} == {is_reversed}
