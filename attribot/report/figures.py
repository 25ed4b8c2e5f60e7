"""The curves drawn for paper and screen, with matplotlib; `chart.py` draws one for HTML."""

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
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from attribot.report.curve import Curve, ticks
from attribot.report.labels import place_labels
from attribot.report.looks import Look, looks_of
from attribot.report.panels import Panels
from attribot.report.series import Series
from attribot.types import FloatArray

FRONT_COLOUR = "#888888"
STRIP_COLOUR = "#f2f2f2"
Y_TITLE = "mAP of the reference's outlier sources"
# Of more points than this only those of the front are labelled.
MOST_LABELS = 16
MARKER_AREA = 52.0
FAMILY_NOTE = (
    "Lines join the settings of a method; markers grow in the order in which they are named; "
    "the Pareto front is labelled"
)
# Share of the axis that the words "no model" keep free beside them.
NEAREST_TICK = 0.1
LEGEND_ROW = 0.19
# Markers of a family grow along its setting, by these shares of the area.
SMALLEST, LARGEST = 0.45, 1.3


def draw_curve(curve: Curve, path: Path) -> None:
    """Write the figure as PNG; equal curves give equal bytes."""
    figure = _figure(9, 5.8 + _legend_room(curve.series, 9))
    axes = figure.add_subplot()
    _set_titles(figure, axes, curve)
    _draw(axes, curve)
    _finish(figure, [(axes, curve)], path)


def draw_panels(panels: Panels, path: Path) -> None:
    """Write the figure as PNG; equal panels give equal bytes."""
    num_panels = len(panels.panels)
    num_columns = 2 if num_panels == 4 else min(num_panels, 3)
    num_rows = -(-num_panels // num_columns)
    width = 6.4 * num_columns
    lines = [part for line in panels.subtitle for part in textwrap.wrap(line, int(14 * width))]
    head = 0.45 + 0.15 * len(lines)
    below = 0.6 + _legend_room(panels.panels[0].curve.series, width)
    height = head + 4.8 * num_rows + below
    figure = _figure(width, height, head)
    figure.text(0.01, 1 - 0.1 / height, panels.title, va="top", fontsize=13, fontweight="bold")
    figure.text(0.01, 1 - 0.38 / height, "\n".join(lines), va="top", fontsize=8.5, color="#555555")
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).flatten()
    drawn = list(zip(grid, (panel.curve for panel in panels.panels), strict=False))
    for (axes, curve), panel in zip(drawn, panels.panels, strict=True):
        _draw(axes, curve)
        axes.set_title(panel.heading, fontsize=10, loc="left")
        axes.set_xlabel(_x_title(curve))
    for axes in grid[::num_columns]:
        axes.set_ylabel(Y_TITLE)
    for axes in grid[num_panels:]:
        axes.set_visible(False)
    # Intervals of few examples are wide: those of the worst methods may leave the panel.
    lowest = min((y for _, curve in drawn for y in curve.points["y"]), default=0.0)
    grid[0].set_ylim(max(-0.02, lowest - 0.06), 1.05)
    _finish(figure, drawn, path)


