"""Two versions of a table cell by cell: what was computed must agree, what was timed may vary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

# Columns of what the machine did; all others are the same on any machine, up to rounding.
MEASURED = ("seconds", "speedup", "memory")


@dataclass(frozen=True)
class Tolerances:
    """How far two cells may lie apart.

    value: computed cells agree when `|new - committed| <= value * max(1, |committed|)`: metrics
        within `value`, counters within that share. Other hardware rounds otherwise, and two
        near-zero scores may change places.
    factor: measured cells agree when their ratio lies between `1 / factor` and `factor`.
    """

    value: float = 0.005
    factor: float = 1.5

    def agree(self, committed: float, new: float, *, is_measured: bool) -> bool:
        """Whether two numbers do; NaN agrees with NaN only."""
        if math.isnan(committed) or math.isnan(new):
            return math.isnan(committed) and math.isnan(new)
        if is_measured and committed > 0 and new > 0:
            return 1 / self.factor <= new / committed <= self.factor
        return abs(new - committed) <= self.value * max(1.0, abs(committed))


@dataclass(frozen=True)
class Difference:
    """A cell whose versions do not agree, or a row or column that one version lacks.

    place: row and column, as text. text: what differs. is_measured: of a measured column.
    """

    place: str
    text: str
    is_measured: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two versions found; counts are of cells that both versions have."""

    num_computed: int
    num_measured: int
    differences: tuple[Difference, ...]

    @property
    def computed(self) -> tuple[Difference, ...]:
        """Differences that no hardware explains."""
        return tuple(found for found in self.differences if not found.is_measured)

    @property
    def measured(self) -> tuple[Difference, ...]:
        return tuple(found for found in self.differences if found.is_measured)


def compare_tables(
    committed: pd.DataFrame, new: pd.DataFrame, tolerances: Tolerances
) -> Comparison:
    """All cells of rows that go by the same texts, such as data set and method."""
    keys = _telling_apart(committed, new)
    old_rows, new_rows = _by_texts(committed, keys), _by_texts(new, keys)
    differences = [
        *_only_in("committed", old_rows.index.difference(new_rows.index, sort=False)),
        *_only_in("new", new_rows.index.difference(old_rows.index, sort=False)),
        *_columns_only_in("committed", committed, new),
        *_columns_only_in("new", new, committed),
    ]
    columns = [name for name in committed.columns if name in new.columns and name not in keys]
    shared = [row for row in old_rows.index if row in new_rows.index]
    counts = {True: 0, False: 0}
    for column in columns:
        is_measured = _is_measured(column)
        counts[is_measured] += len(shared)
        for row in shared:
            text = _difference(old_rows.loc[row], new_rows.loc[row], column, tolerances)
            if text:
                differences.append(Difference(f"{row}, {column}", text, is_measured))
    return Comparison(counts[False], counts[True], tuple(differences))


def _difference(committed: pd.Series, new: pd.Series, column: str, tolerances: Tolerances) -> str:
    """How the cells of two rows differ; empty where they agree."""
    old: Any = committed[column]
    now: Any = new[column]
    if isinstance(old, str) or isinstance(now, str):
        return "" if old == now else f"{old!r} -> {now!r}"
    is_measured = _is_measured(column)
    if tolerances.agree(float(old), float(now), is_measured=is_measured):
        return ""
    times = f", {now / old:.2f} times" if is_measured and old > 0 else ""
    return f"{old:.6g} -> {now:.6g}{times}{_against_interval(now, column, committed)}"


def _is_measured(column: str) -> bool:
    return any(part in column for part in MEASURED) and not column.endswith("_count")


def _telling_apart(committed: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """The first columns of text that tell all committed rows apart; all of them if none do."""
    texts = [
        name
        for name in committed.columns
        if name in new.columns and not pd.api.types.is_numeric_dtype(committed[name])
    ]
    for count in range(1, len(texts) + 1):
        if not committed.duplicated(texts[:count]).any():
            return texts[:count]
    return texts


def _by_texts(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The table by the texts of its keys; rows of equal texts are told apart by their order."""
    names = pd.Series("", table.index)
    if keys:
        names = table[keys].fillna("").agg(", ".join, axis=1)
    number = names.groupby(names).cumcount()
    return table.set_index(names.where(number == 0, names + ", row " + number.astype(str)))


def _only_in(version: str, rows: pd.Index) -> list[Difference]:
    return [Difference(str(row), f"only in the {version} table") for row in rows]


def _columns_only_in(version: str, table: pd.DataFrame, other: pd.DataFrame) -> list[Difference]:
    return [
        Difference(f"column {name}", f"only in the {version} table", _is_measured(name))
        for name in table.columns
        if name not in other.columns
    ]


def _against_interval(new: float, column: str, committed: pd.Series) -> str:
    """Where the new value lies, if the committed row has an interval for this column."""
    low, high = (float(committed.get(f"{column}_{end}", math.nan)) for end in ("low", "high"))
    if math.isnan(low) or math.isnan(high):
        return ""
    where = "within" if low <= new <= high else "outside"
    return f", {where} the committed interval [{low:.6g}, {high:.6g}]"
