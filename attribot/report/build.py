"""All views of a run's records at once: tables, figure and HTML report."""

from __future__ import annotations

from pathlib import Path

from attribot.errors import RecordsError
from attribot.records import read_records
from attribot.report.figures import curve_of, draw_curve
from attribot.report.html import render_report
from attribot.report.summary import summarise
from attribot.report.tables import write_tables

NUM_EXAMPLES = 50


def build_report(run_dir: Path, num_examples: int = NUM_EXAMPLES) -> Path:
    """Write tables, figure and `report.html` into the run folder; returns the path of the last.

    Raises:
        RecordsError: the folder holds no run, or a run without any result yet.
    """
    records = read_records(run_dir)
    summary = summarise(records)
    if summary.empty:
        raise RecordsError(
            f"{run_dir} holds no result yet: wait until a method has attributed an example"
        )
    curve = curve_of(summary, records.manifest)
    write_tables(summary, records.manifest, run_dir / "tables")
    draw_curve(curve, run_dir / "figures" / "curve.png")
    report = run_dir / "report.html"
    report.write_text(render_report(records, summary, curve, num_examples), encoding="utf-8")
    return report
