"""Time the ways to score all leave-one-out ablations of a prompt, interleaved in one process.

    python -m experiments.benchmark --tokens 300 600 1200 --sources 8 16 32 --output runs/benchmark

Every cell is a prompt of so many tokens in so many sources with a response of 32. All ways meet it
in turn, `--repeats` times after one unmeasured round; medians and quartiles are reported, beside
counted tokens and FLOPs, and the share of the machine's measured matrix-multiplication rate. Ways
whose cell would take longer than `--max-seconds`, judged by the fastest way's rate, are left out
and said to be. Random token ids serve: time does not depend on what the tokens say.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from attribot.manifest import git_state, hardware
from attribot.models.bundled import load_bundled
from attribot.models.loading import set_threads
from attribot.scoring.batching import TokenIds
from attribot.scoring.engine import LikelihoodEngine
from attribot.types import Cost

NUM_RESPONSE_TOKENS = 32
NUM_HEAD_TOKENS = 40
NUM_QUERY_TOKENS = 24
Way = Callable[[TokenIds, TokenIds, int], Cost]


def deletion_way(engine: LikelihoodEngine) -> Way:
    """Full prompt and every ablation by deletion."""

    def score(prompt: TokenIds, response: TokenIds, num_sources: int) -> Cost:
        extents = source_extents(len(prompt), num_sources)
        ablated = [prompt[:start] + prompt[end:] for start, end in extents]
        return engine.token_log_likelihoods([prompt, *ablated], response)[1]

    return score


def masking_way(engine: LikelihoodEngine, window: int) -> Way:
    """Full prompt and every ablation by masking, with a window of so many tokens."""

    def score(prompt: TokenIds, response: TokenIds, num_sources: int) -> Cost:
        extents = source_extents(len(prompt), num_sources)
        places = np.arange(len(prompt))
        removed = np.array([(places >= start) & (places < end) for start, end in extents])
        behind = np.array([(places >= end) & (places < end + window) for _, end in extents])
        recomputed = behind | (places >= len(prompt) - NUM_QUERY_TOKENS)
        return engine.masked_token_log_likelihoods(prompt, response, removed, recomputed, True)[1]

    return score


def source_extents(num_tokens: int, num_sources: int) -> list[tuple[int, int]]:
    """Token extents of equal sources between the head of the prompt and the query."""
    edges = np.linspace(NUM_HEAD_TOKENS, num_tokens - NUM_QUERY_TOKENS, num_sources + 1)
    edges = edges.astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def ways_of(model: PreTrainedModel) -> dict[str, Way]:
    """By name, the slowest first."""

    def engine(**settings: object) -> LikelihoodEngine:
        return LikelihoodEngine(model, **settings)  # type: ignore[arg-type]

    return {
        "naive, all logits": deletion_way(engine(strategy="naive", all_logits=True)),
        "naive": deletion_way(engine(strategy="naive")),
        "cached, all logits": deletion_way(engine(strategy="cached", all_logits=True)),
        "cached": deletion_way(engine(strategy="cached")),
        "cached, batches of 4": deletion_way(engine(strategy="cached", batch_size=4)),
        "packed": deletion_way(engine(strategy="packed")),
        "masked, 64 tokens": masking_way(engine(), window=64),
    }


def matmul_rate(seconds: float = 1.0) -> float:
    """FLOP/s of float32 matrix multiplication at the shapes of a small model."""
    left, right = torch.randn(1024, 576), torch.randn(576, 1536)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        left @ right
        count += 1
    return 2 * 1024 * 576 * 1536 * count / (time.perf_counter() - start)


def measure(options: argparse.Namespace, console: Console) -> pd.DataFrame:
    """One row per cell and way."""
    model = load_bundled().model
    ways = ways_of(model)
    rate = matmul_rate()
    generator = np.random.default_rng(0)
    rows = []
    for num_tokens in options.tokens:
        for num_sources in options.sources:
            if num_tokens < NUM_HEAD_TOKENS + NUM_QUERY_TOKENS + num_sources:
                continue
            ids = generator.integers(
                0, model.config.vocab_size, num_tokens + NUM_RESPONSE_TOKENS
            ).tolist()
            prompt, response = tuple(ids[:num_tokens]), tuple(ids[num_tokens:])
            costs: dict[str, Cost] = {}
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for repeat in range(options.repeats + 1):
                for name in affordable(list(ways), num_tokens, num_sources, options):
                    start = time.perf_counter()
                    costs[name] = ways[name](prompt, response, num_sources)
                    if repeat:
                        seconds[name].append(time.perf_counter() - start)
                console.print(f"{num_tokens} tokens, {num_sources} sources: round {repeat}")
            rows += [
                {
                    "prompt_tokens": num_tokens,
                    "sources": num_sources,
                    **row_of(name, costs[name], seconds[name], seconds["packed"], rate),
                }
                for name in ways
                if name in costs
            ]
    return pd.DataFrame(rows)


def affordable(
    names: Sequence[str], num_tokens: int, num_sources: int, options: argparse.Namespace
) -> list[str]:
    """Ways whose cell stays below the limit of seconds at the given rate, the fastest first."""
    total = (num_sources + 1) * (num_tokens + NUM_RESPONSE_TOKENS)
    shares = {"naive": 1.0, "cached": 0.6}
    return [
        name
        for name in reversed(names)
        if shares.get(name.split(",")[0], 0.0) * total
        <= options.max_seconds * options.tokens_per_second
    ]


def row_of(
    name: str, cost: Cost, seconds: Sequence[float], packed: Sequence[float], rate: float
) -> dict[str, object]:
    """Medians, quartiles and counters of one way in one cell; its ratio to packed, by round."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    ratio_low, ratio, ratio_high = np.quantile(np.divide(packed, seconds), [0.25, 0.5, 0.75])
    return {
        "way": name,
        "seconds": median,
        "seconds_low": low,
        "seconds_high": high,
        "packed_over_this": ratio,
        "packed_over_this_low": ratio_low,
        "packed_over_this_high": ratio_high,
        "forward_passes": cost.forward_passes,
        "computed_tokens": cost.computed_tokens,
        "reused_tokens": cost.reused_tokens,
        "flops": cost.flops,
        "share_of_matmul_rate": cost.flops / median / rate,
        "peak_memory_bytes": cost.peak_memory_bytes,
    }


