"""Runs of several settings on the same examples as one run of many methods."""

from __future__ import annotations

import json
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
    first; a method whose name is taken by another gets a number, and so does a model other than the
    first of its role. This is how the runs of a sweep become one table and one figure.

    Raises:
        RecordsError: see `merge_records`; or the runs differ in examples, responses, target,
            reference, naive method, seed or code; or one label stands for several settings.
    """
    groups: dict[str, list[Records]] = {}
    for run in runs:
        of = asdict(run.manifest)
        groups.setdefault(json.dumps([of["methods"], of["models"]]), []).append(run)
    joined, *others = [merge_records(group) for group in groups.values()] or [merge_records(())]
    for other in others:
        joined = _join(joined, other)
    return joined


def _join(first: Records, other: Records) -> Records:
    """The first with the methods that only the other has."""
    _check_comparable(first, other)
    known = {info.label: name for name, info in first.manifest.methods.items()}
    infos: dict[str, MethodInfo] = dict(first.manifest.methods)
    new_names: dict[str, str] = {}
    for name, info in other.manifest.methods.items():
        if info.label not in known:
            new_names[name] = _free_name(name, infos)
            infos[new_names[name]] = info
        elif not _is_equal(_measured(first, known[info.label]), _measured(other, name)):
            raise RecordsError(
                f"the label {info.label!r} stands for several settings in the runs "
                f"{first.manifest.run_id} and {other.manifest.run_id}: give each its own, with "
                "methods.selected.label=... in the sweep"
            )
    tables = {"examples": first.examples} | {
        name: pd.concat(
            [getattr(first, name), _renamed(getattr(other, name), new_names)], ignore_index=True
        )
        for name in OF_METHODS
    }
    manifest = replace(
        pooled_manifest((first.manifest, other.manifest)),
        methods=infos,
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


def _renamed(table: pd.DataFrame, new_names: Mapping[str, str]) -> pd.DataFrame:
    """Rows of these methods under their new names."""
    kept = table[table["method"].isin(list(new_names))]
    return kept.assign(method=kept["method"].map(dict(new_names)))


def _all_models(first: Manifest, other: Manifest) -> dict[str, ModelInfo]:
    """By role; the other's where they are none of the first."""
    models = dict(first.models)
    for role, model in other.models.items():
        if model not in models.values():
            models[_free_name(role, models)] = model
    return models
