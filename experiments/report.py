"""Rebuild the tables, the figures and the HTML report of a run from its records.

    python -m experiments.report RUN_DIR [--examples 50]

Works on finished and on unfinished runs; needs neither torch nor a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from attribot.errors import AttribotError
from attribot.report.build import NUM_EXAMPLES, build_report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, help="folder with manifest.json and records")
    parser.add_argument(
        "--examples", type=int, default=NUM_EXAMPLES, help="examples shown in the HTML at most"
    )
    options = parser.parse_args(arguments)
    if options.examples < 1:
        parser.error(f"--examples must be at least 1, got {options.examples}")
    try:
        print(build_report(options.run_dir, options.examples))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
