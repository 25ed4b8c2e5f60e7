"""What the tricks assume about scores, checked on the records of runs.

    python -m experiments.assumptions RUN_DIR [RUN_DIR ...] --output DIR

The scores of a proxy correlate with the target's; a paragraph's score is the sum of its sentences';
a screen that keeps few sources keeps the target's outliers. Writes `assumptions.md`, a table (CSV)
and a figure (PNG) of each that the records can tell of. Needs neither torch nor a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from attribot.records import Records, read_records
from attribot.report.merging import merge_records
from attribot.report.paired import parts
from attribot.report.recall_curve import recall_curve, recall_markdown
from attribot.report.recall_figure import draw_recall
from experiments.assumptions.correlations import correlations, correlations_markdown, score_pairs
from experiments.assumptions.figures import Scatter, draw_scatters
from experiments.assumptions.paragraphs import (
    paragraph_methods,
    paragraph_scores,
    paragraphs,
    paragraphs_markdown,
)
from experiments.recorded_scores import (
    compared_examples,
    estimate_text,
    one_stage_methods,
    recorded_scores,
    scored_examples,
)
from experiments.records_command import tables_from_records

REFERENCE_TITLE = "exact LOO of the target [nats]"


def build(run_dirs: Sequence[Path], output: Path) -> Path:
    """Write all views into the folder `output`; returns the path of the text.

    Raises:
        RecordsError: a folder holds no run, or the runs differ in more than their examples.
    """
    records = scored_examples(merge_records([read_records(run_dir) for run_dir in run_dirs]))
    output.mkdir(parents=True, exist_ok=True)
    correlated, summed, recalled = correlations(records), paragraphs(records), recall(records)
    if not correlated.empty:
        correlated.to_csv(output / "correlations.csv", index=False)
        draw_correlations(records, correlated, output / "correlations.png")
    if not summed.empty:
        summed.to_csv(output / "paragraphs.csv", index=False)
        draw_paragraphs(records, summed, output / "paragraphs.png")
    sections = [correlations_markdown(correlated), paragraphs_markdown(summed)]
    if not recalled.empty:
        recalled.to_csv(output / "recall_curve.csv", index=False)
        draw_recall(recalled, records.manifest, output / "recall_curve.png")
        sections += [
            recall_markdown(recalled, records.manifest),
            "![Recall of outliers against the share of sources kept](recall_curve.png)\n",
        ]
    path = output / "assumptions.md"
    text = "\n".join(["# What the tricks assume\n", *sections, _provenance(records), ""])
    path.write_text(text, encoding="utf-8")
    return path


def recall(records: Records) -> pd.DataFrame:
    """The recall curves of the methods that a screen can be; see `recall_curve`."""
    screens = {*one_stage_methods(records), *paragraph_methods(records), records.manifest.reference}
    sources = records.sources[records.sources["method"].isin(screens)]
    return recall_curve(replace(records, sources=sources))


def draw_correlations(records: Records, table: pd.DataFrame, path: Path) -> None:
    """A panel per method: its scores against the reference's, all data sets together."""
    found = recorded_scores(records)
    rows = table[table["dataset"] == table["dataset"].iloc[-1]]
    scatters = []
    for _, row in rows.iterrows():
        compared = compared_examples(
            records.examples, found[records.manifest.reference], found[row["method"]]
        )
        unit = " [nats]" if row["in_nats"] else ""
        title = f"{row['label']}\nPearson {estimate_text(row, 'pearson')}"
        scatters.append(
            Scatter(
                title,
                np.concatenate(score_pairs(compared)),
                REFERENCE_TITLE,
                f"score{unit}",
                row["in_nats"],
            )
        )
    title = (
        f"Scores against the target's exact ones: {rows['num_examples'].max()} examples; Pearson "
        "within examples; dashed: equal scores; axes are linear around 0, logarithmic beyond"
    )
    draw_scatters(scatters, title, path)


def draw_paragraphs(records: Records, table: pd.DataFrame, path: Path) -> None:
    """A panel per data set and method, all data sets together last."""
    found = recorded_scores(records)
    examples = {name: part.examples for name, part in parts(records)}
    scatters = []
    for _, row in table.iterrows():
        name = row["dataset"]
        compared = compared_examples(
            examples[name], found[records.manifest.reference], found[row["method"]]
        )
        pairs = np.concatenate([example.pairs for example in paragraph_scores(compared)])
        if len(pairs):
            title = f"{name}: {row['label']}, n = {len(pairs)}"
            labels = ("sum of its sentences' scores [nats]", "score of the paragraph [nats]")
            scatters.append(Scatter(title, pairs, *labels, has_diagonal=True))
    if scatters:
        draw_scatters(
            scatters,
            "Leave-one-out of paragraphs of several sentences; dashed: equal scores; axes are "
            "linear around 0, logarithmic beyond",
            path,
        )


def _provenance(records: Records) -> str:
    manifest = records.manifest
    models = "; ".join(f"{role} {model.name}" for role, model in manifest.models.items())
    commit = (manifest.git_commit or "unknown")[:12]
    return (
        f"Brackets: 95% bootstrap intervals over questions. Models: {models}. Data: "
        f"{manifest.dataset.name}. Commit: {commit}. Runs: {manifest.run_id}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    tables_from_records("experiments.assumptions", __doc__, build, arguments)


if __name__ == "__main__":
    main()
