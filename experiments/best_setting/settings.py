"""Quality and cost of every setting that runs tried, example by example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from attribot.errors import InvalidInputError
from attribot.records import Records
from attribot.report.merging import merge_records
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

    Runs of equal methods and models are parts of one, merged as reports merge them; others add
    settings. What has one label in several runs is one setting.

    Raises:
        RecordsError: the parts do not fit each other.
        InvalidInputError: a run is unfinished or has no naive method, runs hold different examples,
            or one label stands for several settings.
    """
    parts: dict[str, list[Records]] = {}
    for run in runs:
        if run.manifest.finished_at is None or run.manifest.naive is None:
            raise InvalidInputError(
                f"the run {run.manifest.run_id} is not finished or has no naive method: expected "
                "finished runs whose costs are told relative to naive leave-one-out"
            )
        of = asdict(run.manifest)
        parts.setdefault(json.dumps([of["methods"], of["models"]]), []).append(run)
    merged = [merge_records(group) for group in parts.values()]
    posed = [_posed(records) for records in merged]
    for other in posed[1:]:
        if not other.equals(posed[0]):
            raise InvalidInputError(
                "the runs differ in examples, prompts or responses: a setting is only comparable "
                "on the same ones; give runs of the same data sets and the same target"
            )
    found: dict[str, FloatArray] = {}
    uncounted: dict[str, None] = {}
    for records in merged:
        for label, measured in _by_label(records, posed[0].index).items():
            if np.isnan(measured[1]).any():
                uncounted[label] = None
            elif not np.allclose(found.setdefault(label, measured), measured, equal_nan=True):
                raise InvalidInputError(
                    f"the label {label!r} stands for several settings: give each its own, with "
                    "methods.selected.label=... in the sweep"
                )
    return _of_scored(found, tuple(uncounted), merged[0], posed[0])


def _posed(records: Records) -> pd.DataFrame:
    """What was asked, by example, in one order for all runs."""
    columns = ["example_id", "dataset", "prompt_sha", "response_sha"]
    return records.examples[columns].set_index("example_id").sort_index()


def _by_label(records: Records, examples: pd.Index) -> dict[str, FloatArray]:
    """`[2, num_examples]` average precision and FLOPs of every method, by label.

    The FLOPs are NaN where passes were made and none counted.
    """
    manifest = records.manifest
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
    found: dict[str, FloatArray], uncounted: tuple[str, ...], records: Records, posed: pd.DataFrame
) -> Settings:
    """The settings on the examples that have a mAP."""
    if not found:
        raise InvalidInputError("the runs hold no setting whose FLOPs are counted")
    precision, flops = np.stack(list(found.values()), axis=1)
    is_scored = ~np.isnan(precision).any(axis=0)
    naive = records.costs[records.costs["method"] == records.manifest.naive]
    naive_flops = naive.set_index("example_id")["flops"].reindex(posed.index).to_numpy(float)
    # Merged runs of one data set have its configuration before the id of the question.
    questions = [
        str(example).removeprefix(f"{dataset}/") for example, dataset in posed["dataset"].items()
    ]
    return Settings(
        tuple(found),
        tuple(q for q, keep in zip(questions, is_scored, strict=True) if keep),
        precision[:, is_scored],
        flops[:, is_scored],
        naive_flops[is_scored],
        uncounted,
    )
