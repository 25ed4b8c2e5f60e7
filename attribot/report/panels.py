"""The curve of every part of the data, on axes that can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from attribot.errors import InvalidInputError
from attribot.manifest import Manifest
from attribot.report.curve import CostUnit, Curve, curve_of, extent
from attribot.report.summary import ALL_DATASETS, SAVINGS


@dataclass(frozen=True, eq=False)
class Panel:
    """One part of the data.

    heading: the name, the size of its prompts and its number of examples.
    """

    name: str
    heading: str
    curve: Curve


@dataclass(frozen=True, eq=False)
class Panels:
    """What the figure of panels shows.

    subtitle: models, then what is not drawn and where, one line each.
    panels: one per part; all curves have the same scale, and a strip where any of them has one.
    """

    title: str
    subtitle: tuple[str, ...]
    panels: tuple[Panel, ...]


def part_names(summary: pd.DataFrame) -> tuple[str, ...]:
    """Names of the data sets that the summary tells apart, in its order."""
    return tuple(name for name in summary["dataset"].unique() if name != ALL_DATASETS)


def panels_of(summary: pd.DataFrame, manifest: Manifest, unit: CostUnit = "tokens") -> Panels:
    """A panel per data set of the summary, in its order.

    Raises:
        InvalidInputError: the summary is empty, or the unit of cost unknown.
    """
    if summary.empty:
        raise InvalidInputError("expected a summary with rows, got an empty one: nothing ran yet")
    names = part_names(summary)
    parts = [summary[summary["dataset"] == name] for name in names]
    curves = [curve_of(part, manifest, unit) for part in parts]
    if len({curve.is_x_cost for curve in curves}) > 1:
        # Savings are known for some parts only: cost itself is what all panels can show.
        without = [part.drop(columns=list(SAVINGS)) for part in parts]
        curves = [curve_of(part, manifest, unit) for part in without]
    curves = _on_one_scale(curves)
    panels = [
        Panel(name, _heading(part), curve)
        for name, part, curve in zip(names, parts, curves, strict=True)
    ]
    return Panels(
        title=curves[0].heading,
        subtitle=(*curves[0].subtitle, *_not_drawn(panels)),
        panels=tuple(panels),
    )


def _on_one_scale(curves: list[Curve]) -> list[Curve]:
    # Curves without a measured point have no scale of their own.
    ranges = [c.x_range for c in curves if not c.points["is_free"].all()] or [curves[0].x_range]
    x_range = min(low for low, _ in ranges), max(high for _, high in ranges)
    has_strip = any(curve.x_free is not None for curve in curves)
    return [curve.over(x_range, has_strip) for curve in curves]


def _heading(part: pd.DataFrame) -> str:
    largest = part.iloc[part["num_examples"].argmax()]
    return (
        f"{largest['dataset']}: {largest['num_prompt_tokens']:,.0f} tokens, "
        f"{largest['num_sources']:.0f} sources on average; {extent(part)}"
    )


def _not_drawn(panels: list[Panel]) -> tuple[str, ...]:
    """A line with the methods that have no point, and where they have none if not everywhere."""
    gaps: dict[str, list[str]] = {}
    for panel in panels:
        for label in panel.curve.missing:
            gaps.setdefault(label, []).append(panel.name)
    texts = [
        label if len(names) == len(panels) else f"{label} ({', '.join(names)})"
        for label, names in gaps.items()
    ]
    return (f"not drawn ({panels[0].curve.wanting}): {'; '.join(texts)}",) if texts else ()
