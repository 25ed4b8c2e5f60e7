"""The command line of what is computed from the records of runs: their folders in, tables out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from attribot.errors import AttribotError


def tables_from_records(
    name: str,
    description: str | None,
    build: Callable[[Sequence[Path], Path], Path],
    arguments: Sequence[str] | None,
) -> None:
    """Parses `RUN_DIR... --output DIR`, builds, and prints where; an error is one line, exit 1.

    name: the module that is run.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="with manifest.json and records"
    )
    parser.add_argument("--output", type=Path, required=True, help="where to write")
    options = parser.parse_args(arguments)
    try:
        print(build(options.run_dirs, options.output))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")
