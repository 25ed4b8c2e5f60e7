"""Rebuild the tables, the figures and the HTML report of runs from their records.

    python -m experiments.report RUN_DIR [--examples 50]
    python -m experiments.report RUN_DIR RUN_DIR ... --output DIR      one report of several runs

Of runs under several seeds those of the first seed are reported, and rankings compared across all.
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
    parser.add_argument(
        "run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="with manifest.json and records"
    )
    parser.add_argument("--output", type=Path, help="where to write; one run: its own folder")
    parser.add_argument(
        "--examples", type=int, default=NUM_EXAMPLES, help="examples shown in the HTML at most"
    )
    options = parser.parse_args(arguments)
    if options.examples < 1:
        parser.error(f"--examples must be at least 1, got {options.examples}")
    if options.output is None and len(options.run_dirs) > 1:
        parser.error("several runs need --output DIR")
    output = options.output or options.run_dirs[0]
    try:
        print(build_report(options.run_dirs, output, options.examples))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
