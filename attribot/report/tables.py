"""Tables of the summary for people: Markdown, LaTeX and, with every number, CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from attribot.evaluation.evaluator import metric_direction
from attribot.manifest import Manifest, MethodInfo

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
MISSING = "–"
MOST_OF_NOISE = 1000
# Metrics that tables show, with their headings; `recall@3` goes by `recall`. The CSV has all.
HEADINGS = {
    "average_precision": "mAP",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "top1_hit": "Top-1 hit",
    "recall": "Recall",
    "log_prob_drop": "Log-prob drop [nats]",
    "lds": "LDS",
    "gold_average_precision": "Gold AP",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: where its numbers stand in the summary and how they are printed."""

    name: str
    heading: str
    format: Callable[[float], str] = "{:.3f}".format

    def cell(self, row: pd.Series) -> str:
        """The number, and its interval in brackets where there is one."""
        value = row[self.name]
        if pd.isna(value):
            return MISSING
        low, high = (row.get(f"{self.name}_{end}", np.nan) for end in ("low", "high"))
        if pd.isna(low):
            return self.format(value)
        return f"{self.format(value)} [{self.format(low)}, {self.format(high)}]"


@dataclass(frozen=True)
class SpeedupColumn(Column):
    """Speedups; without any model the denominator is a timer's noise, and only its size is told."""

    def cell(self, row: pd.Series) -> str:
        if row["forward_passes"] == 0 and row[self.name] > MOST_OF_NOISE:
            return f">{MOST_OF_NOISE}×"
        return super().cell(row)


def results_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Quality, speedup and saving as text, one row per row of the summary."""
    columns = [
        Column("num_examples", "Examples", "{:.0f}".format),
        *_metric_columns(summary, ("average_precision",)),
        SpeedupColumn("speedup", "Speedup ↑", "{:.2f}×".format),
        Column("token_saving", "Token saving ↑", "{:.2f}×".format),
        *_metric_columns(summary, [name for name in HEADINGS if name != "average_precision"]),
    ]
    return _as_text(summary, columns)


def cost_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Cost per example as text, hardware-independent counters first."""
    columns = [
        Column("flops_saving", "FLOP saving ↑", "{:.2f}×".format),
        Column("flops", "FLOPs ↓", "{:.3g}".format),
        Column("forward_passes", "Forward passes ↓", "{:.1f}".format),
        Column("computed_tokens", "Computed tokens ↓", "{:,.0f}".format),
        Column("reused_tokens", "Reused tokens", "{:,.0f}".format),
        Column("wall_seconds", "Seconds ↓", "{:.3g}".format),
        Column("peak_memory_bytes", "Peak memory [MiB] ↓", _mebibytes),
    ]
    return _as_text(summary, columns)


def _mebibytes(size: float) -> str:
    """Zero bytes stand for a memory that was not measured."""
    return f"{size / 2**20:,.0f}" if size else MISSING


def _metric_columns(summary: pd.DataFrame, shown: Sequence[str]) -> list[Column]:
    """Columns of the metrics that the summary has, in the order of `shown`."""
    metrics = [name.removesuffix("_low") for name in summary.columns if name.endswith("_low")]
    columns = []
    for base in shown:
        for name in metrics:
            if name == base or name.startswith(f"{base}@"):
                heading = HEADINGS[base] + name.removeprefix(base) + ARROWS[metric_direction(base)]
                columns.append(Column(name, heading))
    return columns


