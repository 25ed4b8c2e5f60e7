"""All views of a run's records at once: tables, figures and HTML report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attribot.errors import RecordsError
from attribot.records import read_records
from attribot.report.curve import CostUnit, curve_of
from attribot.report.figures import draw_curve
from attribot.report.html import render_report
from attribot.report.summary import summarise
from attribot.report.tables import write_tables

NUM_EXAMPLES = 50
# By what cost is measured in: seconds are what one waits for, FLOPs hold on any hardware.
FIGURES: Mapping[CostUnit, str] = {"seconds": "curve.png", "flops": "curve_flops.png"}


def build_report(run_dir: Path, num_examples: int = NUM_EXAMPLES) -> Path:
    """Write tables, figures and `report.html` into the run folder; returns the path of the last.

    Raises:
        RecordsError: the folder holds no run, or a run without any result yet.
    """
    records = read_records(run_dir)
    summary = summarise(records)
    if summary.empty:
        raise RecordsError(
            f"{run_dir} holds no result yet: wait until a method has attributed an example"
        )
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in FIGURES}
    write_tables(summary, records.manifest, run_dir / "tables")
    for unit, name in FIGURES.items():
        draw_curve(curves[unit], run_dir / "figures" / name)
    report = run_dir / "report.html"
    report.write_text(render_report(records, summary, curves, num_examples), encoding="utf-8")
    return report
