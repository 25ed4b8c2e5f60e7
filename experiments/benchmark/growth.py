"""How cost grows with prompt tokens and sources: predicted and fitted exponents, and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmark.records import WAYS

COSTS = {
    "expected_tokens": "predicted (tokens)",
    "computed_tokens": "tokens",
    "flops": "FLOPs",
    "seconds": "seconds",
}
PANELS_PER_ROW = 3

PREDICTION = """\
With `n` prompt tokens, `s` sources, `m` response tokens, and `c` tokens of context before the `q`
tokens of the query, the ways compute so many tokens:

- naive: `(s + 1)(n + m - 1) - c`
- prefix reuse (cached, packed; batches somewhat more): `(n + m - 1) + s (q + m - 1) + c (s - 1)/2`
- masked with window `w`: at most `(n + m - 1) + s (w + q + m - 1)`

So deletion grows as n^1 s^1. Masking is one pass over the prompt, n^1 s^0, and a part per source,
n^0 s^1, which the cost of one more source shows alone. Every token also attends to all before it,
4 L d_attn FLOPs per pair: that adds a term in s n^2 to deletion and in s n (w + q + m) to masking,
so the exponents of FLOPs and seconds lie above those of tokens, the more so the longer the prompt.
One exponent is fitted per way by least squares of the logarithms, with an intercept of its own for
every number of sources (or length); predicted ones are fitted alike, to the formulas above in the
same cells. The figure gives the exponents of seconds panel by panel, (predicted) in brackets."""


def exponent(table: pd.DataFrame, cost: str, by: str, fixed: str) -> float:
    """b of log cost = a(fixed) + b log by, by least squares.

    NaN where `by` never varies, or where noise makes the cost of one more source negative.
    """
    if (table[cost] <= 0).any():
        return np.nan
    logs = table[[cost, by]].astype(float).apply(np.log)
    centred = logs - logs.groupby(table[fixed]).transform("mean")
    square = float((centred[by] ** 2).sum())
    return float((centred[cost] * centred[by]).sum()) / square if square > 0 else np.nan


def per_source(table: pd.DataFrame) -> pd.DataFrame:
    """Costs of one more source of one way, by length: slopes of least-squares lines in sources."""
    slopes = []
    for num_tokens, group in table.groupby("prompt_tokens"):
        if group["sources"].nunique() > 1:
            found = {cost: np.polyfit(group["sources"], group[cost], 1)[0] for cost in COSTS}
            slopes.append({"prompt_tokens": num_tokens, "way": group["way"].iloc[0], **found})
    return pd.DataFrame(slopes, columns=["prompt_tokens", "way", *COSTS])


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Predicted and fitted exponents per way: in tokens, in sources, and in tokens of the cost of
    one more source."""
    fits = []
    for name in WAYS:
        group = table[table["way"] == name]
        slopes = per_source(group)
        for against, cells, by, fixed in (
            ("tokens", group, "prompt_tokens", "sources"),
            ("sources", group, "sources", "prompt_tokens"),
            ("tokens, one more source", slopes, "prompt_tokens", "way"),
        ):
            if len(cells):
                found = {label: exponent(cells, cost, by, fixed) for cost, label in COSTS.items()}
                fits.append({"way": name, "against": against, "points": len(cells), **found})
    columns = ["way", "against", "points", *COSTS.values()]
    return pd.DataFrame(fits, columns=columns).dropna(subset=COSTS["expected_tokens"])


def draw(table: pd.DataFrame, path: Path) -> bool:
    """Seconds against tokens, a panel per number of sources, and against sources, a panel per
    length. False, and no file, where no panel would have two points."""
    rows = []
    for by, fixed in (("prompt_tokens", "sources"), ("sources", "prompt_tokens")):
        panels = [(by, fixed, cells) for _, cells in table.groupby(fixed) if _varies(cells, by)]
        rows += [panels[i : i + PANELS_PER_ROW] for i in range(0, len(panels), PANELS_PER_ROW)]
    if not rows:
        return False
    width = max(map(len, rows))
    figure = Figure(figsize=(4.2 * width, 4.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), width, sharey=True, squeeze=False)
    for row, panels in zip(axes, rows, strict=True):
        for panel, (by, fixed, cells) in zip(row, panels, strict=False):
            _draw_panel(panel, cells, by, fixed)
        row[0].set_ylabel("seconds per example")
        for panel in row[len(panels) :]:
            panel.remove()
    figure.savefig(path, dpi=150)
    return True


def _draw_panel(panel: Axes, cells: pd.DataFrame, by: str, fixed: str) -> None:
    for place, name in enumerate(WAYS):
        group = cells[cells["way"] == name]
        if len(group):
            label = name
            if _varies(group, by):
                found = (exponent(group, c, by, fixed) for c in ("seconds", "expected_tokens"))
                label += " {:.2f} ({:.2f})".format(*found)
            seconds = group["seconds"]
            spread = [seconds - group["seconds_low"], group["seconds_high"] - seconds]
            panel.errorbar(group[by], seconds, spread, marker="o", label=label, color=f"C{place}")
    title = f"{cells[fixed].iloc[0]} {_name(fixed)}"
    panel.set(xscale="log", yscale="log", xlabel=_name(by), title=title)
    ticks = sorted(cells[by].unique())
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    panel.legend(fontsize=7, title="exponent fitted (predicted)", title_fontsize=7)


def _varies(cells: pd.DataFrame, by: str) -> bool:
    return bool(cells[by].nunique() > 1)


def _name(column: str) -> str:
    return {"prompt_tokens": "prompt tokens", "sources": "sources"}[column]
