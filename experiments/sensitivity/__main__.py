"""What the choices of the protocol do to the results, from the records of runs.

    python -m experiments.sensitivity RUN_DIR [RUN_DIR ...] --output DIR

Settings of the evaluation (which scores are outliers, ties, pruned sources, ...) are turned one at
a time on the stored scores. Choices that need runs of their own (experiment=protocol_variants) are
compared with the headline's runs where such runs are given, too. Writes `sensitivity.md` and its
tables as CSV. Needs neither torch nor a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from attribot.records import Records, read_records
from attribot.report.tables import MISSING, markdown_table
from experiments.recorded_scores import estimate_text
from experiments.records_command import tables_from_records
from experiments.sensitivity.knobs import knob_table, order_table
from experiments.sensitivity.rebuilt import HEADLINE, precisions
from experiments.sensitivity.runs import by_variant, variant_order_table, variant_table

KNOB_TITLES = {
    "outlier_rule": "Which reference scores are outliers",
    "sign": "Whether negative scores can be outliers",
    "no_outliers": "Examples without outliers",
    "ties": "Tied sources",
    "pruned": "Sources that a method pruned",
}


def build(run_dirs: Sequence[Path], output: Path) -> Path:
    """Write all tables into the folder `output`; returns the path of the text.

    Raises:
        RecordsError: a folder holds no run, no run is of the headline's protocol, runs differ in
            more than the protocol, or stored scores contradict recorded metrics.
    """
    variants = by_variant([read_records(run_dir) for run_dir in run_dirs])
    headline = variants[HEADLINE]
    rebuilt = precisions(headline)
    knobs, order = knob_table(headline, rebuilt), order_table(headline, rebuilt)
    tables = {"evaluation.csv": knobs, "evaluation_order.csv": order}
    sections = list(_evaluation_sections(knobs, order))
    if len(variants) > 1:
        methods, variant_order = variant_table(variants), variant_order_table(variants)
        tables |= {"protocol.csv": methods, "protocol_order.csv": variant_order}
        sections += _protocol_sections(methods, variant_order)
    output.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(output / name, index=False)
    path = output / "sensitivity.md"
    text = "\n".join(
        ["# What the protocol does to the results\n", *sections, *_notes(variants), ""]
    )
    path.write_text(text, encoding="utf-8")
    return path


def _evaluation_sections(knobs: pd.DataFrame, order: pd.DataFrame) -> Iterator[str]:
    """The pooled data sets: whether the order changes, then the mAP knob by knob."""
    dataset = knobs["dataset"].iloc[-1]
    knobs, order = (table[table["dataset"] == dataset] for table in (knobs, order))
    yield "## The order of the methods under other evaluations\n"
    yield _order_text(order, "alternative", "Evaluation") + "\n"
    alternatives = [name for name in knobs["alternative"].unique() if name != HEADLINE]
    for knob, title in KNOB_TITLES.items():
        columns = [name for name in alternatives if name.split("/")[0] == knob]
        if columns:
            yield f"## mAP ↑: {title[0].lower()}{title[1:]}\n"
            yield _knob_text(knobs, columns) + "\n"


def _knob_text(knobs: pd.DataFrame, alternatives: Sequence[str]) -> str:
    """A row per method, a column for the headline and each alternative."""
    by_cell = knobs.set_index(["alternative", "method"])
    lines = [
        {
            "Method": label,
            **{
                name.split("/")[-1]: _precision_text(by_cell.loc[(name, method)])
                for name in (HEADLINE, *alternatives)
            },
        }
        for method, label in knobs[["method", "label"]].drop_duplicates().to_numpy()
    ]
    return markdown_table(pd.DataFrame(lines))


def _precision_text(row: pd.Series) -> str:
    if row["num_undetermined"]:
        return f"{row['least']:.3f} to {row['most']:.3f} (not stored: {row['num_undetermined']})"
    return estimate_text(row, "average_precision")


def _order_text(order: pd.DataFrame, column: str, heading: str) -> str:
    frame = pd.DataFrame(
        {
            heading: order[column],
            "Without outliers": order["without_outliers"].map("{:.1%}".format),
            "Spearman ↑": order["spearman"].map(_number),
            "Kendall ↑": order["kendall"].map(_number),
            "Best": order["best"].replace("", MISSING),
            "Reversed pairs": order["reversed_pairs"].map(str),
            "Clearly": order["clearly_reversed"].map(str),
        }
    )
    if "num_left_out" in order and order["num_left_out"].any():
        frame["Methods left out"] = order["num_left_out"].map(str)
    for name, title in (("num_same", "Same response"), ("num_examples", "Examples")):
        if name in order:
            frame.insert(1, title, order[name].map(str))
    return markdown_table(frame)


def _number(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:.3f}"


def _protocol_sections(methods: pd.DataFrame, order: pd.DataFrame) -> Iterator[str]:
    """The pooled data sets: whether the order changes, then each variant by method."""
    yield "## The order of the methods under other protocols\n"
    last = order.groupby("variant", sort=False).tail(1)
    yield _order_text(last, "variant", "Protocol") + "\n"
    for variant, rows in methods.groupby("variant", sort=False):
        if variant == HEADLINE:
            continue
        rows = rows[rows["dataset"] == rows["dataset"].iloc[-1]]
        texts = {
            "mAP ↑": [estimate_text(row, "average_precision") for _, row in rows.iterrows()],
            "Change of mAP": [estimate_text(row, "difference", "+") for _, row in rows.iterrows()],
            "Agreement ↑": [estimate_text(row, "agreement") for _, row in rows.iterrows()],
        }
        yield f"## {variant}\n"
        yield markdown_table(pd.DataFrame({"Method": rows["label"], **texts})) + "\n"
    yield (
        "- Change: paired, on the examples of both runs. Agreement: Spearman of a method's ranking "
        "with its own under the headline, over the examples of equal response and sources.\n"
    )


def _notes(variants: Mapping[str, Records]) -> Iterator[str]:
    manifest = variants[HEADLINE].manifest
    yield (
        "- Brackets: 95% bootstrap intervals over questions. One choice is changed at a time; all "
        "else is the headline's. All data sets together; the CSV files have each of them."
    )
    yield (
        "- Order: of the mAP of all methods but the exact ones, Spearman and Kendall with the "
        "headline's. Reversed pairs are in another order than under the headline; clearly, if the "
        "interval of their paired difference excludes 0 in both."
    )
    yield (
        "- a to b (not stored: n): two-sided rules rank by the size of scores, and records hold "
        "the order but not the size of what screens gave to pruned sources. Of n examples the mAP "
        "depends on it; it lies between a and b, and the method is left out of the order."
    )
    models = "; ".join(f"{role} {model.name}" for role, model in manifest.models.items())
    yield f"- Models: {models}. Data: {manifest.dataset.name}."
    for variant, records in variants.items():
        commit = (records.manifest.git_commit or "unknown")[:12]
        yield f"- Runs of {variant}: {records.manifest.run_id}, commit {commit}."


def main(arguments: Sequence[str] | None = None) -> None:
    tables_from_records("experiments.sensitivity", __doc__, build, arguments)


if __name__ == "__main__":
    main()
