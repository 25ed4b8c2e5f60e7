"""Every view of its records that a folder of results holds, built anew: no model, no GPU.

    python -m experiments.views results/pareto results/comparison

A folder FOLDER/VIEW holds the view VIEW of FOLDER/records/*, each the folder of a run:

    tables          tables, figures and report.html, as `python -m experiments.report` builds them
    assumptions     as `python -m experiments.assumptions`
    best_settings   as `python -m experiments.best_setting`
    sensitivity     as `python -m experiments.sensitivity`
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from attribot.errors import AttribotError
from attribot.report.build import build_report
from experiments.assumptions.__main__ import build as build_assumptions
from experiments.best_setting.__main__ import build as build_best_settings
from experiments.sensitivity.__main__ import build as build_sensitivity

TABLES = "tables"
# From the folders of runs and the folder of results to the page or report that was written.
VIEWS: dict[str, Callable[[Sequence[Path], Path], Path]] = {
    TABLES: build_report,
    "assumptions": lambda runs, results: build_assumptions(runs, results / "assumptions"),
    "best_settings": lambda runs, results: build_best_settings(runs, results / "best_settings"),
    "sensitivity": lambda runs, results: build_sensitivity(runs, results / "sensitivity"),
}


def views_of(results: Path) -> tuple[str, ...]:
    """Names of the views that a folder of results holds; of one that holds none, its tables."""
    return tuple(name for name in VIEWS if (results / name).is_dir()) or (TABLES,)


def build_views(names: Sequence[str], run_dirs: Sequence[Path], output: Path) -> list[Path]:
    """Build these views of runs into a folder of results; returns the path of each.

    Raises:
        RecordsError, InvalidInputError: the runs do not serve for one of the views.
    """
    return [VIEWS[name](run_dirs, output) for name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.views",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="FOLDER", help="with records/*")
    for folder in parser.parse_args(arguments).results:
        run_dirs = sorted(folder.glob("records/*"))
        if not run_dirs:
            parser.exit(1, f"{folder}/records holds no run: expected a folder for each\n")
        try:
            print(*build_views(views_of(folder), run_dirs, folder), sep="\n")
        except AttribotError as error:
            parser.exit(1, f"{folder}: {error}\n")


if __name__ == "__main__":
    main()
