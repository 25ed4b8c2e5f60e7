"""How many questions a run needs, from the spread of those that it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from attribot.records import Records
from attribot.report.paired import parts
from attribot.report.ranking import JUDGEMENTS
from attribot.report.tables import MISSING, Column, markdown_table

# 95% intervals as wide as this to each side: the first tells tricks from attention, the last one
# trick from another.
HALF_WIDTHS = (0.1, 0.05, 0.02)


def sample_sizes(ranked: pd.DataFrame, records: Records) -> pd.DataFrame:
    """A row per data set, judgement and method of a ranking, in its order.

    An interval shrinks with the root of the number of questions, so that a half-width `w` of `n`
    questions becomes `v` with `n * (w / v) ** 2`. What few questions say of their spread is rough.

    Columns:
        dataset, judged_by, metric, method, label;
        num_questions: that have a value; share: of the questions asked, the others having none,
            such as those without an outlier;
        mean, mean_low, mean_high, half_width: of the metric;
        for_0.1, ...: questions to ask for that half-width, those without a value among them; NaN
            where the values have no spread;
        difference, difference_low, difference_high: to the best method, paired;
        to_tell_apart: questions to ask until the interval of that difference would end at zero, if
            the difference is what it looks like; NaN for the best, and where nothing differs.
    """
    if ranked.empty:
        return ranked
    asked = {name: part.examples["query"].nunique() for name, part in parts(records)}
    keys = ["dataset", "judged_by", "metric", "method", "label"]
    share = ranked["num_questions"] / ranked["dataset"].map(asked)
    half_width = (ranked["mean_high"] - ranked["mean_low"]) / 2
    table = ranked[[*keys, "num_questions"]].assign(
        share=share, **ranked[["mean", "mean_low", "mean_high"]], half_width=half_width
    )
    for width in HALF_WIDTHS:
        table[f"for_{width}"] = _questions(ranked["num_questions"], half_width / width, share)
    differing = ranked["difference"].abs().replace(0, np.nan)
    of_difference = (ranked["difference_high"] - ranked["difference_low"]) / 2
    return table.assign(
        **ranked[["difference", "difference_low", "difference_high"]],
        to_tell_apart=_questions(ranked["num_questions"], of_difference / differing, share),
    )


def _questions(count: pd.Series, times_too_wide: pd.Series, share: pd.Series) -> pd.Series:
    """Questions to ask for intervals that are now so many times too wide."""
    needed = (count * times_too_wide**2 / share).replace(0, np.nan)
    return needed.round(6).map(np.ceil)


def sample_sizes_markdown(table: pd.DataFrame) -> str:
    """One table per judgement, of all data sets together, and how to read them."""
    dataset = table["dataset"].iloc[-1]
    sections = []
    for judged_by, judgement in JUDGEMENTS.items():
        rows = table[(table["dataset"] == dataset) & (table["judged_by"] == judged_by)]
        if len(rows):
            first = rows.iloc[0]
            extent = (
                f"{first['num_questions']} questions have a value, {first['share']:.0%} of all."
            )
            sections += [f"## {judgement.title}\n", _as_markdown(rows, judgement.heading), extent]
            sections.append("")
    return "\n".join([*sections, *(f"- {note}" for note in _notes(table)), ""])


def _as_markdown(rows: pd.DataFrame, heading: str) -> str:
    mean, difference = Column("mean", ""), Column("difference", "", "{:+.3f}".format)
    frame = pd.DataFrame(
        {
            "Method": rows["method"],
            heading: [mean.cell(row) for _, row in rows.iterrows()],
            "Half-width": rows["half_width"].map("±{:.3f}".format),
            **{f"For ±{width}": rows[f"for_{width}"].map(_count) for width in HALF_WIDTHS},
            "To the best": [
                difference.cell(row) if place else MISSING
                for place, (_, row) in enumerate(rows.iterrows())
            ],
            "To tell them apart": rows["to_tell_apart"].map(_count),
        }
    )
    return markdown_table(frame)


def _count(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:,.0f}"


def _notes(table: pd.DataFrame) -> Iterator[str]:
    yield (
        "For ±w: questions to ask, those without a value among them, for a 95% interval of that "
        "half-width. To tell them apart: until the interval of the paired difference to the best "
        "method would end at zero, if the difference is what it looks like; for a test corrected "
        "for many methods it takes more."
    )
    yield "Widths shrink with the root of the number of questions; few questions know it roughly."
    if table["dataset"].nunique() > 1:
        yield "All data sets together; sample_sizes.csv has each of them."


def write_sample_sizes(ranked: pd.DataFrame, records: Records, directory: Path) -> None:
    """Write `sample_sizes.md` and `sample_sizes.csv`; neither where there is no ranking."""
    table = sample_sizes(ranked, records)
    if table.empty:
        return
    directory.mkdir(parents=True, exist_ok=True)
    text = sample_sizes_markdown(table)
    (directory / "sample_sizes.md").write_text(text, encoding="utf-8")
    table.to_csv(directory / "sample_sizes.csv", index=False)
