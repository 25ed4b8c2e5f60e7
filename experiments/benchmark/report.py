"""Table, verdict, fitted exponents and figure of what `experiments.benchmark` has measured.

    python -m experiments.benchmark.report runs/benchmark

Rebuilds `benchmark.md` and `benchmark.png` from `benchmark.csv` and `benchmark.json` in the folder;
needs neither torch nor a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attribot.errors import AttribotError
from experiments.benchmark.growth import COSTS, PREDICTION, draw, exponents
from experiments.benchmark.records import CELL, WAYS, BenchmarkRun, Measurements

BAR_OVER_CACHED, BAR_OVER_NAIVE, BAR_OUTSIDE = 0.80, 0.50, 0.05
JUDGED_TOKENS = (400, 1200)


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and way: medians over rounds, quartiles of the seconds, counters.

    Counters are equal in all rounds; of memory it is the largest.
    """
    rows = rows.assign(
        outside_share=1 - rows["forward_seconds"] / rows["seconds"],
        flops_per_second=rows["flops"] / rows["seconds"],
        share_of_matmul_rate=rows["flops"] / rows["seconds"] / rows["matmul_flops_per_second"],
    )
    grouped = rows.groupby([*CELL, "way"])
    shares = ["outside_share", "flops_per_second", "share_of_matmul_rate"]
    table = grouped[[*COSTS, "forward_passes", "reused_tokens", *shares]].median()
    table["seconds_low"] = grouped["seconds"].quantile(0.25)
    table["seconds_high"] = grouped["seconds"].quantile(0.75)
    for memory in ("peak_memory_bytes", "resting_memory_bytes"):
        table[memory] = grouped[memory].max()
    table["rounds"] = grouped.size()
    order = {name: place for place, name in enumerate(WAYS)}
    return table.reset_index().sort_values([*CELL, "way"], key=lambda c: c.replace(order))


def ratios(rows: pd.DataFrame, way: str, other: str) -> pd.DataFrame:
    """Seconds of `way` over those of `other` in the same round, per cell: median and quartiles."""
    keys = [*CELL, "run", "round"]
    seconds = rows.set_index([*keys, "way"])["seconds"].unstack()
    if not {way, other} <= set(seconds):
        return pd.DataFrame(columns=["low", "median", "high", "rounds"])
    grouped = (seconds[way] / seconds[other]).dropna().groupby(level=CELL)
    return pd.DataFrame(
        {
            "low": grouped.quantile(0.25),
            "median": grouped.median(),
            "high": grouped.quantile(0.75),
            "rounds": grouped.size(),
        }
    )


def verdict(rows: pd.DataFrame) -> list[str]:
    """Packed against its bars in the cells of 400 to 1,200 tokens, and how much masking saves."""
    low, high = JUDGED_TOKENS
    judged = rows[rows["prompt_tokens"].between(low, high)]
    pairs: tuple[tuple[str, str, float | None], ...] = (
        ("packed", "cached-all-logits", BAR_OVER_CACHED),
        ("packed", "naive-all-logits", BAR_OVER_NAIVE),
        ("masked", "packed", None),
    )
    cells: dict[tuple[int, int], dict[str, str]] = {}
    totals = []
    for way, other, bar in pairs:
        title = f"{way} / {other}" + (f" [at most {bar:.2f}]" if bar else "")
        found = ratios(judged, way, other)
        for cell, ratio in found.iterrows():
            text = "{median:.2f} [{low:.2f}, {high:.2f}], n = {rounds:.0f}".format(**ratio)
            if bar:
                text += ", met" if ratio["median"] <= bar else ", **missed**"
            cells.setdefault(cell, {})[title] = text  # type: ignore[arg-type]
        if bar:
            num_met = int((found["median"] <= bar).sum())
            judgement = f"met in {num_met} of {len(found)} cells" if len(found) else "not measured"
            totals.append(f"{title}: {judgement}")
    shown = [{"tokens x sources": "{} x {}".format(*cell), **cells[cell]} for cell in sorted(cells)]
    lines = [
        "Ratios of seconds within a round: median, quartiles and number of rounds; cells of "
        f"{low} to {high:,} tokens."
    ]
    if shown:
        lines.append(_markdown(pd.DataFrame(shown).fillna("-")))
    return [*lines, "; ".join(totals) + "."]


