"""All views of the records of runs at once: tables, figures and HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attribot.errors import RecordsError
from attribot.records import read_records
from attribot.report.curve import cost_units, curve_of
from attribot.report.figures import draw_curve, draw_panels
from attribot.report.html import render_report
from attribot.report.merging import merge_records
from attribot.report.panels import panels_of, part_names
from attribot.report.summary import summarise
from attribot.report.tables import write_tables

NUM_EXAMPLES = 50
# What one waits for, as far as it was measured; and what holds on any hardware.
FIGURES = ("curve.png", "curve_flops.png")


def build_report(run_dirs: Sequence[Path], output: Path, num_examples: int = NUM_EXAMPLES) -> Path:
    """Write tables, figures and `report.html` of one or more runs into the folder `output`.

    Several data sets have a figure of a panel each. Returns the path of the report.

    Raises:
        RecordsError: a folder holds no run, no run has a result yet, or the runs differ in more
            than their examples.
    """
    records = merge_records([read_records(run_dir) for run_dir in run_dirs])
    summary = summarise(records)
    if summary.empty:
        raise RecordsError(
            f"{', '.join(map(str, run_dirs))}: no result yet; wait until a method has attributed "
            "an example"
        )
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in cost_units(summary)}
    write_tables(summary, records.manifest, output / "tables")
    for name, curve in zip(FIGURES, curves.values(), strict=True):
        draw_curve(curve, output / "figures" / name)
    if len(part_names(summary)) > 1:
        draw_panels(panels_of(summary, records.manifest), output / "figures" / "panels.png")
    report = output / "report.html"
    report.write_text(render_report(records, summary, curves, num_examples), encoding="utf-8")
    return report
