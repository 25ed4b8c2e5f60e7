"""What the benchmark leaves on disk: raw rows as CSV, circumstances as JSON.

A folder may hold several runs, of different cells or ways, if machine and model are the same.
Writing needs no package that a machine for timing may lack; tables of the rows need pandas.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribot.errors import InvalidInputError, RecordsError
from attribot.extras import import_extra

if TYPE_CHECKING:
    import pandas as pd

CELL = ["prompt_tokens", "sources"]
COLUMNS = [
    "run",
    *CELL,
    "way",
    "round",
    "seconds",
    "forward_seconds",
    "forward_passes",
    "expected_tokens",
    "computed_tokens",
    "reused_tokens",
    "flops",
    "peak_memory_bytes",
    "resting_memory_bytes",
    "matmul_flops_per_second",
]
COUNTS = {
    *("run", "prompt_tokens", "sources", "round", "forward_passes"),
    *("expected_tokens", "computed_tokens", "reused_tokens"),
}
WAYS = {
    "naive-all-logits": "every sequence whole, logits at every position, as the paper's code",
    "naive": "the same with logits for the response's positions only",
    "cached-all-logits": "one by one, each with the states of the longest prefix it shares with "
    "the one before; logits at every position computed, as the paper's code",
    "cached": "the same with logits for the response's positions only",
    "batched": "the same, four sequences to a padded batch",
    "packed": "every shared prefix once, many branches to a pass",
    "masked": "sources hidden instead of deleted: one pass over the prompt, and for each source 64 "
    "tokens behind it, the query and the response anew; approximate",
}


@dataclass(frozen=True)
class LeftOut:
    """A way that a run was asked for and did not measure in a cell."""

    way: str
    prompt_tokens: int
    sources: int
    reason: str


@dataclass(frozen=True)
class BenchmarkRun:
    """One start of the benchmark.

    command: its arguments.
    date, commit, is_dirty: when, and of which code.
    matmul_flops_per_second: of the machine, measured in the run.
    left_out: ways that were asked for and not measured.
    text: a real prompt scored from text: "prompt_tokens", "sources", and by round "seconds" and
        "forward_seconds"; None for models without a tokenizer.
    """

    command: str
    date: str
    commit: str | None
    is_dirty: bool | None
    matmul_flops_per_second: float
    left_out: tuple[LeftOut, ...] = ()
    text: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Measurements:
    """All runs of a folder.

    machine: "model", "dtype", "hardware", "threads", "versions"; equal for all runs.
    measured: `COLUMNS` of every cell, way and round; `run` counts `runs` from 1.
    """

    machine: Mapping[str, Any]
    runs: tuple[BenchmarkRun, ...] = ()
    measured: tuple[Mapping[str, Any], ...] = ()

    @property
    def rows(self) -> pd.DataFrame:
        """The same as a table.

        Raises:
            MissingExtraError: pandas, which measuring does without, is not installed.
        """
        pandas = import_extra("pandas", "experiments")
        rows: pd.DataFrame = pandas.DataFrame(self.measured, columns=COLUMNS)
        return rows

    @classmethod
    def read(cls, folder: Path) -> Measurements:
        """The measurements in a folder.

        Raises:
            RecordsError: there are none, or they are damaged.
        """
        try:
            stored = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
            runs = tuple(_run(fields) for fields in stored["runs"])
            with (folder / "benchmark.csv").open(newline="", encoding="utf-8") as lines:
                measured = tuple(map(_row, csv.DictReader(lines)))
            return cls(stored["machine"], runs, measured)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordsError(
                f"cannot read the measurements in {folder} ({error}): expected benchmark.json and "
                f"benchmark.csv as `python -m experiments.benchmark --output` writes them"
            ) from error

    @classmethod
    def beside(cls, folder: Path, machine: Mapping[str, Any]) -> Measurements:
        """What the folder holds already, or nothing yet.

        Raises:
            InvalidInputError: it was measured in other circumstances.
        """
        if not (folder / "benchmark.json").is_file():
            return cls(machine)
        found = cls.read(folder)
        if other := [key for key in machine if found.machine.get(key) != machine[key]]:
            raise InvalidInputError(
                f"{folder} holds measurements of another {' and '.join(other)} "
                f"({', '.join(str(found.machine.get(key)) for key in other)}): choose another "
                f"--output"
            )
        return found

    def with_run(self, run: BenchmarkRun, rows: Sequence[Mapping[str, Any]]) -> Measurements:
        """These and one more run."""
        number = len(self.runs) + 1
        added = ({**row, "run": number} for row in rows)
        return Measurements(self.machine, (*self.runs, run), (*self.measured, *added))

    def write(self, folder: Path) -> None:
        """Both files, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "benchmark.csv").open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.measured)
        stored = {"machine": self.machine, "runs": [asdict(run) for run in self.runs]}
        text = json.dumps(stored, indent=2, allow_nan=False) + "\n"
        (folder / "benchmark.json").write_text(text, encoding="utf-8")

    def circumstances(self) -> str:
        """Machine and model, then a line per run."""
        machine, hardware = self.machine, self.machine["hardware"]
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        lines = [
            f"{machine['model']}, {machine['dtype']} on {hardware['gpu'] or hardware['cpu']}, "
            f"{machine['threads']} of {hardware['cores']} cores; {versions}.",
            "",
        ]
        for number, run in enumerate(self.runs, start=1):
            commit = (run.commit or "unknown")[:12] + (" with changes" if run.is_dirty else "")
            lines.append(
                f"- run {number}, {run.date}, commit {commit}, matrix "
                f"multiplication at {run.matmul_flops_per_second / 1e12:.3g} TFLOP/s: "
                f"`python -m experiments.benchmark {run.command}`"
            )
        return "\n".join(lines)

    def left_out_text(self) -> str:
        """Which ways have no row in which cells, and why."""
        measured = {(row["way"], *(row[key] for key in CELL)) for row in self.measured}
        reasons = {
            (left.way, left.prompt_tokens, left.sources): left.reason
            for run in self.runs
            for left in run.left_out
        }
        cells = sorted({key[1:] for key in measured} | {key[1:] for key in reasons})
        lines: list[str] = []
        not_asked: dict[tuple[Any, ...], list[str]] = {}
        for way in WAYS:
            missing = [cell for cell in cells if (way, *cell) not in measured]
            said = [
                f"{cell[0]} x {cell[1]} ({reasons[way, *cell]})"
                for cell in missing
                if (way, *cell) in reasons
            ]
            if said:
                lines.append(f"- {way}: {', '.join(said)}")
            if others := tuple(cell for cell in missing if (way, *cell) not in reasons):
                not_asked.setdefault(others, []).append(way)
        for others, ways in not_asked.items():
            where = ", ".join(f"{cell[0]} x {cell[1]}" for cell in others)
            lines.append(f"- {', '.join(ways)}: not asked for in {where}")
        if not lines:
            return "Every way was measured in every cell."
        return "\n".join(["Left out (tokens x sources):", "", *lines])


def _run(fields: dict[str, Any]) -> BenchmarkRun:
    left_out = tuple(LeftOut(**left) for left in fields.pop("left_out"))
    return BenchmarkRun(**fields, left_out=left_out)


def _row(cells: Mapping[str, str]) -> dict[str, Any]:
    """`COLUMNS` of a line of the CSV; an empty cell is NaN."""
    row: dict[str, Any] = {}
    for name in COLUMNS:
        cell = cells[name]
        if name in COUNTS:
            row[name] = int(cell)
        else:
            row[name] = cell if name == "way" else float(cell or math.nan)
    return row
