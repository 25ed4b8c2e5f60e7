"""What `experiments.efficiency.timing` leaves on disk: one JSON file, replaced after every row.

A folder may hold several pairs of models, lengths and ways, if all were timed on one machine in one
dtype. Needs neither torch nor pandas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attribot.durable import storage_errors, write_atomically
from attribot.errors import InvalidInputError, RecordsError
from experiments.benchmark.records import LeftOut

JSON_FILE = "timing.json"


@dataclass(frozen=True)
class TimingRow:
    """One round of one composition.

    run: which of the runs it is from, counted from 1.
    prompt_tokens, sources, paragraphs: of the prompt.
    composition, is_papers: see `Composition`.
    round: counted from 1; the rounds of a length are shared by all compositions.
    timed_ablations: how many sources were left out while the clock ran; None: all that the
        composition leaves out.
    seconds, forward_seconds: of the timed ablations; all, and inside forward passes.
    timed_flops: counted, of the timed ablations.
    flops, forward_passes, computed_tokens, reused_tokens: counted, of the whole composition.
    peak_memory_bytes, resting_memory_bytes: in use at most, and before; None where the system does
        not tell. Weights of all resident models are part of both.
    predicted, predicted_in_tokens: relative to naive leave-one-out, by the closed forms
        `papers_cost`, None for masks, and `token_cost`.
    """

    run: int
    prompt_tokens: int
    sources: int
    paragraphs: int
    composition: str
    is_papers: bool
    round: int
    timed_ablations: int | None
    seconds: float
    forward_seconds: float
    timed_flops: float
    flops: float
    forward_passes: int
    computed_tokens: int
    reused_tokens: int
    peak_memory_bytes: float | None
    resting_memory_bytes: float | None
    predicted: float | None
    predicted_in_tokens: float

    @property
    def key(self) -> tuple[int, str, int]:
        """What is timed once per pair of models."""
        return self.prompt_tokens, self.composition, self.round


@dataclass(frozen=True)
class TimingRun:
    """One start of the command, with one pair of models.

    target, proxy: names of their geometries; "" without a proxy.
    command: its arguments.
    date, commit, is_dirty: when, and of which code.
    matmul_flops_per_second: of the machine at the target's shapes, measured in the run.
    left_out: compositions asked for and not timed.
    """

    target: str
    proxy: str
    command: str
    date: str
    commit: str | None
    is_dirty: bool | None
    matmul_flops_per_second: float
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Timings:
    """All runs of a folder.

    machine: "dtype", "hardware", "threads", "versions"; equal for all runs.
    """

    machine: Mapping[str, Any]
    runs: tuple[TimingRun, ...] = ()
    rows: tuple[TimingRow, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Timings:
        """The timings in a folder.

        Raises:
            RecordsError: there are none, or they are damaged.
        """
        try:
            stored = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
            runs = tuple(_run(fields) for fields in stored["runs"])
            rows = tuple(TimingRow(**fields) for fields in stored["rows"])
            return cls(stored["machine"], runs, rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordsError(
                f"cannot read the timings in {folder} ({error}): expected {JSON_FILE} as "
                f"`python -m experiments.efficiency.timing --output` writes it"
            ) from error

    @classmethod
    def beside(cls, folder: Path, machine: Mapping[str, Any]) -> Timings:
        """What the folder holds already, or nothing yet.

        Raises:
            InvalidInputError: it was timed in other circumstances.
        """
        if not (folder / JSON_FILE).is_file():
            return cls(machine)
        found = cls.read(folder)
        if other := [key for key in machine if found.machine.get(key) != machine[key]]:
            raise InvalidInputError(
                f"{folder} holds timings of another {' and '.join(other)} "
                f"({', '.join(str(found.machine.get(key)) for key in other)}): choose another "
                f"--output"
            )
        return found

    def timed(self, target: str, proxy: str) -> set[tuple[int, str, int]]:
        """Keys of the rows of a pair of models."""
        return {
            row.key
            for row in self.rows
            if (self.runs[row.run - 1].target, self.runs[row.run - 1].proxy) == (target, proxy)
        }

    def with_run(self, run: TimingRun) -> Timings:
        """These and one more run."""
        return replace(self, runs=(*self.runs, run))

    def with_result(self, result: TimingRow | LeftOut) -> Timings:
        """These and one more result of the last run."""
        if isinstance(result, TimingRow):
            return replace(self, rows=(*self.rows, result))
        last = replace(self.runs[-1], left_out=(*self.runs[-1].left_out, result))
        return replace(self, runs=(*self.runs[:-1], last))

    def write(self, folder: Path) -> None:
        """Replaces the file.

        Raises:
            RecordsError: it cannot be written; what it held before is intact.
        """
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
            write_atomically(folder / JSON_FILE, text.encode())


def _run(fields: dict[str, Any]) -> TimingRun:
    left_out = tuple(LeftOut(**left) for left in fields.pop("left_out"))
    return TimingRun(**fields, left_out=left_out)
