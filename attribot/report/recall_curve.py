"""How many of the target's outliers a method finds, against the share of sources it keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from attribot.errors import InvalidInputError
from attribot.evaluation.faithfulness import recall_at_share
from attribot.evaluation.outliers import OutlierRule, configured_rule, is_outlier
from attribot.evaluation.statistics import grouped_mean_intervals
from attribot.manifest import Manifest
from attribot.records import Records
from attribot.report.paired import configurations, parts
from attribot.report.recall_figure import draw_recall
from attribot.report.tables import Column, markdown_table
from attribot.types import FloatArray

logger = logging.getLogger(__name__)

SHARES = tuple(float(share) for share in np.linspace(0, 1, 21))
SHOWN_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)


def outlier_rule(manifest: Manifest) -> OutlierRule | None:
    """The one rule of all merged runs; None where their records do not say how to apply it.

    A two-sided rule ranks by the magnitude of scores, and records do not hold those of screens.
    """
    settings = [of.get("evaluation", {}).get("outlier_rule") for of in configurations(manifest)]
    if settings[0] is None or any(other != settings[0] for other in settings):
        logger.info("no recall curve: the runs name no outlier rule, or several")
        return None
    try:
        rule = configured_rule(settings[0])
    except InvalidInputError as error:
        logger.info("no recall curve: %s", error)
        return None
    if rule.two_sided:
        logger.info("no recall curve: records cannot tell the ranking by a two-sided rule")
        return None
    return rule


def recall_curve(records: Records) -> pd.DataFrame:
    """A row per data set, method and share of sources kept; empty without an outlier rule.

    The reference has rows too: how soon the exact scores themselves find their outliers is the best
    that a ranking can do.

    Columns:
        dataset, method;
        share: of an example's sources that are kept, from 0 to 1;
        recall, recall_low, recall_high: mean share of the outliers among them, see
            `faithfulness.recall_at_share`, with its 95% bootstrap interval over questions; a random
            order has recall = share;
        num_examples, num_questions: with an outlier.
    """
    rule = outlier_rule(records.manifest)
    if rule is None or records.sources.empty:
        return pd.DataFrame()
    recalls = _recalls(records, rule)
    rows = [row for dataset, part in parts(records) for row in _rows_of(part, recalls, dataset)]
    return pd.DataFrame(rows)


def _recalls(records: Records, rule: OutlierRule) -> dict[tuple[str, str], FloatArray]:
    """Recall `[num_shares]` by (example, method), of the examples with an outlier."""
    exact = records.sources[records.sources["method"] == records.manifest.reference]
    relevant = {
        str(example): is_outlier(rows["score"].to_numpy(), rule)
        for example, rows in exact.groupby("example_id", sort=False)
    }
    pairs = records.sources.groupby(["example_id", "method"], sort=False)
    return {
        (str(example), str(method)): recall_at_share(
            rows["priority"].to_numpy(), relevant[str(example)], SHARES
        )
        for (example, method), rows in pairs
        if str(example) in relevant and relevant[str(example)].any()
    }


def _rows_of(
    records: Records, recalls: dict[tuple[str, str], FloatArray], dataset: str
) -> Iterator[dict[str, object]]:
    """Rows over the examples that every method with any curve has a curve for."""
    ids = records.examples["example_id"].tolist()
    named = records.manifest.methods
    methods = [name for name in named if any((example, name) in recalls for example in ids)]
    is_complete = [all((example, name) in recalls for name in methods) for example in ids]
    examples = records.examples[is_complete]
    if examples.empty or not methods:
        return
    curves = [
        np.concatenate([recalls[example, name] for name in methods])
        for example in examples["example_id"]
    ]
    means = grouped_mean_intervals(np.stack(curves), pd.factorize(examples["query"])[0])
    places = [(name, share) for name in methods for share in SHARES]
    for (name, share), mean in zip(places, means, strict=True):
        yield {
            "dataset": dataset,
            "method": name,
            "share": share,
            "recall": mean.mean,
            "recall_low": mean.low,
            "recall_high": mean.high,
            "num_examples": len(examples),
            "num_questions": mean.count,
        }


def recall_markdown(table: pd.DataFrame, manifest: Manifest) -> str:
    """Recall at some shares of all data sets together, and how to read it."""
    rows = table[table["dataset"] == table["dataset"].iloc[-1]]
    lines = []
    for name, own in rows.groupby("method", sort=False):
        line = {"Method": f"{name} (the best there can be)" if name == manifest.reference else name}
        for share in SHOWN_SHARES:
            at = own[np.isclose(own["share"], share)].iloc[0]
            line[f"Recall@{share:.0%} ↑"] = Column("recall", "").cell(at)
        lines.append(line)
    notes = [
        f"Mean share of the target's outliers among the share of sources that is kept, over "
        f"{rows['num_examples'].iloc[0]} examples of {rows['num_questions'].iloc[0]} questions "
        "with an outlier; a random order has the share itself. ↑ higher is better. Brackets: 95% "
        "bootstrap intervals over questions.",
        "A fraction of a source is kept with that probability; ties are in random order; pruned "
        "sources are ranked by the screen.",
    ]
    if table["dataset"].nunique() > 1:
        notes.append("All data sets together; recall_curve.csv has each of them.")
    title = "## Recall of the target's outliers at a share of the sources\n"
    return "\n".join(
        [title, markdown_table(pd.DataFrame(lines)), "", *(f"- {note}" for note in notes), ""]
    )


def write_recall(records: Records, tables: Path, figures: Path) -> None:
    """Write `recall_curve.md`, `.csv` and `.png`; nothing where the outliers cannot be told."""
    table = recall_curve(records)
    if table.empty:
        return
    tables.mkdir(parents=True, exist_ok=True)
    text = recall_markdown(table, records.manifest)
    (tables / "recall_curve.md").write_text(text, encoding="utf-8")
    table.to_csv(tables / "recall_curve.csv", index=False)
    draw_recall(table, records.manifest, figures / "recall_curve.png")
