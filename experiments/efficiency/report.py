"""The text and the figure of the efficiency analysis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.efficiency.compositions import HEADLINE, PARAGRAPHS, SENTENCES
from experiments.efficiency.counting import SyntheticPrompt
from experiments.efficiency.reuse import record_table, shape_table
from experiments.efficiency.tables import FLOOR, GOAL, H200, markdown_table, size_of

SHOWN_TARGET, SHOWN_PROXY = "llama-3.1-70b", "llama-3.2-1b"
MARKERS = ("o", "s", "^")

HEAD = f"""\
# Predicted against counted cost

`python -m experiments.efficiency results/efficiency` rebuilds this page, without any weights: the
attributors run as they are, on made-up text of one-token words, under scorers that plan instead of
computing, and FLOPs follow from the models' geometries. Cost is relative to naive leave-one-out of
the target.

- **formula**: the paper's, for long contexts: 1/2 for prefix reuse, 1/H + (k/G)^2 for hierarchical,
  the ratio of all parameters for a proxy, + (k/n)^2 for pruning; factors multiply. k is
  {PARAGRAPHS} paragraphs or {SENTENCES} sentences. Masks, which are ours, have none.
- **in tokens**: computed tokens times parameters, with template, query, response and the passes
  over the full prompt, all of which the formula leaves out.
- **counted**: FLOPs of the planned work. Embeddings cost nothing and output weights only where
  logits are wanted, so small models are cheaper than their parameters say; attention is counted.
- **bound by**: the largest part of the counted FLOPs and its share. A stage's first pass over its
  prompt is a part of its own.

Survivors of a screen are spread evenly over the context. "After generation" takes over the states
that generating the response has left in the target. The prompts:"""

BOUNDS = "What bounds the compositions in which the target scores anything:"
LIMITS: Mapping[str, str] = {
    FLOOR: "the target reads the whole prompt once and does nothing else",
    "mask, query only, after generation": "the prompt's states are there, and sentences are hidden "
    "from the target one by one",
    "BM25, then 5 in the pruned context": f"the target rescores {SENTENCES} sentences in the "
    "pruned context, and the screen costs nothing",
}

GENERATION_NOTE = f"""\
FLOPs of attribution over FLOPs of generating the response once: generating computes prompt and
response once, so a ratio of 1 is one pass of the target. Decoding at batch 1 is not bound by
arithmetic but by reading all weights for each token. The ratios of seconds compare lower bounds on
a machine with the arithmetic and the bandwidth of one {H200.name}
({H200.flops_per_second / 1e12:.0f} TFLOP/s, dense in bfloat16, and
{H200.bytes_per_second / 1e12:.1f} TB/s): generation with its reading of weights, attribution,
whose packed passes hold hundreds of tokens, with its arithmetic alone. They are estimates, and
flatter small proxies, whose passes are bound by other things than arithmetic."""

REUSE_NOTE = """\
Computed tokens of prefix reuse over naive. Of the prompts above, where the sum over sources of what
follows them, query and response included, is exact:"""

RECORDS_NOTE = """\
In the recorded first results (SmolLM2-135M-Instruct, packed scoring): means over examples, 95%
bootstrap intervals, median number of sources. The second formula knows template, query and response
of each prompt and the place of each source, in chars. The last column has the mean deviation of
counted tokens from either formula."""


def page(
    prompts: Sequence[SyntheticPrompt], rows: pd.DataFrame, ratios: pd.DataFrame, figure: str
) -> str:
    """The whole analysis as Markdown.

    rows: of `efficiency_rows`. ratios: of `recorded_ratios`. figure: file name.
    """
    shown = _shown(rows)
    pair = f"{size_of(SHOWN_TARGET)} with {size_of(SHOWN_PROXY)}"
    names = [prompt.name for prompt in prompts]
    parts = [
        HEAD,
        _prompt_table(prompts),
        f"## Which composition reaches {GOAL:.0f}×",
        _reaching_table(rows),
        BOUNDS,
        _limit_table(rows),
        f"## {pair}",
        f"![Speedups of the compositions, {pair}]({figure})",
        *(part for name in names for part in (f"### {name}", _full_table(shown, name))),
        "## Every pair",
        f"Speedups counted; **bold** from {GOAL:.0f}× on.",
        *(part for name in names for part in (f"### {name}: pairs", _pair_table(rows, name))),
        "## Attribution against generation of the same response",
        GENERATION_NOTE,
        f"{pair}:",
        _generation_table(shown[shown["composition"] != FLOOR], "composition"),
        f"{HEADLINE}, every pair:",
        _generation_table(rows[rows["composition"] == HEADLINE], "pair"),
        "## Prefix reuse",
        REUSE_NOTE,
        shape_table(prompts, rows),
        RECORDS_NOTE,
        record_table(ratios),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the pair that is shown in full."""
    return rows[(rows["target"] == SHOWN_TARGET) & rows["proxy"].isin(["", SHOWN_PROXY])]


def _prompt_table(prompts: Sequence[SyntheticPrompt]) -> str:
    return markdown_table(
        [
            {
                "data set": prompt.name,
                "sources n": str(prompt.num_sources),
                "paragraphs G": str(prompt.num_groups),
                "tokens per source T": str(prompt.tokens_per_source),
                "tokens before the context": str(prompt.head_tokens),
                "of the query": str(prompt.query_tokens),
                "of the response": str(prompt.response_tokens),
            }
            for prompt in prompts
        ]
    )


