"""Write docs/methods.md: every method, what it says of itself, and its row of the comparison.

    python -m experiments.methods_page [--output docs/methods.md]
    python -m experiments.methods_page --results results/first_results --methods standard

Names come from `attribot.explain.methods`, descriptions from the docstrings of the classes that
conf/attributor names and from the heads of conf/pruning and conf/keep, numbers from the table of
the comparison, where it has been run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import yaml

from attribot.attributors.two_stage import TwoStage
from attribot.errors import AttribotError
from attribot.report.tables import MISSING, markdown_table
from experiments.methods_page.comparison import COLUMNS, Comparison, read_comparison
from experiments.methods_page.descriptions import (
    QUANTITIES,
    Description,
    description_of,
    head_of,
    methods_of,
)
from experiments.methods_page.links import CONF, REPOSITORY, Links
from experiments.methods_page.names import names_section

IN_OVERVIEW = ("average_precision", "flops_saving", "forward_passes")
ABSENT = "not in the comparison"

HEAD = """\
# Methods

What `method=` takes, and how `auto` chooses; then what each measures, its formula, its source, and
how well it stands in for leave-one-out."""

LIMITS = """\
## What leave-one-out cannot tell

It is the quantity that all of this approximates and is judged by, and has limits of its own:

- It is blind to redundancy: of two sources that say the same, each gets about zero.
- It measures necessity, not sufficiency: what is lost without a source, not what the source brings.
- It does not tell in-context from in-weights knowledge: a source gets nothing for what the model
  would have said anyway.

So a method that measures another quantity is not wrong where it disagrees with leave-one-out: the
comparison says how well it stands in for it."""

RESULTS_NOTE = """\
Every class of method, the names above being some of them with settings.
mAP and Spearman: agreement with exact leave-one-out of the target, the former in recovering its
outliers. Gold AP: agreement with annotated evidence. FLOP saving: over naive leave-one-out. Passes:
forward passes per example. ↑ higher is better, ↓ lower is better; brackets: 95% bootstrap intervals
over examples."""

COMPOSITES = """\
Options of `pruning=`; `attributor=` says what rescores the survivors, leave-one-out by default."""

FOOT = """\
## How this page is written

By `python -m experiments.methods_page`, which `make tables` runs, from the names in
`explain.methods`, the docstrings of the classes, the heads of the options and the table of the
comparison: correct it there. {guide} says how a method gets here."""

KEEPS = "Which units survive a screen: options of `keep@pruning.method.keep=`."


def methods_page(comparison: Comparison, links: Links, names: Sequence[str]) -> str:
    """The page as Markdown.

    names: see `names_section`.

    Raises:
        InvalidInputError: a docstring lacks a part.
    """
    options = methods_of(CONF / "attributor")
    order = list(QUANTITIES)
    described = sorted(
        ((description_of(method), method) for method in options),
        key=lambda pair: (order.index(pair[0].quantity), pair[1].__name__),
    )
    parts = [
        HEAD,
        *names,
        LIMITS,
        "## What is measured",
        _quantity_table(),
        "## Overview",
        f"{RESULTS_NOTE} {comparison.note}",
        _overview(described, options, comparison),
    ]
    shown = ""
    for description, method in described:
        if description.quantity != shown:
            shown = description.quantity
            parts.append(f"## Measuring {shown}")
        names = ", ".join(
            links.to_option("attributor", option, "attributor") for option in options[method]
        )
        rows = comparison.rows(comparison.by_class.get(method, []))
        parts += [*_section(description, method, links, names), _results_table(rows)]
    parts += _composites(comparison, links)
    parts.append(FOOT.format(guide=links.to_page("add_a_method.md", "Add a method")))
    return "\n\n".join(parts) + "\n"


def _quantity_table() -> str:
    return markdown_table(
        pd.DataFrame({"Quantity": list(QUANTITIES), "Meaning": list(QUANTITIES.values())})
    )


def _overview(
    described: Sequence[tuple[Description, type]],
    options: dict[type, list[str]],
    comparison: Comparison,
) -> str:
    """A line per method; of its rows that which is named as an option, or else the first."""
    columns = [column for column in COLUMNS if column.name in IN_OVERVIEW]
    lines = []
    for description, method in described:
        rows = comparison.rows(comparison.by_class.get(method, []))
        own = [name for name in rows.index if name in options[method]] or list(rows.index)
        cells = [ABSENT, *[MISSING] * (len(columns) - 1)]
        if own:
            cells = [column.cell(rows.loc[own[0]]) for column in columns]
        line = {
            "Measures": description.quantity,
            "Method": f"[{method.__name__}](#{method.__name__.lower()})",
            "Use": description.use,
        }
        headings = [column.heading for column in columns]
        lines.append(line | dict(zip(headings, cells, strict=True)))
    return markdown_table(pd.DataFrame(lines))


def _section(description: Description, method: type, links: Links, options: str) -> list[str]:
    """Heading, summary, formula and the other parts."""
    return [
        f"### {method.__name__}",
        description.summary,
        f"```text\n{description.formula}\n```",
        f"- **Option**: {options}; class in {links.to_class(method)}\n"
        f"- **Measures**: {description.measures}\n"
        f"- **Use**: {description.use}\n"
        f"- **Cost**: {description.cost}\n"
        f"- **Source**: {description.source}",
    ]


def _results_table(rows: pd.DataFrame) -> str:
    if rows.empty:
        return f"{ABSENT.capitalize()}."
    return markdown_table(pd.DataFrame(_cells(rows)))


def _cells(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    for _, row in rows.iterrows():
        numbers = {column.heading: column.cell(row) for column in COLUMNS}
        yield {"In the comparison": row["label"], **numbers}


def _composites(comparison: Comparison, links: Links) -> list[str]:
    """Options that screen before they rescore, and the rules that say what survives."""
    lines: list[dict[str, str]] = []
    for path in sorted((CONF / "pruning").glob("*.yaml")):
        if not isinstance(yaml.safe_load(path.read_text("utf-8"))["method"], dict):
            continue  # `none` is the attributor itself
        shown = {
            "Option": links.to_option("pruning", path.stem, "pruning"),
            "What it does": head_of(path),
        }
        rows = comparison.rows(comparison.by_pruning.get(path.stem, []))
        absent = {"In the comparison": ABSENT, **{column.heading: MISSING for column in COLUMNS}}
        lines += [shown | cells for cells in list(_cells(rows)) or [absent]]
    keeps = [
        {
            "Option": links.to(path, f"`{path.stem}`"),
            "What survives": head_of(path),
        }
        for path in sorted((CONF / "keep").glob("*.yaml"))
    ]
    names = links.to(CONF / "pruning", "conf/pruning")
    return [
        "## Composites",
        *_section(description_of(TwoStage), TwoStage, links, names),
        COMPOSITES,
        markdown_table(pd.DataFrame(lines)),
        KEEPS,
        markdown_table(pd.DataFrame(keeps)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.methods_page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "methods.md")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "results" / "comparison")
    parser.add_argument("--methods", default="comparison", help="option of conf/methods")
    options = parser.parse_args(arguments)
    links = Links(options.output.resolve().parent)
    try:
        comparison = read_comparison(options.results, options.methods, links)
        text = methods_page(comparison, links, names_section(links))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")
    options.output.write_text(text, encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    main()
