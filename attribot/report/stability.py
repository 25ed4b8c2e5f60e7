"""How much the ranking of a method that draws at random depends on its seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attribot.evaluation.evaluator import metric_direction
from attribot.evaluation.stability import seed_agreement
from attribot.evaluation.statistics import grouped_mean_intervals
from attribot.records import Records
from attribot.report.paired import configurations, parts
from attribot.report.tables import ARROWS, MISSING, Column, markdown_table
from attribot.types import FloatArray

TOP_KS = (1, 3, 5)
HEADINGS = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    **{f"top_overlap@{k}": f"Top-{k} overlap" for k in TOP_KS},
}


@dataclass(frozen=True)
class Replicate:
    """A method under one seed: its name and the place of its run among those given."""

    run: int
    method: str


def stability(runs: Sequence[Records]) -> pd.DataFrame:
    """A row per data set and method that ran under several seeds; empty where none did.

    Methods are the same when their configurations and models differ in seeds only, be it under
    several names in one run or in several runs. Compared are the rankings of the examples that all
    seeds attributed, with the same prompt and response.

    Columns:
        dataset, method: the family of the replicates, or the name of the first; num_seeds;
        M, M_low, M_high, num_M for M in spearman, kendall, top_overlap@k: mean over pairs of seeds,
            then over the examples for which M is defined, num_M of them, with its 95% bootstrap
            interval over questions;
        map_mean, map_lowest, map_highest: of the mAPs of the seeds; num_examples.
    """
    rows = [
        row
        for name, replicates in replicate_groups(runs)
        for row in _rows_of([(runs[one.run], one.method) for one in replicates], name)
    ]
    return pd.DataFrame(rows)


def replicate_groups(runs: Sequence[Records]) -> list[tuple[str, tuple[Replicate, ...]]]:
    """(name, replicates) of the methods that ran under several seeds, one replicate per seed."""
    groups: dict[str, dict[str, Replicate]] = {}
    for place, records in enumerate(runs):
        methods = configurations(records.manifest)[0].get("methods")
        models = {role: model.weights_sha for role, model in records.manifest.models.items()}
        for name, config in methods.items() if isinstance(methods, Mapping) else ():
            if name not in records.manifest.methods:
                continue
            parts_of = {part: config.get(part) for part in ("method", "scorer")}
            seeds: list[object] = []
            key = json.dumps([_without_seeds(parts_of, seeds), models], sort_keys=True)
            groups.setdefault(key, {}).setdefault(json.dumps(seeds), Replicate(place, name))
    named = []
    for group in groups.values():
        if len(group) > 1:
            replicates = tuple(group.values())
            infos = runs[replicates[0].run].manifest.methods
            first = replicates[0].method
            named.append((infos[first].family or first, replicates))
    return named


def _without_seeds(config: Any, seeds: list[object]) -> Any:
    """The configuration without the values of keys named `seed`, which are added to `seeds`."""
    if isinstance(config, Mapping):
        seeds += [config[key] for key in sorted(config) if key == "seed"]
        return {key: _without_seeds(config[key], seeds) for key in sorted(config) if key != "seed"}
    if isinstance(config, list | tuple):
        return [_without_seeds(value, seeds) for value in config]
    return config


def _rows_of(replicates: Sequence[tuple[Records, str]], name: str) -> Iterator[dict[str, object]]:
    first = replicates[0][0]
    rankings = [_rankings(records, method) for records, method in replicates]
    common = set.intersection(*(set(of) for of in rankings))
    for dataset, part in parts(first):
        keys = [key for key in _keys(part) if key in common]
        if not keys:
            continue
        examples = part.examples.set_index("example_id").loc[[key[0] for key in keys]]
        agreements = pd.DataFrame(
            [dict(seed_agreement(np.stack([of[key] for of in rankings]), TOP_KS)) for key in keys]
        )
        row: dict[str, object] = {"dataset": dataset, "method": name, "num_seeds": len(rankings)}
        for metric in agreements.columns:
            row |= _columns(metric, agreements[metric].to_numpy(), examples["query"].to_numpy())
        yield {**row, **_maps(replicates, list(examples.index)), "num_examples": len(keys)}


def _rankings(records: Records, method: str) -> dict[tuple[str, str, str], FloatArray]:
    """Priorities `[num_sources]` by example, prompt and response."""
    rows = records.sources[records.sources["method"] == method]
    of_example = {
        example: own["priority"].to_numpy()
        for example, own in rows.groupby("example_id", sort=False)
    }
    return {key: of_example[key[0]] for key in _keys(records) if key[0] in of_example}


def _keys(records: Records) -> list[tuple[str, str, str]]:
    columns = records.examples[["example_id", "prompt_sha", "response_sha"]]
    return [(str(a), str(b), str(c)) for a, b, c in columns.to_numpy()]


def _columns(metric: str, values: FloatArray, queries: Any) -> dict[str, float]:
    is_defined = ~np.isnan(values)
    row: dict[str, float] = {metric: np.nan, f"{metric}_low": np.nan, f"{metric}_high": np.nan}
    if is_defined.any():
        groups = pd.factorize(queries[is_defined])[0]
        mean = grouped_mean_intervals(values[is_defined, None], groups)[0]
        row = {metric: mean.mean, f"{metric}_low": mean.low, f"{metric}_high": mean.high}
    return {**row, f"num_{metric}": int(is_defined.sum())}


def _maps(replicates: Sequence[tuple[Records, str]], examples: list[str]) -> dict[str, float]:
    """The mAPs of the seeds, on the examples compared: their mean, lowest and highest."""
    maps = []
    for records, method in replicates:
        rows = records.metrics
        is_own = (rows["method"] == method) & (rows["metric"] == "average_precision")
        maps.append(rows[is_own & rows["example_id"].isin(examples)]["value"].mean())
    return {
        "map_mean": float(np.mean(maps)),
        "map_lowest": float(np.min(maps)),
        "map_highest": float(np.max(maps)),
    }


def stability_markdown(table: pd.DataFrame) -> str:
    """Agreement between seeds on all data sets together, and how to read it."""
    rows = table.groupby("method", sort=False).tail(1)
    lines = []
    for _, row in rows.iterrows():
        line = {"Method": row["method"], "Seeds": str(row["num_seeds"])}
        line["Examples"] = str(row["num_examples"])
        for metric, heading in HEADINGS.items():
            line[heading + ARROWS[metric_direction(metric)]] = Column(metric, heading).cell(row)
        ends = f"{row['map_mean']:.3f} ({row['map_lowest']:.3f} to {row['map_highest']:.3f})"
        line["mAP of the seeds"] = MISSING if pd.isna(row["map_mean"]) else ends
        lines.append(line)
    notes = [
        "Agreement between the rankings of two seeds, mean over pairs of seeds and over examples; "
        "1 = the seed does not matter. ↑ higher is better. Brackets: 95% bootstrap intervals over "
        "questions. Top-k overlap: share of the k first sources that two seeds have in common, "
        "ties in random order, over examples of more than k sources.",
        "mAP of the seeds: mean, and the lowest and highest of a seed. Everything else in this "
        "report is of single seeds.",
    ]
    if table["dataset"].nunique() > 1:
        notes.append("All data sets together; stability.csv has each of them.")
    table_text = markdown_table(pd.DataFrame(lines))
    title = "## Stability of rankings across seeds\n"
    return "\n".join([title, table_text, "", *(f"- {note}" for note in notes), ""])


def write_stability(runs: Sequence[Records], directory: Path) -> None:
    """Write `stability.md` and `stability.csv`; neither where no method ran under several seeds."""
    table = stability(runs)
    if table.empty:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "stability.md").write_text(stability_markdown(table), encoding="utf-8")
    table.to_csv(directory / "stability.csv", index=False)