def _pair(row: Mapping[Any, Any]) -> str:
    """ "70B/1B", or "70B" for the target alone."""
    sizes = [size_of(row[role]) for role in ("target", "proxy") if row[role]]
    return "/".join(sizes)


def _reaching_table(rows: pd.DataFrame) -> str:
    """Compositions that reach the goal: with which pairs, and what bounds them there."""
    order = list(dict.fromkeys(_pair(row) for row in rows.to_dict("records")))
    num_datasets = rows["dataset"].nunique()
    found: dict[str, list[dict[Any, Any]]] = {name: [] for name in rows["composition"]}
    for row in rows[rows["reaches_300"]].to_dict("records"):
        found[row["composition"]].append(row | {"pair": _pair(row)})
    shown = []
    for name, group in found.items():
        if not group:
            continue
        pairs = []
        for pair in order:
            datasets = [row["dataset"] for row in group if row["pair"] == pair]
            if datasets:
                is_everywhere = len(datasets) == num_datasets
                pairs.append(pair if is_everywhere else f"{pair} ({', '.join(datasets)})")
        speedups = [row["speedup"] for row in group]
        shown.append(
            {
                "composition": name,
                "pairs (data sets, where not all)": ", ".join(pairs),
                "speedup": f"{min(speedups):.0f}× to {max(speedups):.0f}×",
                "bound by": "; ".join(sorted({row["bound_by"] for row in group})),
            }
        )
    return markdown_table(shown) if shown else "None."


def _limit_table(rows: pd.DataFrame) -> str:
    """Speedups at which the target's own passes end, by target and data set."""
    shown = []
    for name, said in LIMITS.items():
        cells = {
            f"{_pair(row)}, {row['dataset']}": _speedup(row["speedup"])
            for row in rows[rows["composition"] == name].to_dict("records")
        }
        shown.append({"at best": said, **dict(sorted(cells.items(), key=_target_first))})
    return markdown_table(shown)


def _target_first(cell: tuple[str, str]) -> str:
    return cell[0].split(",")[0]


def _full_table(rows: pd.DataFrame, dataset: str) -> str:
    return markdown_table(
        [
            {
                "composition": row["composition"],
                "from": row["source"],
                "formula": _or_dash(row["predicted"], _cost),
                "in tokens": _cost(row["predicted_in_tokens"]),
                "counted": _cost(row["counted"]),
                "formula / counted": _or_dash(row["predicted_over_counted"], "{:.2f}".format),
                "speedup": _speedup(row["speedup"]),
                f"{GOAL:.0f}×?": "yes" if row["reaches_300"] else "no",
                "bound by": f"{row['bound_by']} ({row['bound_share']:.0%})",
            }
            for row in rows[rows["dataset"] == dataset].to_dict("records")
        ]
    )


def _pair_table(rows: pd.DataFrame, dataset: str) -> str:
    """Compositions with a proxy, a column per pair."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows[(rows["dataset"] == dataset) & (rows["proxy"] != "")].to_dict("records"):
        line = lines.setdefault(row["composition"], {"composition": row["composition"]})
        cell = _speedup(row["speedup"])
        line[_pair(row)] = f"**{cell}**" if row["reaches_300"] else cell
    return markdown_table(list(lines.values()))


def _generation_table(rows: pd.DataFrame, by: str) -> str:
    """Attribution over generation by data set: FLOPs, then seconds."""
    lines: dict[str, dict[str, str]] = {}
    for unit in ("flops", "seconds"):
        for row in rows.to_dict("records"):
            name = row["composition"] if by == "composition" else _pair(row)
            line = lines.setdefault(name, {by: name})
            heading = f"{'FLOPs' if unit == 'flops' else unit}, {row['dataset']}"
            line[heading] = _cost(row[f"over_generation_{unit}"])
    return markdown_table(list(lines.values()))


def _cost(value: float) -> str:
    """Three digits, two decimals at least, never as a power of ten."""
    return f"{value:.{max(2, 2 - math.floor(math.log10(value)))}f}"


def _speedup(value: float) -> str:
    return f"{value:.1f}×" if value < 100 else f"{value:.0f}×"


def _or_dash(value: float, shown: Callable[[float], str]) -> str:
    return "–" if math.isnan(value) else shown(value)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Speedups of one pair, counted and by formula, with the goal; equal rows give equal bytes."""
    rows = _shown(rows)
    names = [name for name in rows["composition"].unique() if name != FLOOR]
    figure = Figure(figsize=(9, 0.32 * len(names) + 1.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, (dataset, group) in enumerate(rows.groupby("dataset", sort=False)):
        found = group.set_index("composition").loc[names]
        # Data sets stand one above the other within a line, or markers would hide each other.
        heights = [len(names) - 1 - i + 0.22 * (1 - number) for i in range(len(names))]
        look: dict[str, Any] = {
            "s": 26,
            "marker": MARKERS[number % len(MARKERS)],
            "edgecolor": f"C{number}",
        }
        axes.scatter(
            found["speedup"], heights, facecolor=f"C{number}", label=f"{dataset}, counted", **look
        )
        axes.scatter(
            1 / found["predicted"], heights, facecolor="none", label=f"{dataset}, formula", **look
        )
    axes.axvline(GOAL, color="#444444", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xscale("log")
    axes.set_xlabel("times fewer FLOPs than naive leave-one-out of the target (log scale)")
    title = f"{size_of(SHOWN_TARGET)} target, {size_of(SHOWN_PROXY)} proxy; dashed: {GOAL:.0f}×"
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, metadata={"Software": None})
