"""The headline figure: how much faithfulness a method keeps at which speedup.

Drawn twice from the same points: with matplotlib for paper, as a Vega-Lite specification for HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from attribot.manifest import Manifest
from attribot.report.labels import place_labels
from attribot.report.summary import ALL_DATASETS
from attribot.types import BoolArray, FloatArray

# Okabe and Ito's colours: told apart under every common colour blindness; shapes say it again.
KIND_STYLES = {
    "exact": ("#000000", "D", "diamond"),
    "trick": ("#0072B2", "o", "circle"),
    "baseline": ("#D55E00", "^", "triangle-up"),
}
# The same hues, halfway between black and white: pages are light or dark.
PAGE_COLOURS = ("#808080", "#2f8fd0", "#dd6b1a")
FRONT_COLOUR = "#888888"


@dataclass(frozen=True, eq=False)
class Curve:
    """What the figure shows.

    points: one row per method: method, label, kind, x, x_low, x_high, y, y_low, y_high, is_front;
        ends of intervals equal the estimate where there is no interval.
    x_title: x is the speedup, or seconds where no naive method ran.
    is_x_cost: smaller x is better; the axis is turned so that right is better anyway.
    missing: methods that cannot be drawn, for want of a mAP or of an x.
    """

    title: str
    points: pd.DataFrame
    x_title: str
    is_x_cost: bool
    missing: tuple[str, ...]


def curve_of(summary: pd.DataFrame, manifest: Manifest) -> Curve:
    """The curve of the pooled data sets, or of the only one."""
    dataset = summary["dataset"].iloc[-1]
    rows = summary[summary["dataset"] == dataset].reset_index(drop=True)
    is_x_cost = "speedup" not in rows.columns
    points = rows[["method", "label", "kind"]].copy()
    x_column = "wall_seconds" if is_x_cost else "speedup"
    for axis, column in (("x", x_column), ("y", "average_precision")):
        points[axis] = rows.get(column, np.nan)
        for end in ("low", "high"):
            points[f"{axis}_{end}"] = rows.get(f"{column}_{end}", points[axis])
            points[f"{axis}_{end}"] = points[f"{axis}_{end}"].fillna(points[axis])
    is_drawn = points[["x", "y"]].notna().all(axis=1)
    missing = tuple(points["method"][~is_drawn])
    points = points[is_drawn].reset_index(drop=True)
    gain = -points["x"] if is_x_cost else points["x"]
    points["is_front"] = pareto_front(gain.to_numpy(), points["y"].to_numpy())
    models = ", ".join(f"{role} {model.name}" for role, model in manifest.models.items())
    name = manifest.dataset.name if dataset == ALL_DATASETS else dataset
    title = f"{name}, {rows['num_examples'].max()} examples; {models}"
    x_title = "Seconds per example" if is_x_cost else f"Speedup over {manifest.naive}"
    return Curve(title, points, x_title, is_x_cost, missing)


def pareto_front(x: FloatArray, y: FloatArray) -> BoolArray:
    """`[num_points]` True where no other point is at least as large in both and larger in one."""
    at_least = (x[None, :] >= x[:, None]) & (y[None, :] >= y[:, None])
    larger = (x[None, :] > x[:, None]) | (y[None, :] > y[:, None])
    return np.asarray(~(at_least & larger).any(axis=1))


def draw_curve(curve: Curve, path: Path) -> None:
    """Write the figure as PNG; equal curves give equal bytes."""
    figure = Figure(figsize=(8, 5.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _set_up_axes(axes, curve)
    _draw_front(axes, curve)
    for kind, (colour, marker, _) in KIND_STYLES.items():
        points = curve.points[curve.points["kind"] == kind]
        if len(points):
            axes.errorbar(
                points["x"],
                points["y"],
                xerr=[points["x"] - points["x_low"], points["x_high"] - points["x"]],
                yerr=[points["y"] - points["y_low"], points["y_high"] - points["y"]],
                fmt=marker,
                color=colour,
                ecolor=colour + "66",
                elinewidth=1.2,
                markersize=7,
                markeredgecolor="white",
                label=kind,
                zorder=3,
            )
    if len(curve.points):
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.canvas.draw()
    # The layout must not move any more: labels are placed in pixels.
    figure.set_layout_engine("none")
    _draw_labels(axes, curve.points)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _set_up_axes(axes: Axes, curve: Curve) -> None:
    axes.set_title(curve.title, fontsize=11, loc="left")
    axes.set_xlabel(f"{curve.x_title} (log scale, right is better)")
    axes.set_ylabel("mAP of the reference's outliers (up is better)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    unit = "s" if curve.is_x_cost else "×"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12, y=0.12)
    if curve.is_x_cost:
        axes.invert_xaxis()
    if curve.points.empty:
        axes.text(0.5, 0.5, "no method has a mAP", transform=axes.transAxes, ha="center")


def _draw_front(axes: Axes, curve: Curve) -> None:
    """The front as stairs: a point's mAP can be had at any smaller speedup, too."""
    front = curve.points[curve.points["is_front"]].sort_values("x", ascending=not curve.is_x_cost)
    if len(front):
        axes.step(
            front["x"],
            front["y"],
            where="pre",
            color=FRONT_COLOUR,
            linestyle="--",
            linewidth=1,
            label="Pareto front",
            zorder=1,
        )


