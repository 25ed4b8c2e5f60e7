"""All views of the records of runs at once: tables, figures and HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attribot.errors import RecordsError
from attribot.records import Records, read_records
from attribot.report.curve import cost_units, curve_of
from attribot.report.equal_cost import write_equal_cost
from attribot.report.figures import draw_curve, draw_panels
from attribot.report.html import render_report
from attribot.report.joining import join_runs
from attribot.report.metric_tables import write_metrics
from attribot.report.panels import panels_of, part_names
from attribot.report.ranking import ranking, write_ranking
from attribot.report.recall_curve import write_recall
from attribot.report.sample_sizes import write_sample_sizes
from attribot.report.stability import write_stability
from attribot.report.summary import summarise
from attribot.report.tables import write_tables

NUM_EXAMPLES = 50
# What one waits for, as far as it was measured; and what holds on any hardware.
FIGURES = ("curve.png", "curve_flops.png")


def build_report(run_dirs: Sequence[Path], output: Path, num_examples: int = NUM_EXAMPLES) -> Path:
    """Write tables, figures and `report.html` of one or more runs into the folder `output`.

    Runs of other examples add examples, runs of other methods on the same examples add methods.
    Several data sets have a figure of a panel each. Of runs under several seeds, those of the first
    seed are reported, and `stability.md` compares all. Returns the path of the report.

    Raises:
        RecordsError: a folder holds no run, no run has a result yet, or the runs cannot be one: see
            `join_runs`.
    """
    by_seed: dict[int, list[Records]] = {}
    for run in map(read_records, run_dirs):
        by_seed.setdefault(run.manifest.seed, []).append(run)
    of_seeds = [join_runs(runs) for runs in by_seed.values()]
    records = of_seeds[0]
    summary = summarise(records)
    if summary.empty:
        raise RecordsError(
            f"{', '.join(map(str, run_dirs))}: no result yet; wait until a method has attributed "
            "an example"
        )
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in cost_units(summary)}
    tables, figures = output / "tables", output / "figures"
    write_tables(summary, records.manifest, tables)
    write_metrics(summary, tables)
    ranked = ranking(records)
    write_ranking(ranked, tables)
    write_sample_sizes(ranked, records, tables)
    write_equal_cost(records, tables)
    write_recall(records, tables, figures)
    write_stability(of_seeds, tables)
    for name, curve in zip(FIGURES, curves.values(), strict=True):
        draw_curve(curve, figures / name)
    if len(part_names(summary)) > 1:
        draw_panels(panels_of(summary, records.manifest), figures / "panels.png")
    report = output / "report.html"
    report.write_text(render_report(records, summary, curves, num_examples), encoding="utf-8")
    return report
