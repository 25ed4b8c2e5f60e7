"""Assumption 1: what a cheap method scores highly, the target's exact scores rate highly, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from attribot.evaluation import faithfulness
from attribot.records import Records
from attribot.report.paired import parts
from attribot.report.tables import markdown_table
from attribot.types import FloatArray
from experiments.pooled_statistics import by_question, pooled_interval, pooled_pearson
from experiments.recorded_scores import (
    ComparedExamples,
    compared_examples,
    estimate_text,
    interval_columns,
    mean_over_questions,
    one_stage_methods,
    recorded_scores,
)


def correlations(records: Records) -> pd.DataFrame:
    """A row per data set and one-stage method; see `one_stage_methods`.

    Columns:
        dataset, method, label, kind;
        in_nats: the scores are differences of log-likelihoods;
        num_examples, num_sources: that both the method and the reference scored;
        pearson, spearman: mean over examples of the correlation within an example, its 95%
            bootstrap interval (_low, _high), and the examples for which it is defined (_count);
        pooled_pearson: of the sources of all examples together, likewise; _count are questions.
    """
    found, methods = recorded_scores(records), one_stage_methods(records)
    by_method = records.sources.groupby("method")["ablated_log_likelihood"].any()
    rows = []
    for dataset, part in parts(records):
        for name in methods:
            compared = compared_examples(
                part.examples, found[records.manifest.reference], found[name]
            )
            if len(compared):
                info = records.manifest.methods[name]
                head = {"dataset": dataset, "method": name, "label": info.label, "kind": info.kind}
                rows.append({**head, "in_nats": bool(by_method[name]), **_row(compared)})
    return pd.DataFrame(rows)


def score_pairs(compared: ComparedExamples) -> list[FloatArray]:
    """Per example `[num_sources, 2]` the reference score and the method's."""
    return [np.stack([of.scores, by.scores], axis=1) for of, by in compared]


def _row(compared: ComparedExamples) -> dict[str, float]:
    pairs = score_pairs(compared)
    within = {
        "pearson": [faithfulness.pearson(by.scores, of.scores) for of, by in compared],
        "spearman": [faithfulness.spearman(by.scores, of.scores) for of, by in compared],
    }
    pooled = pooled_interval(pooled_pearson, by_question(pairs, compared.questions))
    row: dict[str, float] = {
        "num_examples": len(compared),
        "num_sources": sum(map(len, pairs)),
    }
    for name, values in within.items():
        row |= interval_columns(name, mean_over_questions(values, compared.questions))
    return row | interval_columns("pooled_pearson", pooled)


def correlations_markdown(table: pd.DataFrame) -> str:
    """The section of the report."""
    return "\n".join(_lines(table))


def _lines(table: pd.DataFrame) -> Iterator[str]:
    yield "## Scores of cheap methods correlate with the target's exact scores\n"
    if table.empty:
        yield "No method of these records scores every sentence on its own.\n"
        return
    rows = table[table["dataset"] == table["dataset"].iloc[-1]]
    shown = pd.DataFrame(
        {
            "Method": rows["label"],
            "Examples": rows["num_examples"].astype(str),
            "Sources": rows["num_sources"].astype(str),
            "Pearson ↑": [estimate_text(row, "pearson") for _, row in rows.iterrows()],
            "Spearman ↑": [estimate_text(row, "spearman") for _, row in rows.iterrows()],
            "Pooled Pearson ↑": [
                estimate_text(row, "pooled_pearson") for _, row in rows.iterrows()
            ],
        }
    )
    yield markdown_table(shown) + "\n"
    yield "![Reference scores against those of each method](correlations.png)\n"
    yield (
        "- Pearson and Spearman: within an example, mean over the examples for which they are "
        "defined. Pooled: all sources together, so that examples with large scores decide."
    )
    yield (
        "- Methods that score every sentence; exact ones correlate by definition. All data sets "
        "together; correlations.csv has each of them.\n"
    )
