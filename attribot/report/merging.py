"""Several runs as one, for one report of them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary, Manifest
from attribot.records import TABLES, Records
from attribot.report.paired import configurations


def merge_records(runs: Sequence[Records]) -> Records:
    """Records of several runs of the same methods and models as those of one.

    Runs stand in the order of the names of their data sets, numbers in them by size, so that tables
    and resamples do not depend on the order in which runs are given.

    Where runs on different configurations hold examples of one data set (its questions with
    contexts of several sizes), rows go by the name of their run's configuration instead of by that
    of the data set, and their example ids begin with it.

    Raises:
        RecordsError: no runs, runs that differ in methods, models, seed or code, or an example
            that several of them hold.
    """
    if not runs:
        raise RecordsError("there is nothing to merge: expected at least one run")
    runs = sorted(runs, key=lambda run: _by_numbers(run.manifest.dataset.name))
    first = runs[0].manifest
    for run in runs[1:]:
        for part in ("methods", "models", "reference", "naive", "seed", "git_commit"):
            if getattr(run.manifest, part) != getattr(first, part):
                raise RecordsError(
                    f"the runs {first.run_id} and {run.manifest.run_id} differ in {part}: report "
                    "them one by one, or run both with the same settings and code"
                )
    manifests = [run.manifest for run in runs]
    merged = replace(
        pooled_manifest(manifests),
        dataset=DatasetSummary(
            " + ".join(manifest.dataset.name for manifest in manifests),
            sum(manifest.dataset.num_read for manifest in manifests),
            {
                f"{manifest.dataset.name}: {reason}": count
                for manifest in manifests
                for reason, count in manifest.dataset.dropped.items()
            },
        ),
    )
    tables = {
        name: pd.concat([getattr(run, name) for run in _told_apart(runs)], ignore_index=True)
        for name in TABLES
    }
    examples = tables["examples"]["example_id"]
    repeated = examples[examples.duplicated()]
    if len(repeated):
        raise RecordsError(
            f"several runs hold the example {repeated.iloc[0]!r} ({len(repeated)} such examples): "
            "give each run once"
        )
    return Records(merged, **tables)


def _by_numbers(name: str) -> list[str | int]:
    """A key that puts samples_600 before samples_1200."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def pooled_manifest(manifests: Sequence[Manifest]) -> Manifest:
    """The first manifest with the runs, configurations and times of all."""
    run_ids = [run_id for manifest in manifests for run_id in manifest.run_id.split(" + ")]
    configs = [config for manifest in manifests for config in configurations(manifest)]
    finished = [manifest.finished_at for manifest in manifests]
    return replace(
        manifests[0],
        run_id=" + ".join(run_ids),
        config=dict(zip(run_ids, configs, strict=True)),
        is_dirty=any(manifest.is_dirty for manifest in manifests),
        started_at=min(manifest.started_at for manifest in manifests),
        finished_at=None if None in finished else max(time for time in finished if time),
        resumed=tuple(entry for manifest in manifests for entry in manifest.resumed),
    )


def _told_apart(runs: Sequence[Records]) -> Sequence[Records]:
    """The runs, renamed where the names of data sets do not tell their configurations apart."""
    holders: dict[str, set[str]] = {}
    for run in runs:
        for dataset in run.examples["dataset"].unique():
            holders.setdefault(dataset, set()).add(run.manifest.dataset.name)
    if all(len(configurations) == 1 for configurations in holders.values()):
        return runs
    return [_by_configuration(run) for run in runs]


def _by_configuration(run: Records) -> Records:
    """The run, its rows under the name of its data set's configuration."""
    name = run.manifest.dataset.name
    tables = {
        table: rows.assign(dataset=name, example_id=f"{name}/" + rows["example_id"])
        for table, rows in ((table, getattr(run, table)) for table in TABLES)
    }
    return Records(run.manifest, **tables)
