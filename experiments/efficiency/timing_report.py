"""The tables of what `experiments.efficiency.timing` has measured.

    python -m experiments.efficiency.timing_report runs/timing

Rebuilds `timing.md` and `timing.csv` from `timing.json` in the folder; needs neither models nor a
GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from attribot.errors import AttribotError
from experiments.efficiency.compositions import NAIVE, timed_compositions
from experiments.efficiency.tables import markdown_table
from experiments.efficiency.timing_records import Timings

PAGE, TABLE = "timing.md", "timing.csv"
CELL = ["target", "proxy", "prompt_tokens"]
ORDER = {way.name: place for place, way in enumerate(timed_compositions())}
COUNTED = ["flops", "forward_passes", "computed_tokens", "reused_tokens"]
NOTE = """\
Weights are drawn at random in the models' geometries, all models of a pair resident together:
time does not depend on what weights know. Prompts are made up of one-token words. Survivors of a
screen are spread evenly over the context. Every composition meets every round in turn, after a
warm-up that is not counted; brackets hold quartiles over rounds.

- **seconds**: of one attribution, from the problem to the scores; **in passes**: of these, inside
  the models' forward passes, the device done with all before. The rest is rendering, tokenising,
  planning and reading off.
- **speedup**: seconds of naive leave-one-out over the composition's, in the same round. **counted**
  is the same in FLOPs, **in tokens** and **formula** by the closed forms of
  `experiments.efficiency`: in computed tokens times parameters, and the paper's for long contexts,
  which has no masks.
- **timed**: "8 of 301" says that the clock ran for so many of the ablations, evenly spread; the
  seconds shown are those, times the counted FLOPs of all over those of the timed. Memory is then
  that of the timed.
