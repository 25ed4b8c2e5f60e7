"""The recall curves drawn with matplotlib: a panel per series of methods."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from attribot.manifest import Manifest
from attribot.report.series import Series, series_of

# Okabe and Ito's colours, told apart under every common colour blindness; dashes say it again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
GREY = "#888888"
MOST_COLUMNS = 4
PANEL_WIDTH, PANEL_HEIGHT = 4.2, 3.6


def draw_recall(table: pd.DataFrame, manifest: Manifest, path: Path) -> None:
    """Write the figure of all data sets together as PNG; equal tables give equal bytes."""
    rows = table[table["dataset"] == table["dataset"].iloc[-1]]
    drawn = set(rows["method"])
    every = [one for one in series_of(manifest) if drawn & set(one.methods)]
    # The exact methods are the thin grey line of every panel.
    every = [one for one in every if one.name != "exact"] or every
    num_columns = min(len(every), MOST_COLUMNS)
    num_rows = -(-len(every) // num_columns)
    size = (max(PANEL_WIDTH * num_columns, 6.0), PANEL_HEIGHT * num_rows + 0.9)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    figure.suptitle(_title(rows, size[0]), x=0.01, ha="left", fontsize=10)
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
    for axes, series in zip(grid.flatten(), every, strict=False):
        _draw_panel(axes, rows, series, manifest)
    for axes in grid.flatten()[len(every) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("recall of the outliers")
    for place in range(num_columns):
        lowest = max(row for row in range(num_rows) if row * num_columns + place < len(every))
        grid[lowest, place].set_xlabel("share of sources kept")
        grid[lowest, place].tick_params(labelbottom=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _title(rows: pd.DataFrame, width: float) -> str:
    first = rows.iloc[0]
    text = (
        f"Recall of the target's outliers against the share of sources kept: "
        f"{first['num_examples']} examples of {first['num_questions']} questions with an outlier; "
        "bands: 95% intervals; dotted: chance; thin grey: the exact scores themselves"
    )
    return textwrap.fill(text, int(13 * width))


def _draw_panel(axes: Axes, rows: pd.DataFrame, series: Series, manifest: Manifest) -> None:
    """A line and a band per method between chance and the best that a ranking can do."""
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    best = rows[rows["method"] == manifest.reference]
    axes.plot(best["share"], best["recall"], color=GREY, linewidth=0.8)
    for place, (method, label) in enumerate(zip(series.methods, _labels(series), strict=True)):
        own = rows[rows["method"] == method]
        if own.empty:
            continue
        colour = COLOURS[place % len(COLOURS)]
        dash = DASHES[place % len(DASHES)]
        axes.plot(own["share"], own["recall"], color=colour, linestyle=dash, label=label)
        ends = own["recall_low"], own["recall_high"]
        axes.fill_between(own["share"], *ends, color=colour, alpha=0.15, linewidth=0)
    axes.set_title(textwrap.fill(series.name, 40), fontsize=9.5, loc="left")
    axes.legend(loc="lower right", fontsize=7.5, frameon=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _labels(series: Series) -> Sequence[str]:
    """What the panel's title leaves open, in lines that fit the panel."""
    return [textwrap.fill(setting, 34) for setting in series.settings]
