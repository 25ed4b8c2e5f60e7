"""What methods said of each example, read back from records as vectors over its sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from attribot.errors import RecordsError
from attribot.evaluation.statistics import Interval, grouped_mean_intervals
from attribot.records import Records
from attribot.report.paired import configurations
from attribot.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RecordedScores:
    """One method on one example, in the order of the sources.

    scores: `[num_sources]` of the final stage, NaN where it pruned the source.
    priority: `[num_sources]` larger = ranked earlier; see `types.Attribution.priority`.
    paragraphs: `[num_sources]` ordinal of the paragraph that each source lies in.
    spans: `[num_sources, 2]` chars of the context.
    """

    scores: FloatArray
    priority: FloatArray
    paragraphs: IntArray
    spans: IntArray

    @property
    def is_pruned(self) -> BoolArray:
        """`[num_sources]` True where the final stage gave no score."""
        return np.asarray(np.isnan(self.scores))


ByExample = Mapping[str, RecordedScores]


def recorded_scores(records: Records) -> dict[str, ByExample]:
    """Scores by method, in the order of the manifest, and by example id."""
    rows = records.sources.sort_values(["method", "example_id", "source_id"])
    is_first = ~rows.duplicated(["method", "example_id"])
    # One frame per pair would take seconds for thousands of pairs.
    starts = np.flatnonzero(is_first)[1:]
    columns = (
        np.split(rows[name].to_numpy(), starts)
        for name in ("score", "priority", "parent_id", ["char_start", "char_end"])
    )
    pairs = rows.loc[is_first, ["method", "example_id"]].itertuples(index=False, name=None)
    by_pair = dict(zip(pairs, map(RecordedScores, *columns), strict=True))
    return {
        name: {example_id: by for (method, example_id), by in by_pair.items() if method == name}
        for name in records.manifest.methods
        if name in set(rows["method"])
    }


def scored_examples(records: Records) -> Records:
    """The records without examples that wait for their reference scores in an unfinished run."""
    rows = records.sources[records.sources["method"] == records.manifest.reference]
    is_scored = records.examples["example_id"].isin(rows["example_id"])
    return replace(records, examples=records.examples[is_scored])


@dataclass(frozen=True, eq=False)
class ComparedExamples:
    """Examples that both the reference and a method scored, in the order of the records.

    questions: `[num_examples]` number of the question that an example asks. The same question with
        more of its context is no independent example.
    """

    example_ids: tuple[str, ...]
    reference: tuple[RecordedScores, ...]
    method: tuple[RecordedScores, ...]
    questions: IntArray

    def __iter__(self) -> Iterator[tuple[RecordedScores, RecordedScores]]:
        """(reference, method) of every example."""
        return iter(zip(self.reference, self.method, strict=True))

    def __len__(self) -> int:
        return len(self.example_ids)


def compared_examples(
    examples: pd.DataFrame, reference: ByExample, method: ByExample
) -> ComparedExamples:
    """Those of `examples`, rows of the records, that both have scores of.

    Raises:
        RecordsError: the two scored different numbers of sources of an example.
    """
    rows = examples[[name in reference and name in method for name in examples["example_id"]]]
    names = tuple(rows["example_id"])
    for name in names:
        if len(reference[name].scores) != len(method[name].scores):
            raise RecordsError(
                f"{name} has {len(reference[name].scores)} reference scores but "
                f"{len(method[name].scores)} of a method: the records are damaged; restore them"
            )
    return ComparedExamples(
        names,
        tuple(reference[name] for name in names),
        tuple(method[name] for name in names),
        pd.factorize(rows["query"])[0].astype(np.int64),
    )


def configured_method(records: Records, name: str) -> Mapping[str, object]:
    """The settings of a method's attributor as the run was configured; empty where unknown."""
    methods = configurations(records.manifest)[0].get("methods", {})
    settings = methods.get(name, {}) if isinstance(methods, Mapping) else {}
    attributor: Mapping[str, object] = settings.get("method", {})
    return attributor


def one_stage_methods(records: Records) -> tuple[str, ...]:
    """Methods that gave every sentence a score of its own, but for the exact ones."""
    is_pruned = records.sources.groupby("method")["is_pruned"].any()
    return tuple(
        name
        for name, info in records.manifest.methods.items()
        if name in is_pruned.index
        and not is_pruned[name]
        and info.kind != "exact"
        and configured_method(records, name).get("level", "sentence") == "sentence"
    )


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """The estimate, the ends of its interval and the number of examples as columns."""
    return {
        name: interval.mean,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        f"{name}_count": interval.count,
    }


def mean_over_questions(values: Sequence[float] | FloatArray, questions: IntArray) -> Interval:
    """Mean over examples `[num_examples]` with a 95% bootstrap interval over questions.

    NaN = undefined for the example, which is left out. The interval counts examples.
    """
    values = np.asarray(values, dtype=np.float64)
    is_present = ~np.isnan(values)
    count, num_missing = int(is_present.sum()), int((~is_present).sum())
    if count == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, num_missing)
    found = grouped_mean_intervals(values[is_present, None], questions[is_present])[0]
    return replace(found, count=count, num_missing=num_missing)


def estimate_text(row: Mapping[str, float] | pd.Series, name: str, sign: str = "") -> str:
    """The number `name` of a row and, where there is one, its interval."""
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return "–"
    text = f"{value:{sign}.3f}"
    return text if pd.isna(low) else f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]"
