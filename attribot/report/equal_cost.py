"""Methods at equal cost: their mAP at shares of what naive leave-one-out costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from attribot.evaluation.comparison import adjust_pairs, compact_letters, pairwise_p_values
from attribot.evaluation.efficiency import budget_weights
from attribot.manifest import Manifest
from attribot.records import Records
from attribot.report.paired import PairedValues, paired_values, parts
from attribot.report.ranking import SIGNIFICANCE
from attribot.report.series import series_of
from attribot.report.tables import MISSING, Column, markdown_table
from attribot.types import FloatArray

METRIC = "average_precision"
# A method may cost one over this of naive leave-one-out.
BUDGETS = (2, 4, 10, 30, 100)
COSTS: Mapping[str, str] = MappingProxyType(
    {"flops": "counted FLOPs", "forward_passes": "forward passes"}
)


def equal_cost(records: Records) -> pd.DataFrame:
    """A row per data set, cost, series and relative cost; empty without the naive method's cost.

    A series is a family of methods, whose settings are joined, or a single method.

    Columns:
        dataset, cost ("flops" or "forward_passes"), series, num_settings;
        method: the setting whose own cost the row is at; None for budgets, which families have;
        relative_cost: sums over the examples that both did, over those of naive leave-one-out;
        cheapest, dearest: relative costs of the settings; budgets outside them have no mAP;
        mean, mean_low, mean_high: mAP at that cost, linear in log cost between settings, with its
            95% bootstrap interval over questions, costs held fixed;
        groups: of budgets: series without a common letter differ there, see `ranking`;
        num_examples, num_questions.
    Methods that count no such cost have no row.
    """
    if records.manifest.naive is None:
        return pd.DataFrame()
    rows = [
        {"dataset": dataset, "cost": cost, **row}
        for dataset, part in parts(records)
        for cost in COSTS
        for row in _rows_of(part, cost, records.manifest.naive)
    ]
    return pd.DataFrame(rows)


def _rows_of(records: Records, cost: str, naive: str) -> Iterator[dict[str, object]]:
    costs = relative_costs(records, cost, naive)
    methods = [name for name in records.manifest.methods if name in costs.index]
    paired = paired_values(records, METRIC, methods)
    if paired.values.empty:
        return
    series = _series(records.manifest, [name for name in methods if name in paired.values])
    for name, settings in series:
        for method in settings:
            row = _row(name, costs[list(settings)], paired, paired.values[method].to_numpy())
            yield {**row, "method": method, "relative_cost": costs[method]}
    families = {name: list(settings) for name, settings in series if len(settings) > 1}
    for budget in BUDGETS:
        mixtures = {
            name: paired.values[settings].to_numpy() @ budget_weights(costs[settings], 1 / budget)
            for name, settings in families.items()
        }
        groups = _groups(pd.DataFrame(mixtures).dropna(axis="columns"), paired)
        for name, mixture in mixtures.items():
            row = _row(name, costs[families[name]], paired, mixture)
            yield {**row, "relative_cost": 1 / budget, "groups": groups.get(name)}


def relative_costs(records: Records, cost: str, naive: str) -> pd.Series:
    """Cost of each method over the naive one's, by name; without methods that count none."""
    counted = records.costs.pivot(index="example_id", columns="method", values=cost)
    if naive not in counted.columns:
        return pd.Series(dtype=np.float64)
    of_naive = counted.notna().mul(counted[naive], axis="index")
    ratios = counted.loc[counted[naive].notna()].sum() / of_naive.sum()
    return ratios[(ratios > 0) & np.isfinite(ratios)]


