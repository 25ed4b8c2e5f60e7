"""The table of a comparison of methods, and which of its rows is what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir

from attribot.errors import InvalidInputError
from attribot.report.tables import Column
from experiments.methods_page.descriptions import method_class
from experiments.methods_page.links import CONF, Links

COLUMNS = (
    Column("average_precision", "mAP ↑"),
    Column("spearman", "Spearman ↑"),
    Column("flops_saving", "FLOP saving ↑", "{:.2f}×".format),
    Column("forward_passes", "Passes ↓", "{:.1f}".format),
    Column("gold_average_precision", "Gold AP ↑"),
)


@dataclass(frozen=True)
class Comparison:
    """The table of a comparison, and which of its rows is what.

    summary: its rows over all data sets, by method; empty where it was not run.
    note: what the rows are means over.
    by_class, by_pruning: names of methods that are such an attributor, or such a pruning.
    """

    summary: pd.DataFrame
    note: str
    by_class: dict[type, list[str]]
    by_pruning: dict[str, list[str]]

    def rows(self, names: Iterable[str]) -> pd.DataFrame:
        """Those of the named methods that the table has."""
        return self.summary.loc[[name for name in names if name in self.summary.index]]


def read_comparison(results: Path, methods: str, links: Links) -> Comparison:
    """The table of a folder of results, whose methods are an option of conf/methods.

    Raises:
        InvalidInputError: the table lacks a column.
    """
    path = results / "tables" / "curve.csv"
    if not path.is_file():
        note = "The comparison has not been run yet."
        return Comparison(pd.DataFrame(), note, *_compared(methods))
    table = pd.read_csv(path)
    expected = {"dataset", "method", "label", *(column.name for column in COLUMNS)}
    if missing := sorted(expected - set(table.columns)):
        raise InvalidInputError(f"{path} has no column {missing[0]!r}: build it again")
    summary = table[table["dataset"] == table["dataset"].iloc[-1]].set_index("method")
    datasets = ", ".join(table["dataset"].unique()[:-1]) or summary["dataset"].iloc[0]
    number = int(summary["num_examples"].max())
    shown = links.to(path.with_suffix(".md"), "all numbers")
    note = f"Means over {number} questions of {datasets}; {shown}."
    return Comparison(summary, note, *_compared(methods))


def _compared(methods: str) -> tuple[dict[type, list[str]], dict[str, list[str]]]:
    """Names of the methods of a comparison by class, and by pruning."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[f"methods={methods}"], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    by_class: dict[type, list[str]] = {}
    by_pruning: dict[str, list[str]] = {}
    for name in config.methods:
        if pruning := choices.get(f"pruning@methods.{name}"):
            by_pruning.setdefault(pruning, []).append(name)
        else:
            method = method_class(config.methods[name].method._target_)
            by_class.setdefault(method, []).append(name)
    return by_class, by_pruning
