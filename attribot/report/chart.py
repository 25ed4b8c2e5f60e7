"""The curve as numbers that the page's script draws; `figures.py` draws it for paper."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypedDict

from attribot.report.curve import CostUnit, Curve, ticks


class ChartData(TypedDict):
    """One curve; see `curve.Curve` for its fields.

    unit: what cost is measured in. x_ticks: numbers on the scale.
    points: one mapping per method, with the columns of `Curve.points`.
    """

    unit: CostUnit
    x_title: str
    x_suffix: str
    is_x_cost: bool
    x_limits: list[float]
    x_free: float | None
    x_strip: list[float]
    x_ticks: list[float]
    missing: str
    points: list[dict[Hashable, Any]]


def chart_data(curve: Curve, unit: CostUnit) -> ChartData:
    """The curve's numbers as plain values; x of a method without a model may be None."""
    points = curve.points.astype(object).where(curve.points.notna(), None)
    missing = f"Not drawn ({curve.wanting}): {'; '.join(curve.missing)}." if curve.missing else ""
    return ChartData(
        unit=unit,
        x_title=curve.x_title,
        x_suffix=curve.x_suffix,
        is_x_cost=curve.is_x_cost,
        x_limits=list(curve.x_limits),
        x_free=curve.x_free,
        x_strip=list(curve.x_strip),
        x_ticks=ticks(*curve.x_range),
        missing=missing,
        points=points.to_dict("records"),
    )
