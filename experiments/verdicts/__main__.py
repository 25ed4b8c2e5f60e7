"""Write results/verdicts.md: what was claimed, what was found, and whether the claim holds.

    python -m experiments.verdicts [CLAIMS]

CLAIMS (results/claims.yaml) is written by hand and holds no number of ours. A claim names where its
numbers stand in the committed tables and, under `expect`, what its verdict implies for them; a
verdict that its own numbers contradict is refused, and so is a query that finds no single row.

    results:                      # folders beside CLAIMS
      first_results: {scale: ..., command: ...}
    sections:
      - title: ...
        claims:
          - claim: Prefix reuse saves 1.5 to 2 times
            paper: 1.5x to 2x     # its number, and where it stands
            table: first_results/tables/curve.csv
            ours:                 # by name; low and high default to <value>_low and <value>_high
              speedup: {rows: {dataset: all, method: loo}, value: speedup, format: "{:.2f}x"}
            expect: [speedup.low >= 1.5, speedup.high <= 2]
            verdict: holds        # or: holds in direction, fails, cannot be tested here
            reason: one line
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

from attribot.errors import AttribotError, InvalidInputError
from attribot.manifest import read_manifest
from experiments.benchmark.records import Measurements
from experiments.verdicts.conditions import Number, is_met

CLAIMS = Path(__file__).resolve().parents[2] / "results" / "claims.yaml"
UNTESTABLE = "cannot be tested here"
VERDICTS = ("holds", "holds in direction", "fails", UNTESTABLE)
MEANINGS = (
    "**holds**: as claimed, at the scale named; **holds in direction**: a part of it, or with a "
    "stand-in that flatters it, as the reason says; **fails**: our numbers contradict it at the "
    "scale named. Intervals are 95% bootstrap intervals over examples. A commit is that of the "
    "records; tables that no model was run for have none."
)
HEADINGS = (
    "claim",
    "paper",
    "ours",
    "verdict",
    "why (what was checked)",
    "scale",
    "table",
    "command",
    "commit",
)


@dataclass(frozen=True)
class Query:
    """Where a number stands.

    rows: column and value that select one row. value, low, high: columns. table: a CSV under the
    folder of the claims; empty: the claim's. format: of the number and its interval.
    """

    rows: Mapping[str, str | float]
    value: str
    low: str = ""
    high: str = ""
    table: str = ""
    format: str = "{:.3f}"


@dataclass(frozen=True)
class Claim:
    """One row of the verdicts; see the module."""

    claim: str
    paper: str
    verdict: str
    reason: str
    table: str = ""
    ours: Mapping[str, Query] = field(default_factory=dict)
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InvalidInputError(
                f"{self.claim!r} has the verdict {self.verdict!r}; known: {', '.join(VERDICTS)}"
            )
        if self.verdict != UNTESTABLE and not self.expect:
            raise InvalidInputError(
                f"{self.claim!r}: the verdict {self.verdict!r} needs an `expect`, such as "
                "`value >= 0.9`, that its numbers are held to"
            )


@dataclass(frozen=True)
class Result:
    """What stands behind a folder of results: the scale of the experiment, how it is repeated."""

    scale: str
    command: str


Stored = TypeVar("Stored", Query, Claim, Result)


class Tables:
    """Tables in a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def number(self, query: Query) -> Number:
        """The number that a query names.

        Raises:
            InvalidInputError: no such table or column, or not exactly one such row.
        """
        table = self._table(query.table)
        ends = [query.low or f"{query.value}_low", query.high or f"{query.value}_high"]
        named = [query.value, *query.rows, *filter(None, (query.low, query.high))]
        if missing := [column for column in named if column not in table.columns]:
            raise InvalidInputError(
                f"{query.table} has no column {missing[0]!r}; it has: {', '.join(table.columns)}"
            )
        chosen = table
        for column, value in query.rows.items():
            chosen = chosen[chosen[column] == value]
        if len(chosen) != 1:
            raise InvalidInputError(
                f"{len(chosen)} rows of {query.table} have {dict(query.rows)}: expected one"
            )
        row = chosen.iloc[0]
        value, low, high = (float(row.get(name, math.nan)) for name in (query.value, *ends))
        text = query.format.format(value)
        if not math.isnan(low):
            text += f" [{query.format.format(low)}, {query.format.format(high)}]"
        return Number(value, low, high, text)

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            path = self.folder / name
            if not (name and path.is_file()):
                known = sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.csv"))
                raise InvalidInputError(f"there is no table {name!r}; known: {', '.join(known)}")
            self._read[name] = pd.read_csv(path)
        return self._read[name]


def commits(folder: Path) -> str:
    """Commits that computed the records of a folder of results; a dash where nothing was run."""
    runs = sorted(path.parent for path in folder.glob("records/*/manifest.json"))
    found = [read_manifest(run).git_commit for run in runs]
    if (folder / "benchmark.json").is_file():
        found = [run.commit for run in Measurements.read(folder).runs]
    return ", ".join(dict.fromkeys((commit or "unknown")[:7] for commit in found)) or "–"