def _as_text(summary: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    columns = [column for column in columns if column.name in summary.columns]
    frame = pd.DataFrame({"Method": summary["method"]})
    if summary["dataset"].nunique() > 1:
        frame.insert(0, "Data set", summary["dataset"])
    for column in columns:
        frame[column.heading] = [column.cell(row) for _, row in summary.iterrows()]
    return frame


def notes(summary: pd.DataFrame, manifest: Manifest) -> list[str]:
    """What a reader must know to read the tables, one sentence or two each."""
    lines = [
        "Means over examples; brackets: 95% bootstrap intervals over examples. ↑ higher is better, "
        "↓ lower is better."
    ]
    if "without_outliers" in summary.columns:
        shares = summary.groupby("dataset", sort=False)["without_outliers"].first()
        lines += [
            f"{dataset}: {share:.1%} of the examples have no outlier among the exact scores."
            for dataset, share in shares.items()
        ]
    for name, title in (("average_precision", "mAP"), ("speedup", "Speedup")):
        counts = sorted({*summary.get(f"{name}_count", ())} - {0})
        if counts:
            extent = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
            lines.append(f"{title}: over {extent} examples.")
    if manifest.naive is None:
        lines.append("No naive leave-one-out ran: speedup and savings cannot be told.")
    else:
        lines.append(
            f"Speedup and savings: sums of {manifest.naive} over those of the method, on the "
            "examples that both did, same models and hardware."
        )
        if summary["speedup"].isna().all():
            lines.append(
                "Wall seconds were not measured for each method on its own, so there is no speedup."
            )
        elif (summary["forward_passes"] == 0).any():
            lines.append("Methods of 0 forward passes run no model; their speedup is timing noise.")
    if (summary["kind"] == "exact").any():
        lines.append("Exact methods have a mAP of 1 by definition, up to rounding: see their cost.")
    return [*lines, *_provenance(manifest)]


def _provenance(manifest: Manifest) -> list[str]:
    dropped = [f"{count} for {reason}" for reason, count in manifest.dataset.dropped.items()]
    models = [
        f"{role} {model.name} ({model.dtype}, {model.attn_implementation}, {model.device})"
        for role, model in manifest.models.items()
    ]
    machine = ", ".join(f"{part} {name}" for part, name in manifest.hardware.items() if name)
    commit = (manifest.git_commit or "unknown")[:12] + (
        " with changes" if manifest.is_dirty else ""
    )
    lines = [
        f"Data set {manifest.dataset.name}: {manifest.dataset.num_read} examples read, dropped: "
        f"{', '.join(dropped) or 'none'}.",
        f"Models: {'; '.join(models)}. Machine: {machine}. Commit: {commit}. Seed: "
        f"{manifest.seed}. Run: {manifest.run_id}.",
    ]
    if manifest.resumed:
        lines.append(f"The run was continued {len(manifest.resumed)} times; see manifest.json.")
    if manifest.finished_at is None:
        lines.append("The run is not finished: these are the results so far.")
    return lines


def compared(manifest: Manifest) -> list[tuple[str, MethodInfo]]:
    """Methods that tables have rows for: all but the reference."""
    return [(name, of) for name, of in manifest.methods.items() if name != manifest.reference]


def markdown(summary: pd.DataFrame, manifest: Manifest) -> str:
    """Results, cost, methods and notes as one Markdown text."""
    methods = [f"- `{name}` ({info.kind}): {info.label}" for name, info in compared(manifest)]
    return "\n".join(
        [
            "## Results\n",
            markdown_table(results_table(summary)),
            "\n## Cost per example\n",
            markdown_table(cost_table(summary)),
            "\n## Methods\n",
            *methods,
            "\n## Notes\n",
            *(f"- {note}" for note in notes(summary, manifest)),
            "",
        ]
    )


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    cells = frame.map(lambda cell: cell.replace("|", "\\|")).to_dict("list")
    return tabulate(
        cells, headers="keys", tablefmt="github", showindex=False, disable_numparse=True
    )


def latex(summary: pd.DataFrame) -> str:
    """Two `tabular` environments, results and cost; needs the package booktabs."""
    return "\n".join(_latex_table(table(summary)) for table in (results_table, cost_table))


def _latex_table(frame: pd.DataFrame) -> str:
    style = frame.style.hide(axis="index").format(escape="latex")
    text = style.format_index(escape="latex", axis=1).to_latex(hrules=True)
    signs: dict[str, str | int | None] = {
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "×": r"$\times$",
        MISSING: "--",
    }
    return str(text).translate(str.maketrans(signs))


def write_tables(summary: pd.DataFrame, manifest: Manifest, directory: Path) -> None:
    """Write `curve.md`, `curve.tex` and `curve.csv`, the last with every column of the summary."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "curve.md").write_text(markdown(summary, manifest), encoding="utf-8")
    (directory / "curve.tex").write_text(latex(summary), encoding="utf-8")
    summary.to_csv(directory / "curve.csv", index=False)