def _figure(width: float, height: float, head: float = 0.0) -> Figure:
    """An empty figure that can be measured before it is saved; `head` stays free [inches]."""
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - head / height))
    figure = Figure(figsize=(width, height), dpi=160, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Figure, drawn: Sequence[tuple[Axes, Curve]], path: Path) -> None:
    """Add the legend, then the labels, and write the file."""
    _add_legend(figure, drawn[0][1].series, pd.concat([curve.points for _, curve in drawn]))
    figure.canvas.draw()
    # The layout must not move any more: labels are placed in pixels.
    figure.set_layout_engine("none")
    for axes, curve in drawn:
        _draw_labels(axes, curve)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _set_titles(figure: Figure, axes: Axes, curve: Curve) -> None:
    lines = list(curve.subtitle)
    if curve.missing:
        lines.append(f"not drawn ({curve.wanting}): {'; '.join(curve.missing)}")
    wrapped = [part for line in lines for part in textwrap.wrap(line, 120)]
    figure.suptitle(curve.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes.set_title("\n".join(wrapped), fontsize=8.5, color="#555555", loc="left")
    axes.set_xlabel(_x_title(curve))
    axes.set_ylabel(Y_TITLE)


def _x_title(curve: Curve) -> str:
    return f"{curve.x_title} (log scale, right is better)"


def _draw(axes: Axes, curve: Curve) -> None:
    """Everything of a curve but its titles, labels and legend."""
    _set_up_axes(axes, curve)
    _draw_front(axes, curve)
    looks = looks_of(curve.series)
    for series in curve.series:
        _draw_series(axes, curve.points, series, looks[series.name])
    if curve.points.empty:
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center")


def _set_up_axes(axes: Axes, curve: Curve) -> None:
    """A logarithmic scale and, beyond its end, a strip for the methods without a model."""
    positions = ticks(*curve.x_range)
    axes.set_xscale("log")
    low, high = curve.x_limits
    if curve.x_free is not None:
        axes.axvspan(*curve.x_strip, color=STRIP_COLOUR, linewidth=0, zorder=0)
        room = NEAREST_TICK * np.log(high / low)
        positions = [p for p in positions if abs(np.log(p / curve.x_free)) > room]
    names = [f"{number:g}{curve.x_suffix}" for number in positions]
    if curve.x_free is not None:
        positions, names = [*positions, curve.x_free], [*names, "no model"]
    axes.set_xticks(positions, names)
    axes.set_xticks([], minor=True)
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


def _draw_series(axes: Axes, points: pd.DataFrame, series: Series, look: Look) -> None:
    """Markers and faint intervals, joined in a family; a saving that is noise has no interval."""
    points = points[points["method"].isin(series.methods)]
    interval: dict[str, Any] = {"color": look.edge, "alpha": 0.3, "linewidth": 0.9, "zorder": 2}
    measured = points[~points["is_free"]]
    axes.vlines(points["x_drawn"], points["y_low"], points["y_high"], **interval)
    axes.hlines(measured["y"], measured["x_low"], measured["x_high"], **interval)
    if series.is_joined:
        axes.plot(points["x_drawn"], points["y"], color=look.edge, linewidth=1.1, zorder=2)
    areas = dict(zip(series.methods, _areas(series), strict=True))
    axes.scatter(
        points["x_drawn"],
        points["y"],
        s=[areas[method] for method in points["method"]],
        marker=look.marker,
        facecolor=look.filling,
        edgecolor=look.edge,
        linewidth=1.4,
        zorder=3,
    )


def _areas(series: Series) -> FloatArray:
    """`[num_methods]` of the markers."""
    num_methods = len(series.methods)
    if not series.is_joined:
        return np.full(num_methods, MARKER_AREA)
    return np.asarray(np.linspace(SMALLEST, LARGEST, num_methods) * MARKER_AREA)


def _legend_room(every: Sequence[Series], width: float) -> float:
    """Height that families need beyond the usual legend, in a figure of this width [inches]."""
    lines = [_legend_text(series, width) for series in every if series.is_family]
    return LEGEND_ROW * (1 + "\n".join(lines).count("\n")) / 2 + LEGEND_ROW if lines else 0.0


def _legend_text(series: Series, width: float) -> str:
    """The title in lines that fit half of a figure [inches]."""
    return textwrap.fill(series.title, int(6.5 * width))


def _add_legend(figure: Figure, every: Sequence[Series], points: pd.DataFrame) -> None:
    """Handles of what is there to see, below the axes."""
    if points.empty:
        return
    looks = looks_of(every)
    handles = []
    for series in every:
        if points["method"].isin(series.methods).any():
            look = looks[series.name]
            handle = Line2D(
                [],
                [],
                color=look.edge,
                linewidth=1.1,
                linestyle="-" if series.is_joined else "",
                marker=look.marker,
                markerfacecolor=look.filling,
                label=_legend_text(series, figure.get_figwidth()),
            )
            handles.append(handle)
    handles += [
        Line2D([], [], color=FRONT_COLOUR, linestyle="--", linewidth=1, label="Pareto front"),
        Line2D([], [], color=FRONT_COLOUR, linewidth=0.9, label="95% interval over examples"),
    ]
    place: dict[str, Any] = {"loc": "outside lower center", "frameon": False, "ncols": 5}
    if any(series.is_family for series in every):
        place |= {"ncols": 2, "fontsize": 8.5, "title": FAMILY_NOTE, "title_fontsize": 8.5}
    figure.legend(handles=handles, **place)


def _draw_labels(axes: Axes, curve: Curve) -> None:
    """A name beside a point, with a thin line to it where it had to move away."""
    anchors = axes.transData.transform(curve.points[["x_drawn", "y"]].to_numpy())
    is_labelled = np.full(len(anchors), True)
    if len(anchors) > MOST_LABELS:
        is_labelled = curve.points["is_front"].to_numpy()
    settings = {
        method: setting
        for series in curve.series
        if series.is_joined
        for method, setting in zip(series.methods, series.settings, strict=True)
    }
    # The look says which family it is.
    names = [
        settings.get(method, label)
        for method, label in curve.points.loc[is_labelled, ["method", "label"]].to_numpy()
    ]
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
        for name in names
    ]
    radius = 5 * scale
    markers = np.hstack([anchors - radius, anchors + radius])
    obstacles = np.vstack([markers, _stairs(anchors[curve.points["is_front"]], width=scale)])
    anchors = anchors[is_labelled]
    bounds = np.asarray(axes.get_window_extent().extents)
    corners = place_labels(anchors, _sizes(texts), obstacles, bounds, step=6 * scale)
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


def _stairs(front: FloatArray, width: float) -> FloatArray:
    """`[num_lines, 4]` boxes around the lines of the front through these points `[n, 2]`."""
    front = front[np.argsort(front[:, 0])]
    (x, y), (next_x, next_y) = front[:-1].T, front[1:].T
    across = np.stack([x, next_y, next_x, next_y], axis=1)
    down = np.stack([x, np.minimum(y, next_y), x, np.maximum(y, next_y)], axis=1)
    return np.asarray(np.vstack([across, down]) + np.array([-1, -1, 1, 1]) * width)


def _sizes(texts: Sequence[Text]) -> FloatArray:
    """`[num_texts, 2]` width and height [pixels]."""
    extents = [text.get_window_extent() for text in texts]
    return np.array([[extent.width, extent.height] for extent in extents]).reshape(-1, 2)
