"""The best setting within each budget: chosen on one half of the examples, judged on the other.

    python -m experiments.best_setting results/ablation_windows/records/* \\
        --output results/ablation_windows
    python -m experiments.best_setting runs/sweep_* --output runs/best

A setting chosen because it has the largest mAP among many has it partly by chance, and the mAP that
it was chosen by is too high. Here it is told on questions that had no part in the choice, once for
one split with an interval, and as a mean over many splits, with how often each setting is chosen.
Budgets are shares of the FLOPs of naive leave-one-out. Writes best_settings.md, best_settings.csv
and best_settings_chosen.csv; needs neither torch nor a GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from attribot.errors import AttribotError, InvalidInputError
from attribot.evaluation.statistics import Interval, mean_interval
from attribot.records import read_records
from attribot.types import BoolArray, FloatArray
from experiments.best_setting.settings import Settings, settings_of

BUDGETS = tuple(Fraction(1, 2**power) for power in range(1, 6))
NUM_SPLITS = 200


@dataclass(frozen=True)
class Choice:
    """The setting chosen on one half, and what it is worth on each.

    in_sample: mAP on the half that it was chosen on; held_out: on the other, with its interval.
    in_sample_cost, held_out_cost: FLOPs relative to naive.
    """

    label: str
    in_sample: float
    held_out: Interval
    in_sample_cost: float
    held_out_cost: float


def choosing_half(questions: Sequence[str], seed: int) -> BoolArray:
    """`[num_examples]` True where the question is in the half that is chosen on.

    Questions go by the hash of seed and id, so that a question is in one half whatever else there
    is of it: with all its contexts, and in any order of examples.

    Raises:
        InvalidInputError: there are fewer than two questions.
    """
    ranked = sorted(
        set(questions), key=lambda question: hashlib.sha256(f"{seed}/{question}".encode()).digest()
    )
    if len(ranked) < 2:
        raise InvalidInputError(
            f"expected at least two questions with outliers to split, got {len(ranked)}"
        )
    chosen = set(ranked[: len(ranked) // 2])
    return np.array([question in chosen for question in questions])


def choose(settings: Settings, is_choosing: BoolArray, budget: Fraction) -> Choice | None:
    """The setting of the largest mAP on the choosing half among those within the budget there.

    Ties go to the cheaper one, then to the first. None if no setting is within the budget.
    """

    def costs(half: BoolArray) -> FloatArray:
        return np.asarray(settings.flops[:, half].sum(axis=1) / settings.naive_flops[half].sum())

    cost = costs(is_choosing)
    quality = settings.precision[:, is_choosing].mean(axis=1)
    within = np.flatnonzero(cost <= float(budget))
    if not len(within):
        return None
    best = within[np.lexsort((cost[within], -quality[within]))[0]]
    return Choice(
        settings.labels[best],
        float(quality[best]),
        mean_interval(settings.precision[best, ~is_choosing]),
        float(cost[best]),
        float(costs(~is_choosing)[best]),
    )


def best_settings(
    settings: Settings, budgets: Sequence[Fraction], seed: int, num_splits: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per budget, and one per budget and setting that some split chose.

    Columns of the first:
        budget; setting: chosen by the split of `seed`; in_sample_map, in_sample_cost, held_out_map
        with its 95% bootstrap interval, held_out_count, held_out_cost: of that choice;
        mean_in_sample_map, mean_held_out_map: over `num_splits` splits that found a setting;
        mean_held_out_map_low, mean_held_out_map_high: between which 95% of the splits lie;
        chosen_share: share of the splits that chose this setting.
    Of the second: budget, setting, share of the splits, and mean held-out mAP where it was chosen.
    """
    splits = [choosing_half(settings.questions, seed + number) for number in range(num_splits)]
    rows, chosen = [], []
    for budget in budgets:
        first, *others = (choose(settings, split, budget) for split in splits)
        found = [choice for choice in (first, *others) if choice is not None]
        counts = Counter(choice.label for choice in found)
        rows.append({"budget": str(budget), **_row(first, found, counts, num_splits)})
        for label, count in counts.most_common():
            held_out = [choice.held_out.mean for choice in found if choice.label == label]
            chosen.append(
                {
                    "budget": str(budget),
                    "setting": label,
                    "share": count / num_splits,
                    "mean_held_out_map": float(np.mean(held_out)),
                }
            )
    return pd.DataFrame(rows), pd.DataFrame(chosen)


