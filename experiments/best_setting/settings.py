"""Quality and cost of every setting that runs tried, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribot.errors import InvalidInputError
from attribot.records import Records
from attribot.report.joining import join_runs
from attribot.types import FloatArray

QUALITY = "average_precision"


@dataclass(frozen=True, eq=False)
class Settings:
    """Settings on the examples whose reference scores hold an outlier.

    labels: `[num_settings]` of the methods.
    questions: `[num_examples]`; prompts of one question with contexts of several sizes share it.
    precision: `[num_settings, num_examples]` average precision.
    flops: `[num_settings, num_examples]` counted.
    naive_flops: `[num_examples]` of naive leave-one-out.
    uncounted: labels of methods left out, since their FLOPs are not counted.
    """

    labels: tuple[str, ...]
    questions: tuple[str, ...]
    precision: FloatArray
    flops: FloatArray
    naive_flops: FloatArray
    uncounted: tuple[str, ...] = ()


def settings_of(runs: Sequence[Records]) -> Settings:
    """Settings of one run with many methods, of its parts over data sets, or of a sweep's runs.

    Raises:
        RecordsError: the runs cannot be one; see `join_runs`.
        InvalidInputError: a run is unfinished or has no naive method, two of its methods have one
            label, or no FLOPs are counted.
    """
    for run in runs:
        if run.manifest.finished_at is None or run.manifest.naive is None:
            raise InvalidInputError(
                f"the run {run.manifest.run_id} is not finished or has no naive method: expected "
                "finished runs whose costs are told relative to naive leave-one-out"
            )
    records = join_runs(runs)
    measured = _by_label(records)
    uncounted = tuple(label for label, of in measured.items() if np.isnan(of[1]).any())
    return _of_scored(
        {label: of for label, of in measured.items() if label not in uncounted}, uncounted, records
    )


def _by_label(records: Records) -> dict[str, FloatArray]:
    """`[2, num_examples]` average precision and FLOPs of every method, by label.

    The FLOPs are NaN where passes were made and none counted.
    """
    manifest, examples = records.manifest, records.examples["example_id"]
    quality = records.metrics[records.metrics["metric"] == QUALITY]
    measured = {}
    for name, info in manifest.methods.items():
        if name in (manifest.reference, manifest.naive):
            continue
        values = quality[quality["method"] == name].set_index("example_id")["value"]
        costs = records.costs[records.costs["method"] == name].set_index("example_id")
        flops = costs["flops"].mask((costs["flops"] == 0) & (costs["forward_passes"] > 0))
        if info.label in measured:
            raise InvalidInputError(f"two methods of a run have the label {info.label!r}")
        measured[info.label] = np.stack(
            [values.reindex(examples).to_numpy(float), flops.reindex(examples).to_numpy(float)]
        )
    return measured


def _of_scored(
    found: dict[str, FloatArray], uncounted: tuple[str, ...], records: Records
) -> Settings:
    """The settings on the examples that have a mAP."""
    if not found:
        raise InvalidInputError("the runs hold no setting whose FLOPs are counted")
    precision, flops = np.stack(list(found.values()), axis=1)
    is_scored = ~np.isnan(precision).any(axis=0)
    naive = records.costs[records.costs["method"] == records.manifest.naive]
    posed = records.examples.set_index("example_id")["dataset"]
    naive_flops = naive.set_index("example_id")["flops"].reindex(posed.index).to_numpy(float)
    # Merged runs of one data set have its configuration before the id of the question.
    questions = [str(example).removeprefix(f"{dataset}/") for example, dataset in posed.items()]
    return Settings(
        tuple(found),
        tuple(q for q, keep in zip(questions, is_scored, strict=True) if keep),
        precision[:, is_scored],
        flops[:, is_scored],
        naive_flops[is_scored],
        uncounted,
    )
