"""Assumption 2: what a paragraph is worth is what its sentences are worth together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribot.errors import RecordsError
from attribot.evaluation.statistics import Interval, ratio_interval
from attribot.records import Records
from attribot.report.paired import parts
from attribot.report.tables import markdown_table
from attribot.types import FloatArray, IntArray
from experiments.pooled_statistics import (
    by_question,
    pooled_interval,
    pooled_pearson,
    pooled_spearman,
    slope,
)
from experiments.recorded_scores import (
    ComparedExamples,
    compared_examples,
    configured_method,
    estimate_text,
    interval_columns,
    mean_over_questions,
    recorded_scores,
)

LEAVE_ONE_OUT = "attribot.attributors.leave_one_out.LeaveOneOut"
DELETION = "attribot.attributors.ablation.Deletion"


@dataclass(frozen=True, eq=False)
class ParagraphScores:
    """The paragraphs of one example.

    sums: `[num_paragraphs]` of the reference scores of their sentences [nats].
    scores: `[num_paragraphs]` of the paragraphs themselves [nats].
    sizes: `[num_paragraphs]` numbers of sentences.
    best_is_shared: the paragraph with the largest score holds the sentence with the largest; NaN
        where there is one paragraph only.
    """

    sums: FloatArray
    scores: FloatArray
    sizes: IntArray
    best_is_shared: float

    @property
    def pairs(self) -> FloatArray:
        """`[n, 2]` sums and scores of the paragraphs of several sentences.

        Those of one sentence agree by definition, up to the separator that goes with a paragraph.
        """
        return np.stack([self.sums, self.scores], axis=1)[self.sizes > 1]


def paragraph_methods(records: Records) -> tuple[str, ...]:
    """Methods that are exact leave-one-out of paragraphs under the target, as configured."""
    found = []
    for name in records.manifest.methods:
        settings = configured_method(records, name)
        ablation = settings.get("ablation", {"_target_": DELETION})
        if (
            settings.get("_target_") == LEAVE_ONE_OUT
            and settings.get("role", "target") == "target"
            and settings.get("level") == "paragraph"
            and isinstance(ablation, dict)
            and ablation.get("_target_") == DELETION
        ):
            found.append(name)
    return tuple(found)


def paragraph_scores(compared: ComparedExamples) -> list[ParagraphScores]:
    """The paragraphs of every example.

    Raises:
        RecordsError: sentences of one paragraph have different scores.
    """
    found = []
    for example_id, (reference, method) in zip(compared.example_ids, compared, strict=True):
        _, first, paragraph = np.unique(
            reference.paragraphs, return_index=True, return_inverse=True
        )
        scores = method.scores[first]
        if not np.array_equal(scores[paragraph], method.scores):
            raise RecordsError(
                f"{example_id}: leave-one-out of paragraphs gives the sentences of a paragraph one "
                "score, but these records hold several: restore them"
            )
        best = paragraph[reference.scores.argmax()]
        found.append(
            ParagraphScores(
                np.asarray(np.bincount(paragraph, weights=reference.scores), dtype=np.float64),
                scores,
                np.bincount(paragraph),
                float(best == scores.argmax()) if len(scores) > 1 else float("nan"),
            )
        )
    return found


def paragraphs(records: Records) -> pd.DataFrame:
    """A row per data set and method that leaves paragraphs out; empty where there is none.

    Columns:
        dataset, method, label, num_examples;
        num_paragraphs: of several sentences; num_single: of one, whose score is its sentence's;
        pearson, spearman, slope: of the paragraphs' scores on the sums of their sentences', all
            paragraphs of several sentences together;
        mean_absolute_deviation: of the two [nats]; sign_agreement: share with equal signs;
        best_agreement: share of the examples of several paragraphs whose best paragraph holds the
            best sentence. All with 95% bootstrap intervals over questions (_low, _high, _count).
    """
    found = recorded_scores(records)
    rows = []
    for name in paragraph_methods(records):
        for dataset, part in parts(records):
            compared = compared_examples(
                part.examples, found[records.manifest.reference], found.get(name, {})
            )
            if len(compared):
                head = {"dataset": dataset, "method": name}
                label = records.manifest.methods[name].label
                rows.append({**head, "label": label, **_row(compared)})
    return pd.DataFrame(rows)


def _row(compared: ComparedExamples) -> dict[str, float]:
    examples = paragraph_scores(compared)
    values = by_question([example.pairs for example in examples], compared.questions)
    row: dict[str, float] = {
        "num_examples": len(examples),
        "num_paragraphs": sum(map(len, values)),
        "num_single": sum(int((example.sizes == 1).sum()) for example in examples),
    }
    for name, statistic in (
        ("pearson", pooled_pearson),
        ("spearman", pooled_spearman),
        ("slope", slope),
    ):
        row |= interval_columns(name, pooled_interval(statistic, values))
    deviations = [np.abs(pairs[:, 0] - pairs[:, 1]) for pairs in values]
    agreements = [np.sign(pairs[:, 0]) == np.sign(pairs[:, 1]) for pairs in values]
    row |= interval_columns("mean_absolute_deviation", _mean_of_all(deviations))
    row |= interval_columns("sign_agreement", _mean_of_all(agreements))
    best = [example.best_is_shared for example in examples]
    return row | interval_columns("best_agreement", mean_over_questions(best, compared.questions))


def _mean_of_all(values: list[FloatArray]) -> Interval:
    """Mean of the values of all questions together."""
    return ratio_interval([each.sum() for each in values], [len(each) for each in values])


def paragraphs_markdown(table: pd.DataFrame) -> str:
    """The section of the report."""
    return "\n".join(_lines(table))


def _lines(table: pd.DataFrame) -> Iterator[str]:
    yield "## A paragraph's score is the sum of its sentences' scores\n"
    if table.empty:
        yield (
            "These records hold no leave-one-out of paragraphs under the target: add a method with "
            "`attributor: loo` and `level: paragraph`.\n"
        )
        return
    headings = {
        "pearson": "Pearson ↑",
        "spearman": "Spearman ↑",
        "slope": "Slope",
        "mean_absolute_deviation": "Mean abs. deviation [nats] ↓",
        "sign_agreement": "Same sign ↑",
        "best_agreement": "Best holds best ↑",
    }
    texts = {
        heading: [estimate_text(row, name) for _, row in table.iterrows()]
        for name, heading in headings.items()
    }
    shown = pd.DataFrame(
        {
            "Data set": table["dataset"],
            "Examples": table["num_examples"].astype(str),
            "Paragraphs": table["num_paragraphs"].astype(str),
            **texts,
        }
    )
    if table["method"].nunique() > 1:
        shown.insert(0, "Method", table["label"])
    yield markdown_table(shown) + "\n"
    yield "![Sums of sentence scores against paragraph scores](paragraphs.png)\n"
    num_single = int(table.groupby("method", sort=False)["num_single"].last().iloc[0])
    yield (
        "- Paragraphs of several sentences, all together; slope of the paragraph's score on the "
        f"sum. {num_single} paragraphs of one sentence are left out: theirs agree by definition."
    )
    yield (
        "- Best holds best: examples of several paragraphs whose paragraph with the largest score "
        "holds the sentence with the largest.\n"
    )
