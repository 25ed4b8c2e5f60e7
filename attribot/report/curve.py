"""The headline curve: how much faithfulness a method keeps at which saving of cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from attribot.errors import InvalidInputError
from attribot.manifest import Manifest
from attribot.report.series import Series, series_of
from attribot.report.summary import ALL_DATASETS
from attribot.types import BoolArray, FloatArray

CostUnit = Literal["seconds", "tokens", "flops"]
# Widths on the logarithmic axis, as shares of the part that has a scale.
MARGIN_SHARE = 0.08
STRIP_SHARE = 0.2


@dataclass(frozen=True)
class _CostAxis:
    """What x shows in one unit of cost.

    saving, cost: columns of the summary, the first where the naive method's cost is known; titles
        likewise.
    suffix: unit after a cost. wanting: why a method may have no point.
    """

    saving: str
    cost: str
    heading: str
    saving_title: str
    cost_title: str
    suffix: str
    wanting: str


_COST_AXES = {
    "seconds": _CostAxis(
        saving="speedup",
        cost="wall_seconds",
        heading="Faithfulness against speed",
        saving_title="Speedup in wall seconds over {naive}",
        cost_title="Wall seconds per example",
        suffix=" s",
        wanting="no mAP or no time",
    ),
    "tokens": _CostAxis(
        saving="token_saving",
        cost="computed_tokens",
        heading="Faithfulness against computed tokens",
        saving_title="Saving in computed tokens over {naive}",
        cost_title="Computed tokens per example",
        suffix="",
        wanting="no mAP or no counted tokens",
    ),
    "flops": _CostAxis(
        saving="flops_saving",
        cost="flops",
        heading="Faithfulness against computation",
        saving_title="Saving in counted FLOPs over {naive}",
        cost_title="Counted FLOPs per example",
        suffix="",
        wanting="no mAP or no counted FLOPs",
    ),
}


@dataclass(frozen=True, eq=False)
class Curve:
    """What the figure shows.

    points: one row per method: method, label, kind, x, x_low, x_high, y, y_low, y_high, is_free,
        x_drawn, is_front; ends of intervals equal the estimate where there is no interval.
        is_free: no model ran, so that x, if any, is noise; such points are drawn at `x_free`.
    heading, title: what is drawn; with the data that it is drawn of.
    subtitle: models and machine, one line each.
    series: which methods share a look, drawn or not.
    x_title: x is the saving over the naive method, or the cost itself where its cost is not known.
    x_suffix: unit of x after a number.
    is_x_cost: smaller x is better; the axis is turned so that right is better anyway.
    x_range: ends of the part of the axis that has a scale, the smaller number first.
    x_free: where the methods without a model stand, beyond that part; None where there are none.
    missing: labels of methods without a mAP or without an x; `wanting` says it in words.
    """

    heading: str
    title: str
    subtitle: tuple[str, ...]
    points: pd.DataFrame
    series: tuple[Series, ...]
    x_title: str
    x_suffix: str
    is_x_cost: bool
    x_range: tuple[float, float]
    x_free: float | None
    missing: tuple[str, ...]
    wanting: str

    @property
    def x_break(self) -> float:
        """Where the scale of the axis ends, on its better side."""
        return self.x_range[0] if self.is_x_cost else self.x_range[1]

    @property
    def x_strip(self) -> tuple[float, float]:
        """Ends of the strip for the methods without a model, the smaller number first."""
        end = self.x_break if self.x_free is None else self.x_free**2 / self.x_break
        return min(end, self.x_break), max(end, self.x_break)

    @property
    def x_limits(self) -> tuple[float, float]:
        """Ends of the whole axis, the smaller number first."""
        return min(self.x_range[0], self.x_strip[0]), max(self.x_range[1], self.x_strip[1])

    def over(self, x_range: tuple[float, float], has_strip: bool) -> Curve:
        """The same points on an axis with this scale, and with or without a strip beyond it."""
        points = self.points.copy()
        x_free = _beyond(x_range, self.is_x_cost) if has_strip else None
        points["x_drawn"] = points["x"].mask(points["is_free"], x_free)
        return replace(self, points=points, x_range=x_range, x_free=x_free)


def cost_units(summary: pd.DataFrame) -> tuple[CostUnit, ...]:
    """What to measure cost in, the most telling first: seconds only where some were measured."""
    return ("seconds", "flops") if summary["wall_seconds"].notna().any() else ("tokens", "flops")


def curve_of(summary: pd.DataFrame, manifest: Manifest, unit: CostUnit = "seconds") -> Curve:
    """The curve of the pooled data sets, or of the only one.

    Raises:
        InvalidInputError: the unit of cost is unknown.
    """
    if unit not in _COST_AXES:
        raise InvalidInputError(f"unknown unit of cost {unit!r}; known: {', '.join(_COST_AXES)}")
    axis = _COST_AXES[unit]
    dataset = summary["dataset"].iloc[-1]
    rows = summary[summary["dataset"] == dataset].reset_index(drop=True)
    is_x_cost = axis.saving not in rows.columns or bool(rows[axis.saving].isna().all())
    points = _points(rows, axis.cost if is_x_cost else axis.saving)
    is_drawn = points["y"].notna() & (points["x"].notna() | points["is_free"])
    missing = tuple(points["label"][~is_drawn])
    points = points[is_drawn].reset_index(drop=True)
    x_range = _scaled_range(points[~points["is_free"]])
    x_free = _beyond(x_range, is_x_cost) if points["is_free"].any() else None
    points["x_drawn"] = points["x"].mask(points["is_free"], x_free)
    gain = -points["x_drawn"] if is_x_cost else points["x_drawn"]
    points["is_front"] = pareto_front(gain.to_numpy(), points["y"].to_numpy())
    names = [name for name in summary["dataset"].unique() if name != ALL_DATASETS]
    data = f"data set {names[0]}" if len(names) == 1 else f"{len(names)} data sets"
    parts = () if len(names) == 1 else (f"data sets {', '.join(names)}",)
    naive = manifest.methods[manifest.naive].label if manifest.naive else ""
    return Curve(
        heading=axis.heading,
        title=f"{axis.heading}: {data}, {extent(rows)}",
        subtitle=(*parts, *_subtitle(manifest, with_machine=unit == "seconds")),
        points=points,
        series=series_of(manifest),
        x_title=axis.cost_title if is_x_cost else axis.saving_title.format(naive=naive),
        x_suffix=axis.suffix if is_x_cost else "×",
        is_x_cost=is_x_cost,
        x_range=x_range,
        x_free=x_free,
        missing=missing,
        wanting=axis.wanting,
    )


def extent(rows: pd.DataFrame) -> str:
    """Number of examples, and of those that the mAP is over where they are fewer."""
    num_examples = rows["num_examples"].max()
    num_scored = rows["average_precision_count"].max() if "average_precision" in rows else 0
    text = f"n = {num_examples}"
    return text if num_scored == num_examples else f"{text}, {num_scored} with outliers"


def _points(rows: pd.DataFrame, x_column: str) -> pd.DataFrame:
    """One row per method, NaN where a number is wanting."""
    points = rows[["method", "label", "kind"]].copy()
    points["is_free"] = rows["forward_passes"] == 0
    for axis, column in (("x", x_column), ("y", "average_precision")):
        points[axis] = rows.get(column, np.nan)
        if column in ("computed_tokens", "flops"):
            points[axis] = points[axis].replace(0.0, np.nan)
        for end in ("low", "high"):
            points[f"{axis}_{end}"] = rows.get(f"{column}_{end}", points[axis])
            points[f"{axis}_{end}"] = points[f"{axis}_{end}"].fillna(points[axis])
    return points


def _scaled_range(measured: pd.DataFrame) -> tuple[float, float]:
    """Ends of the part of the axis that has a scale: all points and intervals, and a margin."""
    if measured.empty:
        return 1.0, 10.0
    low, high = float(measured["x_low"].min()), float(measured["x_high"].max())
    margin = max(high / low, 2.0) ** MARGIN_SHARE
    return low / margin, high * margin


def _beyond(x_range: tuple[float, float], is_x_cost: bool) -> float:
    """The middle of a strip beyond the better end of the range."""
    low, high = x_range
    half_strip = float((high / low) ** (STRIP_SHARE / 2))
    return low / half_strip if is_x_cost else high * half_strip


def pareto_front(x: FloatArray, y: FloatArray) -> BoolArray:
    """`[num_points]` True where no other point is at least as large in both and larger in one."""
    at_least = (x[None, :] >= x[:, None]) & (y[None, :] >= y[:, None])
    larger = (x[None, :] > x[:, None]) | (y[None, :] > y[:, None])
    return np.asarray(~(at_least & larger).any(axis=1))


def _subtitle(manifest: Manifest, with_machine: bool) -> tuple[str, ...]:
    lines = [f"{role} {model.name}" for role, model in manifest.models.items()]
    if with_machine:
        settings = {f"{model.dtype} on {model.device}" for model in manifest.models.values()}
        machine = manifest.hardware
        chip = machine.get("gpu") or f"{machine.get('cpu')}, cores: {machine.get('cores')}"
        lines.append(f"{', '.join(sorted(settings))} ({chip})")
    return tuple(lines)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis: 1, 2 and 5 of each decade, or 1 alone over many."""
    digits = (1, 2, 5) if high / low < 1000 else (1,)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    numbers = [digit * 10.0**decade for decade in decades for digit in digits]
    return [number for number in numbers if low <= number <= high]