def _series(manifest: Manifest, methods: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(name, those of the methods that are its settings) of every series, families first."""
    every = series_of(manifest)
    named = [(one.name, one.methods) for one in every if one.is_joined]
    named += [(name, (name,)) for one in every if not one.is_joined for name in one.methods]
    measured = [(series, tuple(n for n in names if n in methods)) for series, names in named]
    return [(series, names) for series, names in measured if names]


def _row(
    series: str, costs: pd.Series, paired: PairedValues, values: FloatArray
) -> dict[str, object]:
    """What all rows of a series have, and the mean of `values`; NaN outside the range."""
    mean = None if np.isnan(values).any() else paired.interval(values)
    return {
        "series": series,
        "num_settings": len(costs),
        "method": None,
        "relative_cost": np.nan,
        "cheapest": costs.min(),
        "dearest": costs.max(),
        "mean": mean.mean if mean else np.nan,
        "mean_low": mean.low if mean else np.nan,
        "mean_high": mean.high if mean else np.nan,
        "groups": None,
        "num_examples": len(paired.values),
        "num_questions": paired.num_questions,
    }


def _groups(mixtures: pd.DataFrame, paired: PairedValues) -> dict[str, str]:
    """Letters by series, the best first; none where there is nothing to compare."""
    if mixtures.shape[1] < 2:
        return {}
    order = mixtures.mean().sort_values(ascending=False, kind="stable").index
    p_values = adjust_pairs(pairwise_p_values(mixtures[order].to_numpy(), paired.questions))
    return dict(zip(order, compact_letters(p_values < SIGNIFICANCE), strict=True))


def equal_cost_markdown(table: pd.DataFrame) -> str:
    """A table per cost, of all data sets together, and how to read them."""
    dataset = table["dataset"].iloc[-1]
    sections = []
    for cost, title in COSTS.items():
        rows = table[(table["dataset"] == dataset) & (table["cost"] == cost)]
        if len(rows):
            sections += [f"## mAP ↑ at equal {title}\n", markdown_table(_as_text(rows)), ""]
    return "\n".join([*sections, *(f"- {note}" for note in _notes(table)), ""])


def _as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per series; a column per budget that any series has a mAP at."""
    budgets = rows[rows["method"].isna()]
    reached = budgets.loc[budgets["mean"].notna(), "relative_cost"]
    shown = [budget for budget in BUDGETS if (reached == 1 / budget).any()]
    lines = []
    for (series, _), own in rows.groupby(["series", "num_settings"], sort=False):
        first = own.iloc[0]
        is_single = first["num_settings"] == 1
        measured = f"{first['cheapest']:.3g}"
        if not is_single:
            measured += f" to {first['dearest']:.3g}"
        line = {"Series": str(series), "Settings": f"{first['num_settings']}"}
        line |= {
            "Relative cost": measured,
            "At its own cost": _cell(first) if is_single else MISSING,
        }
        for budget in shown:
            at = own[own["method"].isna() & (own["relative_cost"] == 1 / budget)]
            line[f"1/{budget}"] = MISSING if at.empty else _cell(at.iloc[0])
        lines.append(line)
    return pd.DataFrame(lines)


def _cell(row: pd.Series) -> str:
    text = Column("mean", "").cell(row)
    return text if pd.isna(row["groups"]) else f"{text} {row['groups']}"


def _notes(table: pd.DataFrame) -> Iterator[str]:
    yield (
        "Cost relative to naive leave-one-out on the same examples. Brackets: 95% bootstrap "
        "intervals, each for one number on its own, costs held fixed."
    )
    if (table["num_settings"] > 1).any():
        yield (
            "A column 1/b holds the mAP of a family of methods at that share of the cost, linear "
            "in the logarithm of cost between its two nearest settings; – outside its measured "
            "settings: nothing is extrapolated. Families of a column that share a letter cannot be "
            "told apart (paired sign-flip tests, Holm-adjusted over all pairs of the column, level "
            f"{SIGNIFICANCE})."
        )
    else:
        yield "No method ran at several settings, so none can be read at the cost of another."
    if (table["cost"] == "forward_passes").any():
        yield "A forward pass of any model and of any length counts one: FLOPs tell them apart."
    yield "Methods without a row count no such cost."
    if table["dataset"].nunique() > 1:
        yield "All data sets together; equal_cost.csv has each of them."


def write_equal_cost(records: Records, directory: Path) -> None:
    """Write `equal_cost.md` and `equal_cost.csv`; neither where no cost can be compared."""
    table = equal_cost(records)
    if table.empty:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "equal_cost.md").write_text(equal_cost_markdown(table), encoding="utf-8")
    table.to_csv(directory / "equal_cost.csv", index=False)