def outside_forward(table: pd.DataFrame, runs: Sequence[BenchmarkRun]) -> str:
    """Share of the seconds spent outside the model's forward passes, against its bar."""
    packed = table[table["way"] == "packed"]
    lines = [
        "Seconds outside the model's forward passes (Python, planning, log-softmax; with real text "
        f"also rendering and tokenisation), under packed scoring; at most {BAR_OUTSIDE:.0%}.",
    ]
    if len(packed):
        worst = packed.sort_values("outside_share").iloc[-1]
        lines.append(
            f"- cells of token ids: median {packed['outside_share'].median():.1%}, largest "
            f"{_judged(worst['outside_share'])} ({worst['prompt_tokens']} x {worst['sources']})"
        )
    for text in (run.text for run in runs if run.text):
        share = float(np.median(1 - np.divide(text["forward_seconds"], text["seconds"])))
        lines.append(
            f"- real text, {text['prompt_tokens']} tokens, {text['sources']} sources: "
            f"{_judged(share)}, median of n = {len(text['seconds'])} "
            f"({np.median(text['seconds']):.2f} s)"
        )
    if not any(run.text for run in runs):
        lines.append("- real text: not measured; it takes packed scoring and a tokenizer")
    return "\n".join([lines[0], "", *lines[1:]])


def _judged(share: float) -> str:
    return f"{share:.1%}, " + ("met" if share <= BAR_OUTSIDE else "**missed**")


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """The medians as text."""
    return pd.DataFrame(
        {
            "tokens": table["prompt_tokens"].map(str),
            "sources": table["sources"].map(str),
            "way": table["way"],
            "rounds": table["rounds"].map(str),
            "seconds per example [quartiles]": [
                f"{row.seconds:.3g} [{row.seconds_low:.3g}, {row.seconds_high:.3g}]"
                for row in table.itertuples()
            ],
            "forward passes": table["forward_passes"].map("{:.0f}".format),
            "computed tokens": table["computed_tokens"].map("{:,.0f}".format),
            "reused tokens": table["reused_tokens"].map("{:,.0f}".format),
            "TFLOP": (table["flops"] / 1e12).map("{:.3g}".format),
            "TFLOP/s": (table["flops_per_second"] / 1e12).map("{:.3g}".format),
            "share of matmul rate": table["share_of_matmul_rate"].map("{:.0%}".format),
            "peak memory [MiB] (at rest)": [
                _mebibytes(peak, resting)
                for peak, resting in zip(
                    table["peak_memory_bytes"], table["resting_memory_bytes"], strict=True
                )
            ],
            "outside forward": table["outside_share"].map("{:.1%}".format),
        }
    )


def _mebibytes(peak: float, resting: float) -> str:
    if np.isnan(peak):
        return "not measured"
    return f"{peak / 2**20:,.0f} ({resting / 2**20:,.0f})"


def build(folder: Path) -> Path:
    """Writes `benchmark.md` and `benchmark.png` into the folder; returns the first."""
    measured = Measurements.read(folder)
    table = medians(measured.rows)
    has_figure = draw(table, folder / "benchmark.png")
    fits = exponents(table)
    parts = [
        "# Ways to score all leave-one-out ablations of a prompt",
        "![Seconds against tokens and sources](benchmark.png)" if has_figure else "",
        measured.circumstances(),
        "\n".join(f"- **{name}**: {meaning}" for name, meaning in WAYS.items()),
        "## Verdict",
        *verdict(measured.rows),
        "## Time outside the forward passes",
        outside_forward(table, measured.runs),
        "## How cost grows",
        PREDICTION,
        _markdown(fits.map(_rounded)) if len(fits) else "Too few cells to fit anything.",
        "## All cells",
        _markdown(shown_table(table)),
        measured.left_out_text(),
    ]
    path = folder / "benchmark.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path


def _rounded(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return "-" if np.isnan(cell) else f"{cell:.2f}"


def _markdown(frame: pd.DataFrame) -> str:
    """A table of texts."""
    rows = [frame.columns.tolist(), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="with benchmark.csv and benchmark.json")
    try:
        print(build(parser.parse_args(arguments).folder))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
