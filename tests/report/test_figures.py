"""The drawings: the same every time, every kind in sight, nothing outside the axes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from attribot.records import Records, read_records
from attribot.report.curve import curve_of
from attribot.report.figures import STRIP_COLOUR, draw_curve, draw_panels
from attribot.report.looks import KIND_LOOKS, looks_of
from attribot.report.panels import panels_of
from attribot.report.series import series_of
from attribot.report.summary import summarise
from attribot.types import IntArray
from tests.report.conftest import with_families, without_model
from tests.synthetic_run import continue_run, manifest


def pixels(path: Path) -> IntArray:
    return np.round(imread(path)[..., :3] * 255).astype(np.int64)


def count(path: Path, colour: str) -> int:
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((pixels(path) == wanted).all(axis=2).sum())


@pytest.mark.slow
def test_the_drawing_is_deterministic_and_shows_every_kind(
    records: Records, tmp_path: Path
) -> None:
    curve = curve_of(summarise(records), records.manifest)
    for name in ("first.png", "second.png"):
        draw_curve(curve, tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "second.png").read_bytes()
    for look in KIND_LOOKS.values():
        assert count(tmp_path / "first.png", look.edge) > 50
    assert count(tmp_path / "first.png", STRIP_COLOUR) < 1000


def test_kinds_differ_without_colour() -> None:
    def is_dark(filling: str) -> bool:
        return filling < "#808080"

    looks = [(look.marker, is_dark(look.filling)) for look in KIND_LOOKS.values()]
    assert len({marker for marker, _ in looks}) == len(looks)
    assert {dark for _, dark in looks} == {True, False}


@pytest.mark.parametrize("naive", ["loo_naive", None])
@pytest.mark.slow
def test_methods_without_a_model_stand_on_a_strip(tmp_path: Path, naive: str | None) -> None:
    continue_run(tmp_path, manifest(naive=naive))
    records = read_records(tmp_path)
    curve = curve_of(without_model(summarise(records)), records.manifest)
    draw_curve(curve, tmp_path / "curve.png")
    is_strip = (pixels(tmp_path / "curve.png") == int(STRIP_COLOUR[1:3], 16)).all(axis=2)
    columns = np.flatnonzero(is_strip.sum(axis=0) > 100)
    assert count(tmp_path / "curve.png", STRIP_COLOUR) > 10_000
    # At the right end, whichever way the axis runs.
    assert columns.min() > is_strip.shape[1] / 2
    assert columns.max() > 0.98 * is_strip.shape[1]


def test_nothing_to_draw_is_said(records: Records, tmp_path: Path) -> None:
    summary = summarise(records).drop(columns="average_precision")
    draw_curve(curve_of(summary, records.manifest), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


@pytest.mark.slow
def test_panels_are_deterministic_and_show_every_series(records: Records, tmp_path: Path) -> None:
    of = with_families(records.manifest)
    summary = without_model(summarise(records))
    parts = pd.concat([summary.assign(dataset=name) for name in ("short", "long", "all")])
    panels = panels_of(parts, of)
    for name in ("first.png", "second.png"):
        draw_panels(panels, tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    for name, look in looks_of(series_of(of)).items():
        assert count(tmp_path / "first.png", look.edge) > 100, name
    is_strip = (pixels(tmp_path / "first.png") == int(STRIP_COLOUR[1:3], 16)).all(axis=2)
    columns = np.flatnonzero(is_strip.sum(axis=0) > 100)
    # Two strips, with a panel's scale between them.
    assert (np.diff(columns) > 200).sum() == 1


def test_panels_without_a_point_can_be_drawn(records: Records, tmp_path: Path) -> None:
    summary = summarise(records).drop(columns="average_precision")
    parts = pd.concat([summary.assign(dataset=name) for name in ("short", "long")])
    draw_panels(panels_of(parts, records.manifest), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0
