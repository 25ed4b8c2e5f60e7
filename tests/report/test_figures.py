"""The drawings: the same every time, every kind in sight, nothing outside the axes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from attribot.records import Records, read_records
from attribot.report.curve import curve_of
from attribot.report.figures import KIND_STYLES, STRIP_COLOUR, draw_curve
from attribot.report.summary import summarise
from attribot.types import IntArray
from tests.report.conftest import without_model
from tests.synthetic_run import continue_run, manifest


def pixels(path: Path) -> IntArray:
    return np.round(imread(path)[..., :3] * 255).astype(np.int64)


def count(path: Path, colour: str) -> int:
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((pixels(path) == wanted).all(axis=2).sum())


def test_the_drawing_is_deterministic_and_shows_every_kind(
    records: Records, tmp_path: Path
) -> None:
    curve = curve_of(summarise(records), records.manifest)
    for name in ("first.png", "second.png"):
        draw_curve(curve, tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "second.png").read_bytes()
    for _, edge, _ in KIND_STYLES.values():
        assert count(tmp_path / "first.png", edge) > 50
    assert count(tmp_path / "first.png", STRIP_COLOUR) < 1000


def test_kinds_differ_without_colour() -> None:
    def is_dark(filling: str) -> bool:
        return filling < "#808080"

    looks = [(marker, is_dark(filling)) for marker, _, filling in KIND_STYLES.values()]
    assert len({marker for marker, _ in looks}) == len(looks)
    assert {dark for _, dark in looks} == {True, False}


@pytest.mark.parametrize("naive", ["loo_naive", None])
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
