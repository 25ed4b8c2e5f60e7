"""Runs of several settings on the same examples as one run of many methods."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from attribot.errors import RecordsError
from attribot.manifest import Manifest, MethodInfo, ModelInfo
from attribot.records import TABLES, Records
from attribot.report.merging import merge_records, pooled_manifest

# What a joined run has once, so that all its parts must agree in it.
SHARED = ("reference", "naive", "seed", "git_commit")
QUALITY = "average_precision"
OF_METHODS = tuple(name for name in TABLES if name != "examples")


def join_runs(runs: Sequence[Records]) -> Records:
    """All runs as one: those of equal methods and models merged, then their methods put together.

    A method goes by its label: what has one label in several runs is one method, told from the
    first. Where one name stands for several labels, as `selected` does in a sweep, methods are
    named after their labels. A model other than the first of its role gets a number. This is how
    the runs of a sweep become one table and one figure.

    Raises:
        RecordsError: see `merge_records`; or the runs differ in examples, responses, target,
            reference, naive method, seed or code; or one label stands for several settings.
    """
    groups: dict[str, list[Records]] = {}
    for run in runs:
        of = asdict(run.manifest)
        groups.setdefault(json.dumps([of["methods"], of["models"]]), []).append(run)
    merged = [merge_records(group) for group in groups.values()] or [merge_records(())]
    joined, *others = _told_apart(merged)
    for other in others:
        joined = _join(joined, other)
    return joined


def _told_apart(runs: Sequence[Records]) -> Sequence[Records]:
    """The runs, methods of one name and several labels named after their labels."""
    labels: dict[str, set[str]] = {}
    for run in runs:
        for name, info in run.manifest.methods.items():
            labels.setdefault(name, set()).add(info.label)
    return [
        _renamed(
            run,
            {
                name: _words(info.label) if len(labels[name]) > 1 else name
                for name, info in run.manifest.methods.items()
            },
        )
        for run in runs
    ]


def _words(label: str) -> str:
    """A label as a name: `hierarchical, k = 2` is `hierarchical_k_2`."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def _renamed(run: Records, names: Mapping[str, str]) -> Records:
    """The run, its methods under other names."""
    if all(old == new for old, new in names.items()):
        return run
    tables = {
        table: rows.assign(method=rows["method"].map(dict(names)))
        for table, rows in ((table, getattr(run, table)) for table in OF_METHODS)
    }
    manifest = run.manifest
    renamed = replace(
        manifest,
        methods={names[name]: info for name, info in manifest.methods.items()},
        reference=names[manifest.reference],
        naive=None if manifest.naive is None else names[manifest.naive],
    )
    return replace(run, manifest=renamed, **tables)


def _join(first: Records, other: Records) -> Records:
    """The first with the methods that only the other has."""
    _check_comparable(first, other)
    known = {info.label: name for name, info in first.manifest.methods.items()}
    added: dict[str, MethodInfo] = {}
    for name, info in other.manifest.methods.items():
        if info.label not in known:
            if name in first.manifest.methods:
                raise RecordsError(
                    f"the labels {first.manifest.methods[name].label!r} and {info.label!r} make "
                    f"one name, {name!r}: let them differ in letters or digits"
                )
            added[name] = info
        elif not _is_equal(_measured(first, known[info.label]), _measured(other, name)):
            raise RecordsError(
                f"the label {info.label!r} stands for several settings in the runs "
                f"{first.manifest.run_id} and {other.manifest.run_id}: give each its own, with "
                "methods.selected.label=... in the sweep"
            )
    tables = {"examples": first.examples}
    for table in OF_METHODS:
        rows = getattr(other, table)
        new = rows[rows["method"].isin(list(added))]
        tables[table] = pd.concat([getattr(first, table), new], ignore_index=True)
    manifest = replace(
        pooled_manifest((first.manifest, other.manifest)),
        methods={**first.manifest.methods, **added},
        models=_all_models(first.manifest, other.manifest),
    )
    return Records(manifest, **tables)


def _check_comparable(first: Records, other: Records) -> None:
    """Raises RecordsError where a joined run would compare what cannot be compared."""
    both = f"the runs {first.manifest.run_id} and {other.manifest.run_id}"
    for part in SHARED:
        if getattr(first.manifest, part) != getattr(other.manifest, part):
            raise RecordsError(
                f"{both} differ in {part}: report them one by one, or run both with the same "
                "settings and code"
            )
    if first.manifest.models.get("target") != other.manifest.models.get("target"):
        raise RecordsError(
            f"{both} differ in the target: an approximation is only comparable with another of the "
            "same model"
        )
    if not _posed(first).equals(_posed(other)):
        raise RecordsError(
            f"{both} differ in examples, prompts or responses: a setting is only comparable on the "
            "same ones; give runs of the same data sets, the same protocol and the same target"
        )


def _posed(records: Records) -> pd.DataFrame:
    """What was asked, by example, whatever the order."""
    columns = ["example_id", "dataset", "prompt_sha", "response_sha"]
    return records.examples[columns].set_index("example_id").sort_index()


def _measured(records: Records, method: str) -> pd.DataFrame:
    """Average precision and counted FLOPs of a method, by example."""
    metrics, costs = records.metrics, records.costs
    quality = metrics[(metrics["method"] == method) & (metrics["metric"] == QUALITY)]
    spent = costs[costs["method"] == method]
    return pd.DataFrame(
        {
            "quality": quality.set_index("example_id")["value"],
            "flops": spent.set_index("example_id")["flops"],
        },
        dtype=float,
    ).sort_index()


def _is_equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two tables hold the same examples and, up to rounding, the same numbers."""
    return one.index.equals(other.index) and np.allclose(one, other, equal_nan=True)


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    """The name, with the first number that makes it another than those taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _all_models(first: Manifest, other: Manifest) -> dict[str, ModelInfo]:
    """By role; the other's where they are none of the first."""
    models = dict(first.models)
    for role, model in other.models.items():
        if model not in models.values():
            models[_free_name(role, models)] = model
    return models