def _draw_labels(axes: Axes, points: pd.DataFrame) -> None:
    """A name beside every point, with a thin line to it where it had to move away."""
    anchors = axes.transData.transform(points[["x", "y"]].to_numpy())
    scale = axes.figure.dpi / 72
    texts = [
        axes.annotate(name, (0, 0), xycoords="figure pixels", va="bottom", fontsize=8.5, zorder=4)
        for name in points["method"]
    ]
    extents = [text.get_window_extent() for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents]).reshape(-1, 2)
    low = axes.transData.transform(points[["x_low", "y_low"]].to_numpy())
    high = axes.transData.transform(points[["x_high", "y_high"]].to_numpy())
    low, high = np.minimum(low, high), np.maximum(low, high)
    thickness, radius = scale, 5 * scale
    obstacles = np.vstack(
        [
            np.hstack([anchors - radius, anchors + radius]),
            np.column_stack(
                [low[:, 0], anchors[:, 1] - thickness, high[:, 0], anchors[:, 1] + thickness]
            ),
            np.column_stack(
                [anchors[:, 0] - thickness, low[:, 1], anchors[:, 0] + thickness, high[:, 1]]
            ),
        ]
    )
    bounds = np.asarray(axes.get_window_extent().extents)
    corners = place_labels(anchors, sizes, obstacles, bounds, step=6 * scale)
    for text, anchor, corner, size in zip(texts, anchors, corners, sizes, strict=True):
        text.set_position(tuple(corner))
        nearest = np.clip(anchor, corner, corner + size)
        if np.hypot(*(nearest - anchor)) > 10 * scale:
            axes.annotate(
                "",
                tuple(nearest),
                tuple(anchor),
                xycoords="figure pixels",
                textcoords="figure pixels",
                arrowprops={"arrowstyle": "-", "color": FRONT_COLOUR, "linewidth": 0.6},
            )


def curve_spec(curve: Curve) -> dict[str, Any]:
    """Vega-Lite specification of the curve with tooltips, data included."""
    scale = altair.Scale(type="log", reverse=curve.is_x_cost, padding=40, nice=False)
    kinds = list(KIND_STYLES)
    colours, shapes = list(PAGE_COLOURS), [shape for _, _, shape in KIND_STYLES.values()]
    legend = altair.Legend(title=None, symbolOpacity=1)
    base = altair.Chart(curve.points).encode(
        x=altair.X("x:Q", title=curve.x_title, scale=scale),
        y=altair.Y("y:Q", title="mAP", scale=altair.Scale(zero=False, padding=20, nice=False)),
        color=altair.Color(
            "kind:N", scale=altair.Scale(domain=kinds, range=colours), legend=legend
        ),
    )
    front = (
        altair.Chart(curve.points[curve.points["is_front"]])
        .mark_line(
            interpolate="step-after" if curve.is_x_cost else "step-before",
            strokeDash=[4, 4],
            color=FRONT_COLOUR,
        )
        .encode(x=altair.X("x:Q", scale=scale), y="y:Q")
    )
    shape = altair.Shape("kind:N", scale=altair.Scale(domain=kinds, range=shapes), legend=legend)
    layers = altair.layer(
        front,
        base.mark_rule(opacity=0.45).encode(y="y_low:Q", y2="y_high:Q"),
        base.mark_rule(opacity=0.45).encode(x=altair.X("x_low:Q", scale=scale), x2="x_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            shape=shape, tooltip=_tooltips(curve)
        ),
        base.mark_text(align="left", dx=9, dy=-7).encode(text="method:N"),
    )
    chart = layers.properties(width="container", height=360, background="transparent")
    return dict(chart.to_dict())


def _tooltips(curve: Curve) -> list[altair.Tooltip]:
    numbers = {
        "y": "mAP",
        "y_low": "mAP low",
        "y_high": "mAP high",
        "x": curve.x_title,
        "x_low": f"{curve.x_title}, low",
        "x_high": f"{curve.x_title}, high",
    }
    return [
        altair.Tooltip("method:N"),
        altair.Tooltip("label:N"),
        *(altair.Tooltip(f"{c}:Q", title=title, format=".3f") for c, title in numbers.items()),
    ]
