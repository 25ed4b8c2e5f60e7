"""The curve as a Vega-Lite chart for HTML, with tooltips; `figures.py` draws it for paper."""

from __future__ import annotations

from typing import Any

import altair
import pandas as pd

from attribot.report.curve import Curve, ticks

# Shape, edge and filling; the hues of `figures.py` halfway between black and white, since pages
# are light or dark.
KIND_STYLES = {
    "exact": ("diamond", "#808080", "#808080"),
    "trick": ("circle", "#2f8fd0", "#2f8fd0"),
    "baseline": ("triangle-up", "#dd6b1a", "transparent"),
}
FRONT_COLOUR = "#888888"


def chart_spec(curve: Curve) -> dict[str, Any]:
    """Vega-Lite specification of the curve, data included.

    The marks named `points` are there for the page, which labels them where there is room.
    """
    base = altair.Chart(curve.points).encode(y=_y("y"), stroke=_by_kind(altair.Stroke, 1))
    layers = [
        altair.Chart(curve.points)
        .transform_filter("datum.is_front")
        .mark_line(
            interpolate="step-after" if curve.is_x_cost else "step-before",
            strokeDash=[4, 4],
            strokeWidth=1.2,
            color=FRONT_COLOUR,
        )
        .encode(x=_x(curve, "x_drawn"), y=_y("y")),
        base.mark_rule(opacity=0.35).encode(x=_x(curve, "x_drawn"), y=_y("y_low"), y2="y_high:Q"),
        base.transform_filter("!datum.is_free")
        .mark_rule(opacity=0.35)
        .encode(x=_x(curve, "x_low"), x2="x_high:Q"),
        base.mark_point(size=80, opacity=1, strokeWidth=1.6)
        .encode(
            x=_x(curve, "x_drawn"),
            shape=_by_kind(altair.Shape, 0),
            fill=_by_kind(altair.Fill, 2),
            tooltip=_tooltips(curve),
        )
        .properties(name="points"),
    ]
    if curve.x_free is not None:
        layers.insert(0, _strip(curve))
    chart = altair.layer(*layers).properties(
        width="container", height=440, background="transparent"
    )
    return dict(chart.to_dict())


def _x(curve: Curve, field: str) -> altair.X:
    """A field on the x axis; layers share a scale only if each of them names it."""
    positions = ticks(*curve.x_range)
    number = f"format(datum.value, '~r') + '{curve.x_suffix}'"
    label = number
    if curve.x_free is not None:
        positions = [*positions, curve.x_free]
        beyond = "<" if curve.is_x_cost else ">"
        label = f"datum.value {beyond} {curve.x_break} ? 'no model' : {number}"
    scale = altair.Scale(
        type="log", domain=list(curve.x_limits), reverse=curve.is_x_cost, nice=False
    )
    axis = altair.Axis(values=positions, labelExpr=label, labelFlush=False)
    return altair.X(f"{field}:Q", title=curve.x_title, scale=scale, axis=axis)


def _y(field: str) -> altair.Y:
    scale = altair.Scale(zero=False, padding=20, nice=False)
    return altair.Y(f"{field}:Q", title="mAP of the reference's outlier sources", scale=scale)


def _by_kind(channel: Any, style: int) -> Any:
    """The kind of method in one channel; equal domains make all channels share a legend."""
    styles = [styles[style] for styles in KIND_STYLES.values()]
    return channel(
        "kind:N",
        scale=altair.Scale(domain=list(KIND_STYLES), range=styles),
        legend=altair.Legend(title=None, symbolOpacity=1),
    )


def _strip(curve: Curve) -> Any:
    """The ground behind the methods that run no model."""
    start, end = curve.x_strip
    ground = altair.Chart(pd.DataFrame({"start": [start], "end": [end]}))
    return ground.mark_rect(color=FRONT_COLOUR, opacity=0.12).encode(
        x=_x(curve, "start"), x2="end:Q"
    )


def _tooltips(curve: Curve) -> list[altair.Tooltip]:
    numbers = {
        "y": "mAP",
        "y_low": "mAP, low",
        "y_high": "mAP, high",
        "x": curve.x_title,
        "x_low": "low",
        "x_high": "high",
    }
    return [
        altair.Tooltip("label:N", title="method"),
        altair.Tooltip("method:N", title="name"),
        *(altair.Tooltip(f"{c}:Q", title=title, format=".4~g") for c, title in numbers.items()),
    ]
