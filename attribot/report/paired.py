"""Values of several methods on the same examples, for comparisons between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from attribot.evaluation.statistics import Interval, grouped_mean_intervals
from attribot.manifest import Manifest
from attribot.records import TABLES, Records
from attribot.report.summary import ALL_DATASETS
from attribot.types import FloatArray, IntArray


def parts(records: Records) -> Iterator[tuple[str, Records]]:
    """(name, its records) of every data set, then "all" where there are several."""
    names = list(records.examples["dataset"].unique())
    for name in names:
        tables = {table: getattr(records, table) for table in TABLES}
        own = {table: rows[rows["dataset"] == name] for table, rows in tables.items()}
        yield name, replace(records, **own)
    if len(names) > 1:
        yield ALL_DATASETS, records


def configurations(manifest: Manifest) -> tuple[Mapping[str, Any], ...]:
    """The configuration of a run, or of each of the runs that were merged, be it only one."""
    run_ids = manifest.run_id.split(" + ")
    if any(run_id not in manifest.config for run_id in run_ids):
        return (manifest.config,)
    return tuple(manifest.config[run_id] for run_id in run_ids)


@dataclass(frozen=True, eq=False)
class PairedValues:
    """One metric of several methods on the examples that all of them have a value for.

    values: one row per example, one column per method.
    questions: `[num_examples]` number of the question that an example asks. The same question with
        more of its context is no independent example.
    num_left_out: examples that only some of the methods have a value for.
    """

    values: pd.DataFrame
    questions: IntArray
    num_left_out: int

    @property
    def num_questions(self) -> int:
        return len(np.unique(self.questions))

    def interval(self, values: FloatArray | pd.Series) -> Interval:
        """Mean over the examples of `values` `[num_examples]`, questions resampled."""
        column = np.asarray(values, dtype=np.float64)[:, None]
        return grouped_mean_intervals(column, self.questions)[0]


def paired_values(records: Records, metric: str, methods: Sequence[str]) -> PairedValues:
    """The metric of those of the methods that have any value of it, in the order given."""
    rows = records.metrics[records.metrics["metric"] == metric].dropna(subset="value")
    values = rows.pivot(index="example_id", columns="method", values="value")
    values = values.reindex(columns=[name for name in methods if name in values.columns])
    complete = values.dropna()
    examples = records.examples.set_index("example_id")
    complete = complete.reindex([name for name in examples.index if name in complete.index])
    questions = pd.factorize(examples.loc[complete.index, "query"])[0]
    return PairedValues(complete, questions, len(values) - len(complete))
