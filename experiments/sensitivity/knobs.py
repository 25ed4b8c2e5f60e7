"""What the settings of the faithfulness protocol do to the mAP and to the order of the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from attribot.evaluation.faithfulness import kendall, spearman
from attribot.evaluation.outliers import OutlierRule, is_outlier
from attribot.records import Records
from attribot.report.paired import parts
from attribot.types import BoolArray, FloatArray, IntArray
from experiments.recorded_scores import interval_columns, mean_over_questions, recorded_scores
from experiments.sensitivity.rebuilt import HEADLINE, Table, configured_evaluation

# Of one method on the same examples, under the headline and under an alternative.
BothValues = tuple[FloatArray, FloatArray]


def knob_table(records: Records, table: Table) -> pd.DataFrame:
    """A row per data set, alternative and method.

    Columns:
        dataset, alternative, method, label, kind;
        average_precision: the mAP, its 95% bootstrap interval over questions (_low, _high) and the
            examples it is over (_count); NaN where the records do not determine it;
        least, most: between which it lies then; equal to it otherwise;
        num_undetermined: examples of which the records do not tell.
    """
    infos = records.manifest.methods
    rows: list[dict[str, object]] = []
    for dataset, is_own, questions in _parts(records):
        for alternative, by_method in table.items():
            for method, values in by_method.items():
                own = values.of(is_own)
                mean = mean_over_questions(own.low, questions)
                columns = interval_columns("average_precision", mean)
                if own.num_undetermined:
                    columns |= dict.fromkeys(list(columns)[:3], float("nan"))
                rows.append(
                    {
                        "dataset": dataset,
                        "alternative": alternative,
                        "method": method,
                        "label": infos[method].label,
                        "kind": infos[method].kind,
                        **columns,
                        "least": mean.mean,
                        "most": _mean(own.high),
                        "num_undetermined": own.num_undetermined,
                    }
                )
    return pd.DataFrame(rows)


def order_table(records: Records, table: Table) -> pd.DataFrame:
    """A row per data set and alternative: does the order of the methods change?

    Exact methods are left out, being first by definition, and so are those whose mAP the records do
    not determine.

    Columns:
        dataset, alternative;
        without_outliers: share of the examples whose reference scores have no outlier;
        num_methods: that are compared; num_left_out: that are not determined;
        and those of `order_agreement`.
    """
    infos = records.manifest.methods
    is_without = {
        alternative: without_outliers(records, evaluation.outlier_rule)
        for alternative, evaluation in configured_evaluation(records).alternatives()
    }
    rows: list[dict[str, object]] = []
    for dataset, is_own, questions in _parts(records):
        for alternative, by_method in table.items():
            inexact = {
                name: (table[HEADLINE][name].of(is_own), values.of(is_own))
                for name, values in by_method.items()
                if infos[name].kind != "exact"
            }
            determined: dict[str, BothValues] = {
                name: (headline.low, other.low)
                for name, (headline, other) in inexact.items()
                if not headline.num_undetermined and not other.num_undetermined
            }
            rows.append(
                {
                    "dataset": dataset,
                    "alternative": alternative,
                    "without_outliers": float(is_without[alternative][is_own].mean()),
                    "num_methods": len(determined),
                    "num_left_out": len(inexact) - len(determined),
                    **order_agreement(determined, questions),
                }
            )
    return pd.DataFrame(rows)


def order_agreement(values: Mapping[str, BothValues], questions: IntArray) -> dict[str, object]:
    """How the order of methods by their means differs between the two of `values`.

    spearman, kendall: of the means; NaN for fewer than two methods.
    best: the methods with the largest mean under the second.
    reversed_pairs: pairs of methods in another order than under the first.
    clearly_reversed: those whose paired difference has an interval without 0 under both.

    values: by method, `[num_examples]` each, NaN = missing. questions: `[num_examples]`.
    """
    means = {name: (_mean(first), _mean(second)) for name, (first, second) in values.items()}
    means = {name: both for name, both in means.items() if not np.isnan(both).any()}
    if len(means) < 2:
        nothing = {"best": "", "reversed_pairs": 0, "clearly_reversed": 0}
        return {"spearman": float("nan"), "kendall": float("nan"), **nothing}
    first, second = np.array(list(means.values())).T
    is_best = second == second.max()
    pairs = [
        (a, b)
        for a, b in combinations(means, 2)
        if (means[a][0] - means[b][0]) * (means[a][1] - means[b][1]) < 0
    ]
    return {
        "spearman": spearman(first, second),
        "kendall": kendall(first, second),
        "best": ", ".join(name for name, best in zip(means, is_best, strict=True) if best),
        "reversed_pairs": len(pairs),
        "clearly_reversed": sum(_is_clear(values[a], values[b], questions) for a, b in pairs),
    }


def without_outliers(records: Records, rule: OutlierRule) -> BoolArray:
    """`[num_examples]` True where the rule finds no outlier among the reference scores."""
    reference = recorded_scores(records)[records.manifest.reference]
    scores = [reference[name].scores for name in records.examples["example_id"]]
    return np.array([not is_outlier(of, rule).any() for of in scores], dtype=np.bool_)


def _is_clear(first: BothValues, second: BothValues, questions: IntArray) -> bool:
    intervals = [mean_over_questions(a - b, questions) for a, b in zip(first, second, strict=True)]
    return all(interval.low > 0 or interval.high < 0 for interval in intervals)


def _mean(values: FloatArray) -> float:
    """Of those that are not NaN; NaN without any."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _parts(records: Records) -> Iterator[tuple[str, BoolArray, IntArray]]:
    """(name, which of all examples it has, their questions) of every part of the data."""
    examples = records.examples
    for dataset, part in parts(records):
        is_own = examples["example_id"].isin(part.examples["example_id"]).to_numpy()
        questions = pd.factorize(examples.loc[is_own, "query"])[0].astype(np.int64)
        yield dataset, is_own, questions