- **TFLOP/s**: counted FLOPs over seconds in passes; **of matmul**: over the measured rate of matrix
  multiplication at the shapes of the target."""


def build(folder: Path) -> Path:
    """Writes `timing.md` and, where anything was timed, `timing.csv`; returns the first.

    Raises:
        RecordsError: there are no timings, or they are damaged.
    """
    timings = Timings.read(folder)
    parts = ["# The tricks by the clock", _circumstances(timings), NOTE]
    if timings.rows:
        table = summary(timings)
        table.to_csv(folder / TABLE, index=False, float_format="%.6g")
        for _, cell in table.groupby(CELL, sort=False):
            parts += _cell_parts(cell)
    parts.append(_left_out_text(timings))
    path = folder / PAGE
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path


def rounds(timings: Timings) -> pd.DataFrame:
    """One row per pair, length, composition and round, with the seconds of all ablations and the
    speedups over naive leave-one-out in the same round."""
    rows = pd.DataFrame([asdict(row) for row in timings.rows])
    for role in ("target", "proxy"):
        rows[role] = [getattr(timings.runs[number - 1], role) for number in rows["run"]]
    rates = [timings.runs[number - 1].matmul_flops_per_second for number in rows["run"]]
    rows["flops_per_second"] = rows["timed_flops"] / rows["forward_seconds"]
    rows["share_of_matmul_rate"] = rows["flops_per_second"] / rates
    rows["outside_share"] = 1 - rows["forward_seconds"] / rows["seconds"]
    scale = rows["flops"] / rows["timed_flops"]
    keys = [*CELL, "round"]
    for seconds in ("seconds", "forward_seconds"):
        rows[seconds] *= scale
        naive = rows[rows["composition"] == NAIVE].set_index(keys)[seconds].rename("naive")
        over = rows.join(naive, on=keys)["naive"] / rows[seconds]
        rows[seconds.replace("seconds", "speedup")] = over
    return rows


def summary(timings: Timings) -> pd.DataFrame:
    """One row per pair, length and composition: medians and quartiles over rounds, counters, and
    how many times cheaper than naive leave-one-out it is by FLOPs and by the closed forms."""
    rows = rounds(timings)
    grouped = rows.groupby([*CELL, "composition"])
    table = grouped[["sources", "paragraphs", "is_papers"]].first()
    table["rounds"] = grouped.size()
    table["timed_ablations"] = grouped["timed_ablations"].agg(_counts)
    for name in ("seconds", "forward_seconds", "speedup", "forward_speedup"):
        table[name] = grouped[name].median()
        table[f"{name}_low"] = grouped[name].quantile(0.25)
        table[f"{name}_high"] = grouped[name].quantile(0.75)
    for name in ("flops_per_second", "share_of_matmul_rate", "outside_share"):
        table[name] = grouped[name].median()
    for name in ("peak_memory_bytes", "resting_memory_bytes"):
        table[name] = grouped[name].max()
    table[COUNTED] = grouped[COUNTED].first()
    flops = table["flops"].unstack()
    naive = flops[NAIVE] if NAIVE in flops else pd.Series(float("nan"), flops.index)
    table["counted_saving"] = table.join(naive.rename("naive"), on=CELL)["naive"] / table["flops"]
    for form in ("predicted_in_tokens", "predicted"):
        table[f"{form}_saving"] = 1 / grouped[form].first().astype(float)
    table = table.reset_index()
    place = table["composition"].map(ORDER)
    return table.assign(place=place).sort_values([*CELL, "place"]).drop(columns="place")


def _counts(ablations: pd.Series) -> str:
    """ "" where all ablations were timed in every round."""
    if ablations.isna().all():
        return ""
    found = sorted({"all" if pd.isna(count) else f"{count:.0f}" for count in ablations})
    return ", ".join(found)


def _cell_parts(cell: pd.DataFrame) -> list[str]:
    """Heading and tables of one pair at one length."""
    first = cell.iloc[0]
    models = first["target"] + (f", proxy {first['proxy']}" if first["proxy"] else " alone")
    rows = [{str(name): value for name, value in row.items()} for row in cell.to_dict("records")]
    return [
        f"## {models}: {first['prompt_tokens']:,} tokens, {first['sources']} sentences in "
        f"{first['paragraphs']} paragraphs",
        markdown_table(list(map(_speedup_cells, rows))),
        markdown_table(list(map(_work_cells, rows))),
    ]


def _speedup_cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "composition": row["composition"],
        "from": "paper" if row["is_papers"] else "ours",
        "seconds": _spread(row, "seconds"),
        "in passes": _spread(row, "forward_seconds"),
        "speedup": _spread(row, "speedup", "×"),
        "speedup in passes": _spread(row, "forward_speedup", "×"),
        "counted": _number(row["counted_saving"], "×"),
        "in tokens": _number(row["predicted_in_tokens_saving"], "×"),
        "formula": _number(row["predicted_saving"], "×"),
    }


def _work_cells(row: Mapping[str, Any]) -> dict[str, str]:
    timed = f"{row['timed_ablations']} of {row['sources']}" if row["timed_ablations"] else "all"
    return {
        "composition": row["composition"],
        "rounds": str(row["rounds"]),
        "timed": timed,
        "forward passes": f"{row['forward_passes']:,}",
        "computed tokens": f"{row['computed_tokens']:,}",
        "reused tokens": f"{row['reused_tokens']:,}",
        "TFLOP": _number(row["flops"] / 1e12),
        "TFLOP/s": _number(row["flops_per_second"] / 1e12),
        "of matmul": f"{row['share_of_matmul_rate']:.0%}",
        "outside passes": f"{row['outside_share']:.1%}",
        "peak memory [GB] (at rest)": _memory(row),
    }


def _spread(row: Mapping[str, Any], name: str, unit: str = "") -> str:
    if pd.isna(row[name]):
        return "–"
    if row["rounds"] == 1:
        return _number(row[name], unit)
    low, high = (_number(row[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{_number(row[name], unit)} [{low}, {high}]"


def _number(value: float, unit: str = "") -> str:
    """Three digits, never as a power of ten."""
    if pd.isna(value):
        return "–"
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}") + unit


def _memory(row: Mapping[str, Any]) -> str:
    if pd.isna(row["peak_memory_bytes"]):
        return "not measured"
    return f"{row['peak_memory_bytes'] / 1e9:.2f} ({row['resting_memory_bytes'] / 1e9:.2f})"


def _circumstances(timings: Timings) -> str:
    """Machine, then a line per run."""
    machine, hardware = timings.machine, timings.machine["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['dtype']} on {hardware['gpu'] or hardware['cpu']}, {machine['threads']} of "
        f"{hardware['cores']} cores; {versions}.",
        "",
    ]
    for number, run in enumerate(timings.runs, start=1):
        commit = (run.commit or "unknown")[:12] + (" with changes" if run.is_dirty else "")
        lines.append(
            f"- run {number}, {run.date}, commit {commit}, matrix multiplication at "
            f"{run.matmul_flops_per_second / 1e12:.3g} TFLOP/s: "
            f"`python -m experiments.efficiency.timing {run.command}`"
        )
    return "\n".join(lines)


def _left_out_text(timings: Timings) -> str:
    """What was asked for and has no row, with the latest reason."""
    reasons = {
        (run.target, run.proxy, left.prompt_tokens, left.way): left.reason
        for run in timings.runs
        for left in run.left_out
    }
    for run in timings.runs:
        for tokens, way, _ in timings.timed(run.target, run.proxy):
            reasons.pop((run.target, run.proxy, tokens, way), None)
    lines = [
        f"- {target}{f', {proxy}' if proxy else ''}, {tokens:,} tokens: {way} ({reason})"
        for (target, proxy, tokens, way), reason in reasons.items()
    ]
    return "\n".join(["Left out:", "", *lines]) if lines else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.efficiency.timing_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="with timing.json")
    try:
        print(build(parser.parse_args(arguments).folder))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
