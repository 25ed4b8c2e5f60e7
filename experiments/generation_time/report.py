"""The table of what `experiments.generation_time` has measured; needs no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from attribot.errors import RecordsError
from attribot.evaluation.statistics import ratio_interval
from experiments.benchmark.records import BenchmarkRun
from experiments.efficiency.tables import markdown_table

CSV_FILE, JSON_FILE, PAGE = "generation_time.csv", "generation_time.json", "generation_time.md"
GENERATION = "generation"
COLUMNS = [
    "example_id",
    "prompt_tokens",
    "response_tokens",
    "sources",
    "round",
    "way",
    "seconds",
    "computed_tokens",
    "flops",
]
NOTE = """\
Seconds of attribution over seconds of generating the response it explains, in the same round:
median and quartiles over examples and rounds, then the ratio of sums over examples with its 95%
bootstrap interval. FLOPs are counted; generating computes prompt and response once. "After
generation" takes over the states that generating has left. The proxy is the target without four of
its 30 layers, so proxies save little here; generation's passes after the first hold one token
each."""


def build(folder: Path) -> Path:
    """Writes `generation_time.md` into the folder with the measurements; returns it.

    Raises:
        RecordsError: there are none, or they are damaged.
    """
    try:
        rows = pd.read_csv(folder / CSV_FILE)[COLUMNS]
        circumstances = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        said = _circumstances(circumstances["machine"], BenchmarkRun(**circumstances["run"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordsError(
            f"cannot read the measurements in {folder} ({error}): expected {CSV_FILE} and "
            f"{JSON_FILE} as `python -m experiments.generation_time --output` writes them"
        ) from error
    parts = ["# Attribution against generation of the same response", said, _sizes(rows), NOTE]
    path = folder / PAGE
    path.write_text("\n\n".join([*parts, ratio_table(rows)]) + "\n", encoding="utf-8")
    return path


def ratio_table(rows: pd.DataFrame) -> str:
    """A line per way of attribution, and one for generation."""
    cells = ["example_id", "round"]
    seconds = rows.pivot(index=cells, columns="way", values="seconds")
    flops = rows.pivot(index=cells, columns="way", values="flops")
    tokens = rows.pivot(index=cells, columns="way", values="computed_tokens")
    # An example's rounds are no further examples: they are summed before resampling.
    by_example = seconds.groupby(level="example_id").sum()
    lines = []
    for way in rows["way"].unique():
        ratios = seconds[way] / seconds[GENERATION]
        interval = ratio_interval(by_example[way], by_example[GENERATION])
        lines.append(
            {
                "way": str(way),
                "seconds": _quartiles(seconds[way]),
                "over generation": _quartiles(ratios),
                "ratio of sums": f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]",
                "computed tokens": f"{tokens[way].mean():,.0f}",
                "GFLOP": f"{flops[way].mean() / 1e9:,.0f}",
                "FLOPs over generation": f"{flops[way].sum() / flops[GENERATION].sum():.2f}",
            }
        )
    return markdown_table(lines)


def _quartiles(values: pd.Series) -> str:
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _sizes(rows: pd.DataFrame) -> str:
    examples = rows.drop_duplicates("example_id")
    medians = examples[["prompt_tokens", "sources", "response_tokens"]].median()
    return (
        f"{len(examples)} bundled questions, {rows['round'].max()} rounds; medians: "
        f"{medians['prompt_tokens']:.0f} prompt tokens, {medians['sources']:.0f} sources, "
        f"{medians['response_tokens']:.0f} response tokens."
    )


def _circumstances(machine: Mapping[str, Any], run: BenchmarkRun) -> str:
    hardware = machine["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commit = (run.commit or "unknown")[:12] + (" with changes" if run.is_dirty else "")
    return (
        f"{machine['model']}, proxy {machine['proxy']}, {machine['dtype']} on "
        f"{hardware['gpu'] or hardware['cpu']}, {machine['threads']} of {hardware['cores']} "
        f"cores; {versions}. {run.date}, commit {commit}, matrix multiplication at "
        f"{run.matmul_flops_per_second / 1e12:.3g} TFLOP/s: "
        f"`python -m experiments.generation_time {run.command}`"
    )
