"""Calibrate a screen: how much to keep, so that a share of the outliers survives in expectation.

    python -m experiments.calibrate_keep RUN_DIR [RUN_DIR ...] --screen proxy_loo --recall 0.9

The runs hold the screen as a method of its own beside the exact reference scores. Prints, for every
distance of `attribot.attributors.adaptive_keep`, the threshold and what it does to held-out
examples, and the options of a run that prunes so. The promise, and what it assumes, stand at
`recall_threshold`; examples without outliers are left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from attribot.attributors.adaptive_keep import Distance, recall_threshold, unit_distances
from attribot.attributors.keep import RankedUnits
from attribot.errors import AttribotError, InvalidInputError
from attribot.evaluation.outliers import PROTOCOL_RULES, OutlierRule, is_outlier
from attribot.records import Records, read_records
from attribot.types import LEVELS, FloatArray, Level

# Random halves that are held out in turn: a single one says more about its luck.
NUM_CHECKS = 100
# Where records say which unit of a level a source lies in.
UNIT_COLUMNS: Mapping[Level, str] = {
    "document": "document_id",
    "paragraph": "parent_id",
    "sentence": "source_id",
}


@dataclass(frozen=True, eq=False)
class ScreenedExample:
    """An example with outliers, as a screen sees it.

    units: `[num_units]` distance of every unit, non-decreasing; see `unit_distances`.
    outliers: `[num_outliers]` distances of the units that hold its outliers.
    """

    units: FloatArray
    outliers: FloatArray


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what one calibrated on half of the examples does to the other half: means.

    threshold: calibrated on all examples.
    recall: share of an example's outliers that survive.
    num_kept, num_units: units of an example that survive / that there are.
    """

    threshold: float
    recall: float
    num_kept: float
    num_units: float


def screened_examples(
    records: Records, screen: str, level: Level, rule: OutlierRule, distance: Distance
) -> list[ScreenedExample]:
    """The examples of a run that have outliers by `rule` among their reference scores.

    Raises:
        InvalidInputError: the run has no method `screen`.
    """
    if screen not in records.manifest.methods:
        raise InvalidInputError(
            f"no method {screen!r} in these records; known: {sorted(records.manifest.methods)}"
        )
    exact, screened = (
        records.sources[records.sources["method"] == method].groupby("example_id", sort=False)
        for method in (records.manifest.reference, screen)
    )
    found = []
    for example_id, rows in screened:
        flags = is_outlier(exact.get_group(example_id)["score"].to_numpy(), rule)
        if flags.any():
            units, of_source = source_distances(rows, level, distance)
            found.append(ScreenedExample(units, of_source[flags]))
    return found


def source_distances(
    rows: pd.DataFrame, level: Level, distance: Distance
) -> tuple[FloatArray, FloatArray]:
    """Distances of all units of one example, and `[num_sources]` of the unit of each source.

    rows: the screen's, by source.
    """
    # Numbered as they appear, which is document order: ties are broken as in a run.
    unit_of_source = pd.factorize(rows[UNIT_COLUMNS[level]])[0].astype(np.int64)
    ranked = RankedUnits.of_sources(
        unit_of_source, rows["priority"].to_numpy(), rows["score"].to_numpy()
    )
    distances = unit_distances(ranked, distance)
    of_unit = np.empty(len(distances))
    of_unit[ranked.nodes] = distances
    return distances, of_unit[unit_of_source]


def calibrate(examples: Sequence[ScreenedExample], recall: float, seed: int) -> Calibration:
    """The threshold of all examples; random halves of them check the threshold of the others.

    Raises:
        InvalidInputError: half of the examples are too few for the recall.
    """
    rng = np.random.default_rng(seed)
    half = (len(examples) + 1) // 2
    checks = []
    for _ in range(NUM_CHECKS):
        order = rng.permutation(len(examples)).tolist()
        calibrating, held_out = (
            [examples[i] for i in part] for part in (order[:half], order[half:])
        )
        threshold = recall_threshold([example.outliers for example in calibrating], recall)
        checks += [
            ((e.outliers <= threshold).mean(), (e.units <= threshold).sum(), len(e.units))
            for e in held_out
        ]
    everything = recall_threshold([example.outliers for example in examples], recall)
    return Calibration(everything, *(float(mean) for mean in np.mean(checks, axis=0)))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    console = Console()
    table = Table(box=SIMPLE)
    for heading in ("distance", "threshold", "held-out recall", "units kept", "of"):
        table.add_column(heading, justify="left" if heading == "distance" else "right")
    try:
        runs = [read_records(path) for path in options.run_dirs]
        for distance in get_args(Distance):
            rule = PROTOCOL_RULES[options.outliers]
            examples = [
                example
                for run in runs
                for example in screened_examples(run, options.screen, options.level, rule, distance)
            ]
            found = calibrate(examples, options.recall, options.seed)
            numbers = (found.recall, found.num_kept, found.num_units)
            # Rounded up, so that no less is kept.
            threshold = f"{math.ceil(found.threshold * 1e4) / 1e4:g}"
            table.add_row(distance, threshold, *(f"{number:.2f}" for number in numbers))
    except AttribotError as error:
        raise SystemExit(f"error: {error}") from error
    console.print(
        f"{options.screen} keeps {options.recall:.0%} of outliers: {len(examples)} examples with "
        f"outliers; the check holds out random halves",
        highlight=False,
    )
    console.print(table)
    console.print(
        "to prune so: keep@pruning.method.keep=recall pruning.method.keep.distance=DISTANCE "
        "pruning.method.keep.threshold=THRESHOLD",
        highlight=False,
        soft_wrap=True,
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.calibrate_keep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="with records")
    parser.add_argument("--screen", required=True, help="name of a method of the runs")
    parser.add_argument("--recall", type=float, default=0.9, help="share of outliers to keep")
    parser.add_argument("--level", choices=LEVELS, default="sentence", help="units that are kept")
    parser.add_argument(
        "--outliers", choices=PROTOCOL_RULES, default="generalized_esd", help="who must survive"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the held-out half")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
