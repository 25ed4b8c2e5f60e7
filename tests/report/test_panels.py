"""Panels: one per part, every point in its own, all on one scale."""

import numpy as np
import pandas as pd
import pytest

from attribot.errors import InvalidInputError
from attribot.records import Records
from attribot.report.panels import panels_of, part_names
from attribot.report.summary import summarise
from tests.report.conftest import without_model
from tests.synthetic_run import METHODS

SHOWN = ["loo_naive", "hierarchical", "similarity"]


def two_parts(records: Records) -> pd.DataFrame:
    """A summary of two parts: in the longer, methods save twice as much and keep less."""
    short = summarise(records).assign(dataset="short")
    long = short.assign(dataset="long", num_prompt_tokens=1234.5, num_examples=2)
    is_other = long["method"] != "loo_naive"
    for end in ("", "_low", "_high"):
        long.loc[is_other, f"token_saving{end}"] *= 2
        long.loc[is_other, f"average_precision{end}"] -= 0.1
    return pd.concat([short, long, short.assign(dataset="all")], ignore_index=True)


def test_every_part_has_its_panel_and_every_method_a_point_in_it(records: Records) -> None:
    summary = two_parts(records)
    assert part_names(summary) == ("short", "long")
    panels = panels_of(summary, records.manifest)
    assert [panel.name for panel in panels.panels] == ["short", "long"]
    assert [panel.heading for panel in panels.panels] == [
        "short: 40 tokens, 4 sources on average; n = 3, 2 with outliers",
        "long: 1,234 tokens, 4 sources on average; n = 2",
    ]
    for panel, x, y in zip(
        panels.panels, ([1, 8, 32], [1, 16, 64]), ([0.9, 0.8, 0.4], [0.9, 0.7, 0.3]), strict=True
    ):
        points = panel.curve.points
        assert points["method"].tolist() == SHOWN
        np.testing.assert_allclose(points["x_drawn"], x)
        np.testing.assert_allclose(points["y"], y)
        np.testing.assert_allclose(points["y_low"], points["y"] - 0.1)
        assert points["is_front"].all()
    assert panels.title == "Faithfulness against computed tokens"
    assert panels.subtitle == ("target tiny",)


def test_all_panels_have_one_scale_and_one_strip(records: Records) -> None:
    summary = two_parts(records)
    # Only the longer part has a method without a model.
    parts = [rows for _, rows in summary.groupby("dataset", sort=False)]
    summary = pd.concat([parts[0], without_model(parts[1]), parts[2]])
    short, long = (panel.curve for panel in panels_of(summary, records.manifest).panels)
    assert short.x_range == long.x_range
    assert short.x_range[0] < 1 < 32 < short.x_range[1]
    assert short.x_free == long.x_free
    assert short.x_limits == long.x_limits
    np.testing.assert_allclose(short.points["x_drawn"], [1, 8, 32])
    assert long.points["x_drawn"].tolist() == [1, 16, long.x_free]


def test_what_is_not_drawn_is_named_with_its_part(records: Records) -> None:
    summary = two_parts(records)
    is_naive = summary["method"] == "loo_naive"
    is_gap = (summary["method"] == "similarity") & (summary["dataset"] == "long")
    summary.loc[is_naive | is_gap, "average_precision"] = np.nan
    panels = panels_of(summary, records.manifest)
    assert [len(panel.curve.points) for panel in panels.panels] == [2, 1]
    assert panels.subtitle[-1] == (
        "not drawn (no mAP or no counted tokens): "
        f"{METHODS['loo_naive'].label}; {METHODS['similarity'].label} (long)"
    )


def test_savings_of_some_parts_only_are_not_mixed_with_costs(records: Records) -> None:
    summary = two_parts(records)
    summary.loc[summary["dataset"] == "long", "token_saving"] = np.nan
    short, long = (panel.curve for panel in panels_of(summary, records.manifest).panels)
    assert short.x_title == long.x_title == "Computed tokens per example"
    for curve in (short, long):
        assert curve.is_x_cost
        np.testing.assert_allclose(curve.points["x"], [800, 100, 25])


def test_nothing_cannot_be_shown(records: Records) -> None:
    with pytest.raises(InvalidInputError, match="expected a summary with rows"):
        panels_of(summarise(records).head(0), records.manifest)
    with pytest.raises(InvalidInputError, match="unknown unit of cost 'watts'"):
        panels_of(summarise(records), records.manifest, "watts")  # type: ignore[arg-type]
