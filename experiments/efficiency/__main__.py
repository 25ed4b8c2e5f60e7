"""What the tricks should save, and what they save by count: tables and a figure, without a model.

    python -m experiments.efficiency results/efficiency
    python -m experiments.efficiency OUTPUT --records results/first_results/records/*

Writes `efficiency.csv` (predicted and counted cost of every composition, data set and pair of
models), `prefix_reuse.csv` (prefix reuse against its formula in recorded runs), `efficiency.md` and
`efficiency.png`; where `experiments.generation_time` or `experiments.efficiency.timing` have left
measurements, also the tables of those. About half a minute; needs neither weights nor a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from attribot.errors import AttribotError
from experiments.efficiency import timing_report
from experiments.efficiency.report import draw, page
from experiments.efficiency.reuse import recorded_ratios
from experiments.efficiency.tables import PROMPTS, efficiency_rows
from experiments.efficiency.timing_records import JSON_FILE
from experiments.generation_time import report as generation_time_report

RECORDS = Path(__file__).resolve().parents[2] / "results/first_results/records"
FIGURE = "efficiency.png"
# Enough for every quoted number, and equal on machines that add up in another order.
FLOAT_FORMAT = "%.6g"


def build(output: Path, run_dirs: Sequence[Path]) -> Path:
    """Writes everything into the folder; returns the page.

    Raises:
        RecordsError: the records cannot be read.
    """
    rows, ratios = efficiency_rows(), recorded_ratios(run_dirs)
    output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(output / "efficiency.csv", index=False, float_format=FLOAT_FORMAT)
    ratios.to_csv(output / "prefix_reuse.csv", index=False, float_format=FLOAT_FORMAT)
    draw(rows, output / FIGURE)
    path = output / "efficiency.md"
    path.write_text(page(PROMPTS, rows, ratios, FIGURE), encoding="utf-8")
    if (output / generation_time_report.JSON_FILE).is_file():
        generation_time_report.build(output)
    if (output / JSON_FILE).is_file():
        timing_report.build(output)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.efficiency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument(
        "--records",
        type=Path,
        nargs="+",
        metavar="RUN_DIR",
        help="runs with naive and prefix-reusing exact LOO; default: the first results",
    )
    options = parser.parse_args(arguments)
    try:
        print(build(options.output, options.records or sorted(RECORDS.iterdir())))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
