"""The report as one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from attribot.manifest import MethodInfo
from attribot.records import Records
from attribot.report.chart import chart_spec
from attribot.report.curve import CostUnit, Curve
from attribot.report.tables import HEADINGS, compared, cost_table, notes, results_table

MEASURED_COSTS = {
    "forward_passes": "forward passes",
    "computed_tokens": "computed tokens",
    "reused_tokens": "reused tokens",
    "wall_seconds": "seconds",
}


def render_report(
    records: Records,
    summary: pd.DataFrame,
    curves: Mapping[CostUnit, Curve],
    num_examples: int = 50,
) -> str:
    """HTML text with tables, the interactive curves and the first examples, source by source.

    curves: by what cost is measured in; the first is shown first.
    num_examples: how many examples to show at most; the page says how many it leaves out.
    """
    measured = records.examples[records.examples["example_id"].isin(records.costs["example_id"])]
    shown = measured.head(num_examples)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            results=results_table(summary),
            costs=cost_table(summary),
            methods=compared(records.manifest),
            notes=notes(summary, records.manifest),
            manifest=records.manifest.to_json(),
            curves=curves,
            num_shown=len(shown),
            num_examples=len(measured),
            charts={unit: chart_spec(curve) for unit, curve in curves.items()},
            examples=example_view(records, shown),
            vega=_vega(),
        )
    )


@cache
def _vega() -> Markup:
    """The JavaScript that draws the curve; the only thing on the page that is not escaped."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return environment


def example_view(records: Records, examples: pd.DataFrame) -> dict[str, Any]:
    """What the page's script shows: methods, and per example its text and every method's result.

    `results` holds one entry per method, None where the method has none for the example.
    """
    methods, reference = records.manifest.methods, records.manifest.reference
    sources, metrics, costs = (
        dict(list(table.groupby(["example_id", "method"], sort=False)))
        for table in (records.sources, records.metrics, records.costs)
    )
    # What the reference cost is not known, and everything else is measured by it.
    measures = {
        pair: _measures(metrics.get(pair), cost.iloc[0])
        for pair, cost in costs.items()
        if pair[1] != reference
    }
    views = []
    for example in examples.to_dict("records"):
        pairs = [(example["example_id"], name) for name in methods]
        of_methods = [sources.get(pair) for pair in pairs]
        some = next(rows for rows in of_methods if rows is not None)
        views.append(
            {
                "id": example["example_id"],
                "query": example["query"],
                "response": example["response"],
                "answer": example["answer"] if isinstance(example["answer"], str) else None,
                "gold": [int(source) for source in example["gold_sources"]],
                "documents": some["document_id"].tolist(),
                "segments": segments(example["context"], some),
                "results": [
                    None if rows is None else _result(rows, measures.get(pair, {}))
                    for pair, rows in zip(pairs, of_methods, strict=True)
                ],
            }
        )
    return {
        "methods": [_title(name, of) for name, of in methods.items()],
        "reference": list(methods).index(reference),
        "examples": views,
    }


def _title(name: str, method: MethodInfo) -> str:
    """What the page calls a method: its label, and the name that tables and records use."""
    return name if method.label == name else f"{method.label} ({name})"


def segments(context: str, sources: pd.DataFrame) -> list[tuple[str, int]]:
    """The context as (text, source id) pieces in order; -1 for headers and separators.

    Cut here and not in the page: JavaScript counts an emoji as two chars.
    """
    pieces, position = [], 0
    ordered = sources.sort_values("char_start")
    for source, start, end in ordered[["source_id", "char_start", "char_end"]].to_numpy():
        pieces += [(context[position:start], -1), (context[start:end], int(source))]
        position = end
    pieces.append((context[position:], -1))
    return [(text, source) for text, source in pieces if text]


def _result(rows: pd.DataFrame, measures: Mapping[str, float | None]) -> dict[str, Any]:
    """Scores and ranks `[num_sources]`; tied sources share the best rank of the tie."""
    ranks = rows["priority"].rank(method="min", ascending=False).astype(int)
    return {
        "scores": [_number(score) for score in rows["score"]],
        "ranks": ranks.tolist(),
        "measures": measures,
    }


def _measures(metrics: pd.DataFrame | None, cost: pd.Series) -> dict[str, float | None]:
    """The metrics that tables show, then the cost, of one method on one example."""
    values = {} if metrics is None else dict(zip(metrics["metric"], metrics["value"], strict=True))
    measures = {}
    for base, heading in HEADINGS.items():
        for name, value in values.items():
            if name.split("@")[0] == base:
                title = "AP" if base == "average_precision" else heading
                measures[title + name.removeprefix(base)] = _number(value)
    return measures | {title: _number(cost[name]) for name, title in MEASURED_COSTS.items()}


def _number(value: float) -> float | None:
    """Six significant digits keep the page small; JSON has no NaN."""
    return None if np.isnan(value) else float(f"{value:.6g}")
