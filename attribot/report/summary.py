"""One row per data set and method: what a run found, with intervals over examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from attribot.evaluation.statistics import Interval, mean_interval, ratio_interval
from attribot.records import Records

ALL_DATASETS = "all"
EXAMPLE_MEANS = ("num_sources", "num_prompt_tokens")
COST_MEANS = (
    "forward_passes",
    "computed_tokens",
    "reused_tokens",
    "flops",
    "wall_seconds",
    "peak_memory_bytes",
)
# Columns of ratios against the naive method, by the cost that they are of.
SAVINGS = {"speedup": "wall_seconds", "token_saving": "computed_tokens", "flops_saving": "flops"}


def summarise(records: Records) -> pd.DataFrame:
    """The summary of a run; a further data set "all" where there are several.

    The reference method has no row: its scores may come from disk, so its cost is not known, and
    exact methods of the run say what they cost.

    Columns:
        dataset, method, label, kind;
        num_examples: examples that the method attributed;
        without_outliers: share of them whose reference scores hold no outlier;
        M, M_low, M_high, M_count: mean over examples of every metric M (the mean of
            `average_precision` is the mAP), its 95% bootstrap interval, and the examples for
            which M is defined;
        speedup, speedup_low, speedup_high, speedup_count: wall seconds of the naive method over
            the method's, ratio of sums over the examples that both did, paired bootstrap;
        token_saving, flops_saving and their intervals: the same in computed tokens and in counted
            FLOPs;
        num_sources, num_prompt_tokens: means over the examples;
        forward_passes, ..., peak_memory_bytes: mean per example of each cost.
    Numbers that no record holds are NaN: seconds that were not measured, metrics of a method that
    has a cost only. Without a naive method there are no columns of speedup and of savings.
    """
    names = list(records.examples["dataset"].unique())
    groups = [*names, ALL_DATASETS] if len(names) > 1 else names
    rows = [row for group in groups for row in _rows_of(records, group)]
    return pd.DataFrame(rows)


def _rows_of(records: Records, dataset: str) -> Iterator[dict[str, object]]:
    """One row per method of the manifest that has records for the data set, but the reference."""
    costs, metrics, examples = records.costs, records.metrics, records.examples
    if dataset != ALL_DATASETS:
        costs, metrics, examples = (
            table[table["dataset"] == dataset] for table in (costs, metrics, examples)
        )
    examples = examples.set_index("example_id")
    values = metrics.pivot(index=["method", "example_id"], columns="metric", values="value")
    naive = records.manifest.naive
    naive_costs = costs[costs["method"] == naive].set_index("example_id")
    for name, info in records.manifest.methods.items():
        if name == records.manifest.reference:
            continue
        # By the order of all examples: the same resamples for every method.
        own = costs[costs["method"] == name].set_index("example_id")
        own = own.reindex([example for example in examples.index if example in own.index])
        if own.empty:
            continue
        row: dict[str, object] = {
            "dataset": dataset,
            "method": name,
            "label": info.label,
            "kind": info.kind,
            "num_examples": len(own),
        }
        scores = values.reindex(pd.MultiIndex.from_product([[name], own.index]))
        for metric in values.columns:
            row |= _columns(metric, mean_interval(scores[metric].to_numpy()))
        if "has_outliers" in values.columns:
            row["without_outliers"] = 1 - float(scores["has_outliers"].mean())
        if naive is not None:
            row |= _savings(naive_costs, own)
        row |= {size: float(examples.loc[own.index, size].mean()) for size in EXAMPLE_MEANS}
        row |= {cost: float(own[cost].mean()) for cost in COST_MEANS}
        yield row


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {
        name: interval.mean,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        f"{name}_count": interval.count,
    }


def _savings(naive: pd.DataFrame, own: pd.DataFrame) -> dict[str, float]:
    """Speedup and savings against the naive method on the examples that both did."""
    naive = naive.reindex(own.index)
    savings: dict[str, float] = {}
    for name, cost in SAVINGS.items():
        # A method that runs no model counts nothing: its saving is undefined, not infinite.
        denominator = own[cost].astype(float).replace(0.0, np.nan)
        savings |= _columns(name, ratio_interval(naive[cost].to_numpy(), denominator.to_numpy()))
    return savings