def _row(
    first: Choice | None, found: Sequence[Choice], counts: Counter[str], num_splits: int
) -> dict[str, object]:
    row: dict[str, object] = {}
    if first is not None:
        row = {
            "setting": first.label,
            "in_sample_map": first.in_sample,
            "in_sample_cost": first.in_sample_cost,
            "held_out_map": first.held_out.mean,
            "held_out_map_low": first.held_out.low,
            "held_out_map_high": first.held_out.high,
            "held_out_count": first.held_out.count,
            "held_out_cost": first.held_out_cost,
            "chosen_share": counts[first.label] / num_splits,
        }
    if found:
        held_out = [choice.held_out.mean for choice in found]
        low, high = np.quantile(held_out, [0.025, 0.975])
        row |= {
            "mean_in_sample_map": float(np.mean([choice.in_sample for choice in found])),
            "mean_held_out_map": float(np.mean(held_out)),
            "mean_held_out_map_low": float(low),
            "mean_held_out_map_high": float(high),
        }
    return row


def page(
    rows: pd.DataFrame, chosen: pd.DataFrame, settings: Settings, command: str, num_splits: int
) -> str:
    """Both tables and how to read them, as Markdown."""
    count, questions = len(settings.questions), len(set(settings.questions))
    lines = [
        "# The best setting within each budget",
        f"`{command}`",
        f"{len(settings.labels)} settings on {count} prompts of {questions} questions that have "
        "outliers. A budget is a share of the counted FLOPs of naive leave-one-out. The setting of "
        "the largest mAP on one half of the questions is judged on the other, with a 95% bootstrap "
        f"interval over prompts; beside it means over {num_splits} such splits, with the range of "
        "95% of them, which is no interval of confidence: halves of the same questions overlap.",
    ]
    if settings.uncounted:
        lines.append(f"Left out, since FLOPs are not counted: {', '.join(settings.uncounted)}.")
    found = rows.dropna(subset=["setting"]) if "setting" in rows else rows.iloc[:0]
    shown = [
        {
            "budget": row["budget"],
            "setting": row["setting"],
            "cost held out": f"1/{1 / row['held_out_cost']:.1f}" if row["held_out_cost"] else "0",
            "mAP in-sample": f"{row['in_sample_map']:.3f}",
            "mAP held out": _with_range(row, "held_out_map"),
            f"in-sample, {num_splits} splits": f"{row['mean_in_sample_map']:.3f}",
            f"held out, {num_splits} splits": _with_range(row, "mean_held_out_map"),
            "optimism": f"{row['mean_in_sample_map'] - row['mean_held_out_map']:+.3f}",
            "chosen in": f"{row['chosen_share']:.0%}",
        }
        for _, row in found.iterrows()
    ]
    lines.append(_markdown(pd.DataFrame(shown)) if shown else "No setting is within a budget.")
    if unmet := [
        row["budget"] for _, row in rows.iterrows() if row["budget"] not in {*found["budget"]}
    ]:
        lines.append(f"No setting is within {', '.join(unmet)} on the half that is chosen on.")
    if len(chosen):
        frequent = chosen.assign(
            share=chosen["share"].map("{:.1%}".format),
            mean_held_out_map=chosen["mean_held_out_map"].map("{:.3f}".format),
        )
        headings = ["budget", "setting", "chosen in", "mAP held out, where chosen"]
        lines += [
            "## How often each setting is chosen",
            _markdown(frequent.set_axis(headings, axis=1)),
        ]
    return "\n\n".join(lines) + "\n"


def _with_range(row: pd.Series, name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _markdown(table: pd.DataFrame) -> str:
    return tabulate(table.to_dict("list"), headers="keys", tablefmt="github", disable_numparse=True)


def build(
    run_dirs: Sequence[Path],
    output: Path,
    budgets: Sequence[Fraction] = BUDGETS,
    seed: int = 0,
    num_splits: int = NUM_SPLITS,
) -> Path:
    """Write all three files; returns the path of the page.

    Raises:
        RecordsError, InvalidInputError: see `settings_of`.
    """
    settings = settings_of([read_records(run_dir) for run_dir in run_dirs])
    rows, chosen = best_settings(settings, budgets, seed, num_splits)
    output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(output / "best_settings.csv", index=False)
    chosen.to_csv(output / "best_settings_chosen.csv", index=False)
    words = ["python", "-m", "experiments.best_setting", *map(str, run_dirs)]
    words += ["--output", str(output), "--seed", str(seed), "--splits", str(num_splits)]
    words += ["--budgets", *map(str, budgets)] if tuple(budgets) != BUDGETS else []
    path = output / "best_settings.md"
    text = page(rows, chosen, settings, shlex.join(words), num_splits)
    path.write_text(text, encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.best_setting",
        description=__doc__.replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--budgets", type=Fraction, nargs="+", default=BUDGETS)
    parser.add_argument("--seed", type=int, default=0, help="of the first split")
    parser.add_argument("--splits", type=int, default=NUM_SPLITS, help="how many to average over")
    options = parser.parse_args(arguments)
    if options.splits < 1 or min(options.budgets) <= 0:
        parser.error("expected --splits of at least 1 and --budgets above 0")
    try:
        print(
            build(options.run_dirs, options.output, options.budgets, options.seed, options.splits)
        )
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
