"""Scores against scores, on axes that show both the few large and the many small ones."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

from attribot.types import FloatArray

COLOUR = "#0072B2"
GREY = "#888888"
MOST_COLUMNS = 4
PANEL_SIZE = 3.6


@dataclass(frozen=True, eq=False)
class Scatter:
    """One panel.

    pairs: `[n, 2]` x and y.
    has_diagonal: both are in nats, so that equal scores lie on a line.
    """

    title: str
    pairs: FloatArray
    x_title: str
    y_title: str
    has_diagonal: bool


def draw_scatters(scatters: Sequence[Scatter], title: str, path: Path) -> None:
    """Write a figure of a panel each as PNG; equal scatters give equal bytes."""
    num_columns = min(len(scatters), MOST_COLUMNS)
    num_rows = -(-len(scatters) // num_columns)
    width = max(PANEL_SIZE * num_columns, 5.5)
    figure = Figure(figsize=(width, PANEL_SIZE * num_rows + 0.7), dpi=130, layout="constrained")
    heading = textwrap.fill(title, int(12 * width))
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes, scatter in zip(grid, scatters, strict=False):
        _draw(axes, scatter)
    for axes in grid[len(scatters) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _draw(axes: Axes, scatter: Scatter) -> None:
    x, y = scatter.pairs.T
    # Of the same unit, both axes have one scale: the diagonal stays straight.
    x_middle = middle(scatter.pairs if scatter.has_diagonal else x)
    y_middle = x_middle if scatter.has_diagonal else middle(y)
    axes.set_xscale("symlog", linthresh=x_middle)
    axes.set_yscale("symlog", linthresh=y_middle)
    axes.axhline(0, color="#e2e2e2", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#e2e2e2", linewidth=0.8, zorder=0)
    if scatter.has_diagonal:
        ends = float(scatter.pairs.min()), float(scatter.pairs.max())
        axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=0.8, zorder=1)
    axes.scatter(x, y, s=9, color=COLOUR, alpha=0.35, linewidth=0, zorder=2)
    for axis, threshold in ((axes.xaxis, x_middle), (axes.yaxis, y_middle)):
        axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=threshold))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=7.5)
    lines = [textwrap.fill(line, 42) for line in scatter.title.split("\n")]
    axes.set_title("\n".join(lines), fontsize=9, loc="left")
    axes.set_xlabel(scatter.x_title, fontsize=8.5)
    axes.set_ylabel(scatter.y_title, fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)


def middle(values: FloatArray) -> float:
    """End of the linear middle of a symmetric logarithmic axis: a power of ten.

    The smallest one that is no smaller than the median size of the values other than 0, so that
    most of them are in the middle; 1 where all are 0.
    """
    sizes = np.abs(values)[values != 0]
    if len(sizes) == 0:
        return 1.0
    return float(10.0 ** np.ceil(np.log10(np.median(sizes))))
