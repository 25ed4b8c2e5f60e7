"""Every metric that was measured, by the question that it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attribot.evaluation.evaluator import metric_direction
from attribot.report.tables import ARROWS, Column, markdown_table


@dataclass(frozen=True)
class Section:
    """Metrics that answer one question, by name without their cut-offs, with their headings."""

    title: str
    headings: Mapping[str, str]


SECTIONS = (
    Section(
        "Faithfulness: agreement with the target's exact leave-one-out scores",
        {
            "average_precision": "mAP",
            "spearman": "Spearman",
            "kendall": "Kendall",
            "pearson": "Pearson",
            "top1_hit": "Top-1 hit",
        },
    ),
    Section(
        "Faithfulness: the target's outliers among the first k sources",
        {"recall": "Recall", "precision": "Precision"},
    ),
    Section(
        "Faithfulness: the target's exact scores of the first k sources",
        {"ndcg": "nDCG", "positive_mass": "Positive mass"},
    ),
    Section(
        "Faithfulness: what the target says without the top sources (necessity)",
        {
            "log_prob_drop": "Log-prob drop [nats]",
            "deletion_auc": "Deletion AUC [nats/token]",
        },
    ),
    Section(
        "Faithfulness: what the target says with the top sources alone (sufficiency)",
        {
            "log_prob_hold": "Log-prob hold [nats]",
            "insertion_auc": "Insertion AUC [nats/token]",
        },
    ),
    Section(
        "Faithfulness: sums of scores against random ablations",
        {"lds": "LDS"},
    ),
    Section(
        "Plausibility: agreement with annotated evidence, whatever the model did with it",
        {
            "gold_average_precision": "Gold AP",
            "gold_precision": "Gold precision",
            "gold_auroc": "Gold AUROC",
        },
    ),
)


def metric_columns(summary: pd.DataFrame, section: Section) -> list[Column]:
    """Columns of the section's metrics that the summary has, cut-offs in ascending order."""
    measured = [name.removesuffix("_low") for name in summary.columns if name.endswith("_low")]
    columns = []
    for base, heading in section.headings.items():
        own = [name for name in measured if name.split("@")[0] == base]
        for name in sorted(own, key=lambda name: float(name.partition("@")[2] or 0)):
            cut_off = name.removeprefix(base)
            columns.append(Column(name, heading + cut_off + ARROWS[metric_direction(base)]))
    return columns


def metrics_markdown(summary: pd.DataFrame) -> str:
    """A table per section with any metric, of all data sets together; empty without metrics."""
    rows = summary[summary["dataset"] == summary["dataset"].iloc[-1]]
    texts = []
    for section in SECTIONS:
        columns = [
            column for column in metric_columns(rows, section) if rows[column.name].notna().any()
        ]
        if columns:
            texts += [f"## {section.title}\n", markdown_table(_frame(rows, columns)), ""]
    if not texts:
        return ""
    return "\n".join([*texts, *(f"- {note}" for note in _notes(summary)), ""])


def _frame(rows: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    frame = pd.DataFrame({"Method": rows["method"]})
    for column in columns:
        frame[column.heading] = [column.cell(row) for _, row in rows.iterrows()]
    return frame


def _notes(summary: pd.DataFrame) -> Iterator[str]:
    yield (
        "Means over examples; brackets: 95% bootstrap intervals over examples. ↑ higher is better, "
        "↓ lower is better. Faithful is what agrees with the model, plausible what agrees with "
        "people: a method can be either without the other."
    )
    if any(name.startswith("log_prob") for name in summary.columns):
        yield (
            "Log-prob drop@k: nats by which the response gets less likely without the k top "
            "sources. Log-prob hold@k: nats by which it is less likely with nothing but them."
        )
    if "deletion_auc" in summary.columns:
        yield (
            "AUC: nats per response token that kept sources are worth over an empty context, mean "
            "over all shares of sources kept: from the top down (insertion), or what is left when "
            "the top ones go first (deletion)."
        )
    if summary["dataset"].nunique() > 1:
        yield "All data sets together; curve.csv has each of them."


def write_metrics(summary: pd.DataFrame, directory: Path) -> None:
    """Write `metrics.md`, unless there is no metric."""
    text = metrics_markdown(summary)
    if text:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "metrics.md").write_text(text, encoding="utf-8")
