"""The curve drawn for paper and screen, with matplotlib; `chart.py` draws it for HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from attribot.report.curve import Curve, ticks
from attribot.report.labels import place_labels
from attribot.types import FloatArray

# Marker, edge and filling. Okabe and Ito's colours, told apart under every common colour blindness;
# shape and filling say it again in greyscale.
KIND_STYLES = {
    "exact": ("D", "#000000", "#000000"),
    "trick": ("o", "#0072B2", "#0072B2"),
    "baseline": ("^", "#D55E00", "#ffffff"),
}
FRONT_COLOUR = "#888888"
STRIP_COLOUR = "#f2f2f2"


def draw_curve(curve: Curve, path: Path) -> None:
    """Write the figure as PNG; equal curves give equal bytes."""
    figure = Figure(figsize=(9, 5.8), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _set_titles(figure, axes, curve)
    _set_up_axes(axes, curve)
    _draw_front(axes, curve)
    for kind in KIND_STYLES:
        _draw_points(axes, curve.points[curve.points["kind"] == kind], kind)
    if curve.points.empty:
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center")
    else:
        figure.legend(
            handles=_legend(curve.points), loc="outside lower center", ncols=5, frameon=False
        )
    figure.canvas.draw()
    # The layout must not move any more: labels are placed in pixels.
    figure.set_layout_engine("none")
    _draw_labels(axes, curve.points)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _set_titles(figure: Figure, axes: Axes, curve: Curve) -> None:
    lines = list(curve.subtitle)
    if curve.missing:
        lines.append(f"not drawn ({curve.wanting}): {'; '.join(curve.missing)}")
    wrapped = [part for line in lines for part in textwrap.wrap(line, 120)]
    figure.suptitle(curve.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes.set_title("\n".join(wrapped), fontsize=8.5, color="#555555", loc="left")
    axes.set_xlabel(f"{curve.x_title} (log scale, right is better)")
    axes.set_ylabel("mAP of the reference's outlier sources")


def _set_up_axes(axes: Axes, curve: Curve) -> None:
    """A logarithmic scale and, beyond its end, a strip for the methods without a model."""
    positions = ticks(*curve.x_range)
    names = [f"{number:g}{curve.x_suffix}" for number in positions]
    axes.set_xscale("log")
    if curve.x_free is not None:
        axes.axvspan(*curve.x_strip, color=STRIP_COLOUR, linewidth=0, zorder=0)
        positions, names = [*positions, curve.x_free], [*names, "no model"]
    axes.set_xticks(positions, names)
    axes.set_xticks([], minor=True)
    low, high = curve.x_limits
    axes.set_xlim((high, low) if curve.is_x_cost else (low, high))
    if len(curve.points):
        axes.set_ylim(max(-0.02, curve.points["y_low"].min() - 0.06), 1.05)
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_front(axes: Axes, curve: Curve) -> None:
    """The front as stairs: a point's mAP can be had at any smaller saving, too."""
    front = curve.points[curve.points["is_front"]]
    front = front.sort_values("x_drawn", ascending=not curve.is_x_cost)
    axes.step(
        front["x_drawn"],
        front["y"],
        where="pre",
        color=FRONT_COLOUR,
        linestyle="--",
        linewidth=1,
        zorder=1,
    )


def _draw_points(axes: Axes, points: pd.DataFrame, kind: str) -> None:
    """Markers and faint intervals; a saving that is noise has none."""
    marker, edge, filling = KIND_STYLES[kind]
    interval: dict[str, Any] = {"color": edge, "alpha": 0.3, "linewidth": 0.9, "zorder": 2}
    measured = points[~points["is_free"]]
    axes.vlines(points["x_drawn"], points["y_low"], points["y_high"], **interval)
    axes.hlines(measured["y"], measured["x_low"], measured["x_high"], **interval)
    axes.scatter(
        points["x_drawn"],
        points["y"],
        s=52,
        marker=marker,
        facecolor=filling,
        edgecolor=edge,
        linewidth=1.4,
        zorder=3,
    )


def _legend(points: pd.DataFrame) -> list[Line2D]:
    """Handles of what is there to see."""
    kinds = [
        Line2D([], [], linestyle="", marker=marker, mec=edge, mfc=filling, label=kind)
        for kind, (marker, edge, filling) in KIND_STYLES.items()
        if (points["kind"] == kind).any()
    ]
    return [
        *kinds,
        Line2D([], [], color=FRONT_COLOUR, linestyle="--", linewidth=1, label="Pareto front"),
        Line2D([], [], color=FRONT_COLOUR, linewidth=0.9, label="95% interval over examples"),
    ]


def _draw_labels(axes: Axes, points: pd.DataFrame) -> None:
    """A name beside every point, with a thin line to it where it had to move away."""
    anchors = axes.transData.transform(points[["x_drawn", "y"]].to_numpy())
    scale = axes.figure.dpi / 72
    halo = withStroke(linewidth=2.2, foreground="white", alpha=0.85)
    texts = [
        axes.annotate(
            # A comma parts a method's name from its settings.
            name.replace(", ", ",\n", 1),
            xy=(0, 0),
            xycoords="figure pixels",
            va="bottom",
            fontsize=8,
            linespacing=1.05,
            path_effects=[halo],
            zorder=4,
        )
        for name in points["label"]
    ]
    radius = 5 * scale
    markers = np.hstack([anchors - radius, anchors + radius])
    bounds = np.asarray(axes.get_window_extent().extents)
    corners = place_labels(anchors, _sizes(texts), markers, bounds, step=6 * scale)
    for text, anchor, corner, size in zip(texts, anchors, corners, _sizes(texts), strict=True):
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


def _sizes(texts: Sequence[Text]) -> FloatArray:
    """`[num_texts, 2]` width and height [pixels]."""
    extents = [text.get_window_extent() for text in texts]
    return np.array([[extent.width, extent.height] for extent in extents]).reshape(-1, 2)
