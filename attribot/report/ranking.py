"""Methods in the order of their quality, with what the examples allow to say about that order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd

from attribot.evaluation.comparison import adjust_pairs, compact_letters, pairwise_p_values
from attribot.records import Records
from attribot.report.paired import PairedValues, paired_values, parts
from attribot.report.tables import MISSING, Column, markdown_table

JudgedBy = Literal["faithfulness", "plausibility"]
SIGNIFICANCE = 0.05
SMALLEST_SHOWN = 0.001


@dataclass(frozen=True)
class Judgement:
    """A metric that methods are ranked by, and what it judges.

    ranks_exact: exact methods take part; by their own scores they would be first by definition.
    """

    metric: str
    heading: str
    title: str
    ranks_exact: bool


JUDGEMENTS: Mapping[JudgedBy, Judgement] = MappingProxyType(
    {
        "faithfulness": Judgement(
            "average_precision",
            "mAP ↑",
            "Faithfulness: mAP of the outliers among the target's exact scores",
            ranks_exact=False,
        ),
        "plausibility": Judgement(
            "gold_average_precision",
            "Gold AP ↑",
            "Plausibility: average precision of the annotated evidence",
            ranks_exact=True,
        ),
    }
)


def ranking(records: Records) -> pd.DataFrame:
    """A row per data set, judgement and method, the best first; empty where no metric is recorded.

    Columns:
        dataset, judged_by ("faithfulness" or "plausibility", never mixed), metric;
        rank: equal means share one; method, label, kind;
        mean, mean_low, mean_high: over the examples that all ranked methods have a value for, with
            its 95% bootstrap interval over questions;
        difference, difference_low, difference_high: to the best method, paired;
        p_value, p_adjusted: that the two do not differ, as the only test and Holm-adjusted over all
            pairs of methods;
        groups: methods without a common letter differ at the level 0.05 after that adjustment;
        num_examples, num_questions, num_left_out.
    """
    rows = [
        row
        for dataset, part in parts(records)
        for judged_by in JUDGEMENTS
        for row in _rows_of(part, dataset, judged_by)
    ]
    return pd.DataFrame(rows)


def _rows_of(records: Records, dataset: str, judged_by: JudgedBy) -> Iterator[dict[str, object]]:
    judgement, infos = JUDGEMENTS[judged_by], records.manifest.methods
    names = [
        name
        for name, info in infos.items()
        if name != records.manifest.reference and (judgement.ranks_exact or info.kind != "exact")
    ]
    paired = paired_values(records, judgement.metric, names)
    if paired.values.empty:
        return
    means = paired.values.mean()
    values = paired.values[means.sort_values(ascending=False, kind="stable").index]
    ranks = means.round(12).rank(ascending=False, method="min")
    p_values = pairwise_p_values(values.to_numpy(), paired.questions)
    adjusted = adjust_pairs(p_values)
    letters = compact_letters(adjusted < SIGNIFICANCE)
    for place, name in enumerate(values.columns):
        mean = paired.interval(values[name])
        difference = paired.interval(values[name] - values.iloc[:, 0])
        yield {
            "dataset": dataset,
            "judged_by": judged_by,
            "metric": judgement.metric,
            "rank": int(ranks[name]),
            "method": name,
            "label": infos[name].label,
            "kind": infos[name].kind,
            "mean": mean.mean,
            "mean_low": mean.low,
            "mean_high": mean.high,
            "difference": difference.mean,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "p_value": p_values[0, place] if place else np.nan,
            "p_adjusted": adjusted[0, place] if place else np.nan,
            "groups": letters[place],
            **_extent(paired),
        }


def _extent(paired: PairedValues) -> dict[str, int]:
    return {
        "num_examples": len(paired.values),
        "num_questions": paired.num_questions,
        "num_left_out": paired.num_left_out,
    }


def ranking_markdown(table: pd.DataFrame) -> str:
    """One table per judgement, of all data sets together, and how to read them."""
    dataset = table["dataset"].iloc[-1]
    sections = []
    for judged_by, judgement in JUDGEMENTS.items():
        rows = table[(table["dataset"] == dataset) & (table["judged_by"] == judged_by)]
        if len(rows):
            sections += [f"## {judgement.title}\n", _as_markdown(rows, judgement), ""]
    return "\n".join([*sections, *(f"- {note}" for note in _notes(table)), ""])


def _as_markdown(rows: pd.DataFrame, judgement: Judgement) -> str:
    first = rows.iloc[0]
    num_methods = len(rows)
    extent = (
        f"{first['num_examples']} examples of {first['num_questions']} questions; "
        f"{num_methods * (num_methods - 1) // 2} pairs of methods tested."
    )
    mean, difference = Column("mean", ""), Column("difference", "", "{:+.3f}".format)
    frame = pd.DataFrame(
        {
            "Rank": rows["rank"].astype(str),
            "Method": rows["method"],
            judgement.heading: [mean.cell(row) for _, row in rows.iterrows()],
            "To the best": [
                difference.cell(row) if place else MISSING
                for place, (_, row) in enumerate(rows.iterrows())
            ],
            "p (Holm)": [_p_text(value) for value in rows["p_adjusted"]],
            "Groups": rows["groups"],
        }
    )
    return f"{markdown_table(frame)}\n\n{extent}"


def _p_text(p_value: float) -> str:
    """A p value for people."""
    if pd.isna(p_value):
        return MISSING
    return f"<{SMALLEST_SHOWN}" if p_value < SMALLEST_SHOWN else f"{p_value:.3f}"


def _notes(table: pd.DataFrame) -> Iterator[str]:
    yield (
        "Means over the examples that every ranked method has a value for; brackets: 95% bootstrap "
        "intervals, each for one number on its own. ↑ higher is better."
    )
    yield (
        "p: paired sign-flip test of equal means, Holm-adjusted over all pairs of a table. Methods "
        f"that share a letter cannot be told apart at the level {SIGNIFICANCE}: with few examples "
        "that says little about whether they are equal."
    )
    if (table["num_questions"] < table["num_examples"]).any():
        yield (
            "Several examples ask the same question with more or less of its context: questions, "
            "not examples, are resampled and flipped, so intervals are wider than in curve.md."
        )
    if (table["judged_by"] == "faithfulness").any():
        yield "Exact methods are not ranked by faithfulness: their mAP is 1 by definition."
    if left_out := int(table["num_left_out"].max()):
        yield f"Up to {left_out} examples without a value of every method are left out."
    if table["dataset"].nunique() > 1:
        yield "All data sets together; ranking.csv has each of them."


def write_ranking(table: pd.DataFrame, directory: Path) -> None:
    """Write `ranking.md` and `ranking.csv`; neither of a ranking that is empty."""
    if table.empty:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ranking.md").write_text(ranking_markdown(table), encoding="utf-8")
    table.to_csv(directory / "ranking.csv", index=False)