def exponents(rows: pd.DataFrame) -> pd.DataFrame:
    """Fitted exponents of seconds, tokens and FLOPs in prompt tokens and in sources, per way.

    Least squares of log cost = a + b log(prompt tokens) + c log(sources). Predicted for tokens:
    deletion b = 1, c = 1 (every ablation computes a share of the prompt); masking b < 1, towards 0
    for many sources, because only the one whole pass grows with the prompt.
    """
    fits = []
    for name, group in rows.groupby("way", sort=False):
        if group["prompt_tokens"].nunique() < 2 or group["sources"].nunique() < 2:
            continue
        design = np.column_stack(
            [np.ones(len(group)), np.log(group["prompt_tokens"]), np.log(group["sources"])]
        )
        fit: dict[str, object] = {"way": name, "cells": len(group)}
        for cost in ("seconds", "computed_tokens", "flops"):
            _, in_tokens, in_sources = np.linalg.lstsq(design, np.log(group[cost]), rcond=None)[0]
            fit |= {f"{cost}^tokens": in_tokens, f"{cost}^sources": in_sources}
        fits.append(fit)
    return pd.DataFrame(fits)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Seconds against prompt tokens, one panel per number of sources, log-log."""
    counts = sorted(rows["sources"].unique())
    figure = Figure(figsize=(4 * len(counts), 4), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for panel, num_sources in zip(panels, counts, strict=True):
        for name, group in rows[rows["sources"] == num_sources].groupby("way", sort=False):
            spread = [
                group["seconds"] - group["seconds_low"],
                group["seconds_high"] - group["seconds"],
            ]
            panel.errorbar(group["prompt_tokens"], group["seconds"], spread, marker="o", label=name)
        panel.set(
            xscale="log", yscale="log", xlabel="prompt tokens", title=f"{num_sources} sources"
        )
    panels[0].set_ylabel("seconds per example")
    panels[-1].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def write(rows: pd.DataFrame, options: argparse.Namespace) -> None:
    """Table, fits, figure and circumstances into the output folder."""
    options.output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.output / "benchmark.csv", index=False)
    commit, is_dirty = git_state(Path(__file__).parent)
    circumstances = (
        f"{hardware(None)}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit "
        f"{commit}{' with changes' if is_dirty else ''}, {date.today().isoformat()}"
    )
    shown = rows.drop(columns=["flops", "peak_memory_bytes"])
    fits = exponents(rows)
    parts = ["# Ways to score all ablations", circumstances, shown.to_markdown(index=False)]
    if len(fits):
        parts += ["## Fitted exponents", fits.to_markdown(index=False)]
    (options.output / "benchmark.md").write_text("\n\n".join(parts) + "\n")
    draw(rows, options.output / "benchmark.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[300, 600, 1200])
    parser.add_argument("--sources", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, default=60.0, help="per way, cell and round")
    parser.add_argument("--tokens-per-second", type=float, default=500.0, help="for that judgement")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    options = parser.parse_args(arguments)
    disable_progress_bar()
    set_threads(options.threads)
    write(measure(options, Console()), options)
    print(options.output / "benchmark.md")


if __name__ == "__main__":
    main()