def claim_row(claim: Claim, tables: Tables, results: Mapping[str, Result]) -> tuple[str, ...]:
    """The cells of a claim, its verdict checked.

    Raises:
        InvalidInputError: a condition is not met, a query fails, or a folder is not described.
    """
    numbers = {name: tables.number(query) for name, query in claim.ours.items()}
    for condition in claim.expect:
        if not is_met(condition, numbers):
            found = "; ".join(f"{name} {number.text}" for name, number in numbers.items())
            raise InvalidInputError(
                f"{claim.claim!r} has the verdict {claim.verdict!r}, which implies {condition!r}, "
                f"but its numbers are {found}: change the verdict and its reason"
            )
    paths = list(dict.fromkeys(Path(query.table) for query in claim.ours.values()))
    folders = list(dict.fromkeys(path.parts[0] for path in paths))
    if missing := [folder for folder in folders if folder not in results]:
        raise InvalidInputError(f"`results` does not describe {missing[0]!r}: add it")
    texts = [
        number.text if len(numbers) == 1 else f"{name.replace('_', ' ')} {number.text}"
        for name, number in numbers.items()
    ]
    checked = ", ".join(f"`{condition}`" for condition in claim.expect)
    return (
        claim.claim,
        claim.paper,
        "<br>".join(texts) or "–",
        f"**{claim.verdict}**",
        claim.reason + (f" ({checked})" if checked else ""),
        "<br>".join(results[folder].scale for folder in folders) or "–",
        "<br>".join(_link(path, tables.folder) for path in paths) or "–",
        "<br>".join(f"`{results[folder].command}`" for folder in folders) or "–",
        "<br>".join(commits(tables.folder / folder) for folder in folders) or "–",
    )


def _line(cells: Sequence[str]) -> str:
    """A row of a table; a bar within a cell would end the cell."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _link(table: Path, folder: Path) -> str:
    """A link to the readable version of a table, where there is one."""
    shown = table.with_suffix(".md")
    shown = shown if (folder / shown).is_file() else table
    return f"[{table.parts[0]}]({shown.as_posix()})"


def build(path: Path) -> Path:
    """Write `verdicts.md` beside the claims; returns its path.

    Raises:
        InvalidInputError: the claims cannot be read, or a verdict does not stand.
    """
    results, sections = read_claims(path)
    tables = Tables(path.parent)
    counts = dict.fromkeys(VERDICTS, 0)
    parts = []
    for title, claims in sections.items():
        rows = [claim_row(claim, tables, results) for claim in claims]
        for claim in claims:
            counts[claim.verdict] += 1
        cells = [HEADINGS, ("---",) * len(HEADINGS), *rows]
        parts.append(f"## {title}\n\n" + "\n".join(_line(row) for row in cells))
    tally = ", ".join(f"{verdict} {count}" for verdict, count in counts.items())
    head = (
        f"# Claims and verdicts\n\nWritten by `python -m experiments.verdicts` from "
        f"[{path.name}]({path.name}) and the committed tables. {sum(counts.values())} claims: "
        f"{tally}.\n\n{MEANINGS}"
    )
    output = path.with_name("verdicts.md")
    output.write_text("\n\n".join([head, *parts]) + "\n", encoding="utf-8")
    return output


def read_claims(path: Path) -> tuple[dict[str, Result], dict[str, list[Claim]]]:
    """Described folders of results, and claims by section.

    Raises:
        InvalidInputError: the file cannot be read or has unknown or missing keys.
    """
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        described, titled = stored["results"], stored["sections"]
        results = {name: _made(Result, result) for name, result in described.items()}
        sections = {part["title"]: [_claim(each) for each in part["claims"]] for part in titled}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"cannot read the claims in {path} ({type(error).__name__}: {error}): expected "
            "`results` and `sections`, as `python -m experiments.verdicts --help` shows"
        ) from error
    return results, sections


def _claim(stored: dict[str, Any]) -> Claim:
    queries = {
        name: _made(Query, {"table": stored.get("table", ""), **query})
        for name, query in stored.get("ours", {}).items()
    }
    return _made(Claim, {**stored, "ours": queries, "expect": tuple(stored.get("expect", ()))})


def _made(kind: type[Stored], stored: Mapping[str, Any]) -> Stored:
    """An object of plain values; refuses unknown keys, and missing ones."""
    known = [each.name for each in fields(kind)]
    if unknown := sorted(set(stored) - set(known)):
        raise InvalidInputError(f"unknown key {unknown[0]!r} in {stored}; known: {known}")
    return kind(**stored)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("claims", type=Path, nargs="?", default=CLAIMS)
    try:
        print(build(parser.parse_args(arguments).claims))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
