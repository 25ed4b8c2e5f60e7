"""Prefix reuse against its formula: on synthetic prompts, and in the records of a run.

Without reuse n ablations and the full prompt of n sources cost about (n + 1) prompts; with it, of
every ablation only what follows the removed source. For sources of equal length and nothing else
in the prompt the ratio is (n + 1) / 2n.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from attribot.errors import RecordsError
from attribot.evaluation.efficiency import CostStage, PromptShape, predicted_relative_cost
from attribot.evaluation.statistics import Interval, mean_interval
from attribot.records import Records, read_records
from experiments.efficiency.compositions import NAIVE, REUSE
from experiments.efficiency.counting import SyntheticPrompt
from experiments.efficiency.tables import markdown_table

# Tokens of SmolLM2's chat template and the instruction, before the context and behind the query.
HEAD_TOKENS, TAIL_TOKENS = 38, 10
NAIVE_METHOD, REUSE_METHOD = "loo_naive", "loo"
ALL = "all"


def simple_ratio(num_sources: int) -> float:
    """(n + 1) / 2n."""
    shape = PromptShape(num_sources, 1, 1)
    return predicted_relative_cost(shape, [CostStage()], prefix_reuse=True)


def recorded_ratios(run_dirs: Sequence[Path]) -> pd.DataFrame:
    """One row per example that was scored naively and with prefix reuse; counted and measured
    ratios beside both formulas.

    Raises:
        RecordsError: a folder holds no run, or one without the two methods.
    """
    return pd.concat([_of_run(read_records(path), path) for path in run_dirs], ignore_index=True)


def _of_run(records: Records, path: Path) -> pd.DataFrame:
    costs = records.costs.set_index(["method", "example_id"])[["computed_tokens", "wall_seconds"]]
    if missing := {NAIVE_METHOD, REUSE_METHOD} - set(records.costs["method"]):
        raise RecordsError(
            f"{path} has no {' and '.join(sorted(missing))}: expected a run with `methods=exact`, "
            f"or more"
        )
    examples = records.examples.set_index("example_id")
    naive, reuse = costs.loc[NAIVE_METHOD], costs.loc[REUSE_METHOD]
    placed = _placed_tokens(examples, records.sources)
    return pd.DataFrame(
        {
            "dataset": examples["dataset"],
            "sources": examples["num_sources"],
            "prompt_tokens": examples["num_prompt_tokens"],
            "naive_tokens": naive["computed_tokens"],
            "reuse_tokens": reuse["computed_tokens"],
            "simple_formula": examples["num_sources"].map(simple_ratio),
            "placed_formula": placed / naive["computed_tokens"],
            "tokens_ratio": reuse["computed_tokens"] / naive["computed_tokens"],
            "seconds_ratio": reuse["wall_seconds"] / naive["wall_seconds"],
        }
    ).reset_index(names="example_id")


def _placed_tokens(examples: pd.DataFrame, sources: pd.DataFrame) -> pd.Series:
    """Tokens that prefix reuse computes by the place of every source, `[num_examples]`:

        L + sum over sources of (tokens behind the source)

    with L the whole sequence. Records hold places in chars: tokens are taken to be equally dense
    in context and query.
    """
    chars = examples["context"].str.len() + examples["query"].str.len()
    template = HEAD_TOKENS + TAIL_TOKENS
    per_char = (examples["num_prompt_tokens"] - template) / chars
    fed = examples["num_response_tokens"] - 1
    tail = TAIL_TOKENS + fed + examples["query"].str.len() * per_char
    ends = sources[sources["method"] == NAIVE_METHOD].set_index("example_id")["char_end"]
    lengths = examples["context"].str.len().reindex(ends.index)
    behind = (lengths - ends).groupby(level=0).sum()
    whole = examples["num_prompt_tokens"] + fed
    return whole + examples["num_sources"] * tail + behind * per_char


def shape_table(prompts: Sequence[SyntheticPrompt], rows: pd.DataFrame) -> str:
    """Counted tokens of synthetic prompts against both formulas, which are exact here.

    rows: those of `efficiency_rows`.
    """
    tokens = rows.set_index(["dataset", "composition"])["computed_tokens"].groupby(level=[0, 1])
    counted = tokens.first()
    shown = []
    for prompt in prompts:
        naive, reuse = counted[prompt.name, NAIVE], counted[prompt.name, REUSE]
        placed = CostStage().computed_tokens(prompt.shape, prefix_reuse=True)
        shown.append(
            {
                "data set": prompt.name,
                "sources": str(prompt.num_sources),
                "naive, counted": f"{naive:,}",
                "reuse, counted": f"{reuse:,}",
                "reuse, sum of what follows": f"{placed:,.0f}",
                "(n + 1) / 2n": f"{simple_ratio(prompt.num_sources):.3f}",
                "ratio": f"{reuse / naive:.3f}",
            }
        )
    return markdown_table(shown)


def record_table(ratios: pd.DataFrame) -> str:
    """Means over examples with bootstrap intervals, by data set and of all."""
    groups = {str(name): group for name, group in ratios.groupby("dataset", sort=True)}
    groups[ALL] = ratios
    return markdown_table([_record_row(name, group) for name, group in groups.items()])


def _record_row(name: str, group: pd.DataFrame) -> dict[str, str]:
    tokens, seconds = group["tokens_ratio"], group["seconds_ratio"]
    off = [(tokens / group[f] - 1).abs().mean() for f in ("simple_formula", "placed_formula")]
    return {
        "data set": name,
        "examples": str(len(group)),
        "sources": f"{group['sources'].median():.0f}",
        "(n + 1) / 2n": f"{group['simple_formula'].mean():.3f}",
        "with head, tail and places": f"{group['placed_formula'].mean():.3f}",
        "computed tokens": _interval(mean_interval(tokens)),
        "seconds": _interval(mean_interval(seconds)),
        "tokens off the formulas": f"{off[0]:.1%}, {off[1]:.1%}",
    }


def _interval(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
