"""The report of a run as one HTML page: tables, the curve, and examples source by source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from attribot.records import Records
from attribot.report.chart import chart_data
from attribot.report.curve import CostUnit, Curve
from attribot.report.page import RunSections, as_json, page_of
from attribot.report.page_data import (
    ExampleData,
    MethodData,
    PageData,
    ResultData,
    rounded,
    source_data,
)
from attribot.report.response_parts import PieceData
from attribot.report.tables import HEADINGS, compared, cost_table, notes, results_table

# Examples beyond are left out, and the page says so. 100 examples of 100 sources under 40 methods
# take about half of it.
MAX_EXAMPLE_BYTES = 16 * 2**20
MEASURED_COSTS = {
    "forward_passes": "forward passes",
    "computed_tokens": "computed tokens",
    "reused_tokens": "reused tokens",
    "wall_seconds": "seconds",
}
NO_PARTS = (
    "Records of a run hold one score per source for the whole response: its sentences and tokens "
    "have none here. The page that a single result saves has them."
)


def render_report(
    records: Records,
    summary: pd.DataFrame,
    curves: Mapping[CostUnit, Curve],
    num_examples: int = 50,
) -> str:
    """HTML text with tables, the curves and the first examples, source by source.

    curves: by what cost is measured in; the first is shown first.
    num_examples: how many examples to show at most; no more than fit `MAX_EXAMPLE_BYTES` either.
        The page says how many it leaves out.
    """
    measured = records.examples[records.examples["example_id"].isin(records.costs["example_id"])]
    main = next(iter(curves.values()))
    names = list(records.manifest.methods)
    data = PageData(
        title=main.title,
        subtitle=list(main.subtitle),
        charts=[chart_data(curve, unit) for unit, curve in curves.items()],
        methods=[
            MethodData(name=name, label=of.label) for name, of in records.manifest.methods.items()
        ],
        reference=names.index(records.manifest.reference),
        part_note=NO_PARTS,
        examples=_fitting(examples_of(records, measured.head(num_examples))),
    )
    sections = RunSections(
        results=results_table(summary),
        costs=cost_table(summary),
        methods=compared(records.manifest),
        notes=notes(summary, records.manifest),
        manifest=records.manifest.to_json(),
        num_examples=len(measured),
    )
    return page_of(data, sections)


def _fitting(examples: Iterator[ExampleData]) -> list[ExampleData]:
    """The first examples, one at least, up to `MAX_EXAMPLE_BYTES` as JSON."""
    kept: list[ExampleData] = []
    size = 0
    for example in examples:
        size += len(as_json(example))
        if kept and size > MAX_EXAMPLE_BYTES:
            break
        kept.append(example)
    return kept


def examples_of(records: Records, examples: pd.DataFrame) -> Iterator[ExampleData]:
    """What the page shows of each example: its text and every method's result."""
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
    for example in examples.to_dict("records"):
        pairs = [(example["example_id"], name) for name in methods]
        of_methods = [sources.get(pair) for pair in pairs]
        some = next(rows for rows in of_methods if rows is not None)
        spans = some[["char_start", "char_end"]].itertuples(index=False, name=None)
        cut, after = source_data(example["context"], spans, some["document_id"], some["parent_id"])
        yield ExampleData(
            id=example["example_id"],
            query=example["query"],
            answer=example["answer"] if isinstance(example["answer"], str) else None,
            gold=[int(source) for source in example["gold_sources"]],
            sources=cut,
            after=after,
            tokens=[],
            parts=[],
            pieces=[PieceData(text=example["response"], tokens=[], part=-1)],
            results=[
                None if rows is None else _result(rows, measures.get(pair, {}))
                for pair, rows in zip(pairs, of_methods, strict=True)
            ],
        )


def _result(rows: pd.DataFrame, measures: dict[str, float | None]) -> ResultData:
    """One method on one example; scores are in nats if they are differences of likelihoods."""
    ranks = rows["priority"].rank(method="min", ascending=False).astype(int)
    is_likelihood = rows["ablated_log_likelihood"].notna().any()
    return ResultData(
        unit="nats" if is_likelihood else "",
        scores=[rounded(score) for score in rows["score"]],
        ranks=ranks.tolist(),
        part_scores=None,
        part_ranks=None,
        token_scores=None,
        noise_floor=None,
        measures=measures,
        notes=[],
    )


def _measures(metrics: pd.DataFrame | None, cost: pd.Series) -> dict[str, float | None]:
    """The metrics that tables show, then the cost, of one method on one example."""
    values = {} if metrics is None else dict(zip(metrics["metric"], metrics["value"], strict=True))
    measures = {}
    for base, heading in HEADINGS.items():
        for name, value in values.items():
            if name.split("@")[0] == base:
                title = "AP" if base == "average_precision" else heading
                measures[title + name.removeprefix(base)] = rounded(value)
    return measures | {title: rounded(cost[name]) for name, title in MEASURED_COSTS.items()}
