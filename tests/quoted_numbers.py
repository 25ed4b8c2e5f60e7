"""Figures that a page quotes, each held to the cell of a table that it is from.

A block is a paragraph, a bullet, or a row of a Markdown table. Its links name its tables; without
any they are those of the first block under its heading that has some. Behind a link are the CSV of
the page's name, where there is one, and the tables on the page. A comment in the block names the
cells of its figures, in the order of reading:

    - **Proxy LOO** keeps 0.924 [0.836, 0.988] at 6.40× ([table](pair/tables/curve.md)).
      <!-- proxy_loo: average_precision, flops_saving -->

    ROWS: COLUMNS; ROWS: COLUMNS     `a, b: x, y` is a's x, a's y, b's x, b's y
    squad, qasper & loo: speedup     the row that holds both texts, for each of the two data sets
    qasper: rows                     how many rows hold the text
    loo: 1/predicted                 the reciprocal of a cell
    page: 595 pairs                  a phrase with one figure that stands on a linked page
    setting: 16 passes               no measurement, for the reason of this word in GIVEN

Commas part alternatives: a text that has one stands in double quotes. Where a table has a column
`dataset` and none is named, it is `all`. A comment on its own above a table is that of each of its
rows that has figures and no comment, `$` being the row's first cell.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd

# Figures without a cell: a block lists the phrases under one of these words,
GIVEN = {
    "setting": "stands in the configuration of the run, or in a file that it names",
    "aim": "was set before the run",
    "paper": "is the paper's",
}
# and these may stand anywhere.
TIME_OF_A_RUN = r"\d[\d+ ]* \| [0-9a-f]{7} \| \d{4}-\d\d-\d\d \|"
ANYWHERE = {
    r"\b(?:135M|0\.5B|1B|1\.5B|3B|8B|70B|72B)\b": "models are named by their size",
    r"\b95%\s+(?:bootstrap\s+)?interval": "what an interval is here",
    TIME_OF_A_RUN: "tests hold minutes, commit and date of a run to its record",
    r"\bPython 3\.11\b|\battribot, 2026\b": "a version, and a year to cite",
}
# What is no prose: fenced code; code, links that are named after a file, targets, comments.
FENCE = re.compile(r"^```.*?^```$", flags=re.S | re.M)
HIDDEN = re.compile(r"`[^`]*`|\[[\w.-]+\.\w+\]\([^)]*\)|(?<=\])\([^)]*\)|<!--.*?-->", flags=re.S)
COMMENT = re.compile(r"<!--(.*?)-->", flags=re.S)
LINK = re.compile(r"\]\(([^)#\s]+)\)")
NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
# A number, not within a name such as BM25 or Coder-1.5B, and what is glued to it; an interval.
FIGURE = re.compile(rf"(?<![\w./])(?<![^\W\d_]-)({NUMBER})(×|%|\w*)")
INTERVAL = re.compile(rf"\[({NUMBER})[×%]?, ({NUMBER})[×%]?\]")


class QuoteError(ValueError):
    """What a block says of its figures cannot be followed."""


@dataclass(frozen=True)
class Figure:
    """A number as it is quoted, its unit, and its interval where one follows it."""

    text: str
    unit: str = ""
    interval: tuple[str, ...] = ()

    def __str__(self) -> str:
        interval = f" [{', '.join(self.interval)}]" if self.interval else ""
        return f"{self.text}{self.unit}{interval}"


@dataclass(frozen=True)
class Cell:
    """Where a number stands, the number, and its interval if it has one."""

    name: str
    value: float
    interval: tuple[float, ...] = ()
    is_saving: bool = False


@dataclass(frozen=True)
class Block:
    """A part of a page without code, what its comment says, and its tables."""

    text: str
    comment: str
    links: tuple[Path, ...]


def blocks(page: str, place: Path, results: Path) -> Iterator[Block]:
    """Parts of a page in the folder `place` that links tables in folders of `results`."""
    of_section: tuple[Path, ...] = ()
    of_rows = ""
    for part in _parts(FENCE.sub("", page)):
        text, comment = _blanked(HIDDEN, part), "; ".join(COMMENT.findall(part))
        paths = dict.fromkeys((place / target).resolve() for target in LINK.findall(part))
        links = tuple(path for path in paths if results in path.parent.parents)
        links = tuple(path for path in links if path.suffix in (".md", ".csv"))
        of_section = () if part.startswith("#") else of_section or links
        if not text.strip():
            of_rows = comment
            continue
        if not part.startswith("|"):
            of_rows = ""
        elif of_rows and not comment and FIGURE.search(text):
            label = text.split("|")[1]
            text, comment = text.replace(label, "", 1), of_rows.replace("$", f'"{label.strip()}"')
        yield Block(text, comment, links or of_section)


def problems(block: Block, phrases: Sequence[str] = ()) -> list[str]:
    """What is wrong with the figures of a block; nothing where each is that of its cell.

    phrases: those that a test of their own holds to the records.
    """
    text = _blanked(re.compile("|".join([*ANYWHERE, *map(_pattern, phrases)])), block.text)
    expected: list[Cell | Figure] = []
    try:
        for names, values in _entries(block.comment):
            if names in GIVEN:
                text = _without(values, text)
            elif names == "page":
                expected += [_figure_on_page(phrase, block.links) for phrase in values]
            else:
                rows = itertools.product(*map(_alternatives, names.split("&")))
                cells = itertools.product(rows, values)
                expected += [_cell(row, column, block.links) for row, column in cells]
        pairs = itertools.zip_longest(read_figures(text), expected)
        return [problem for figure, cell in pairs if (problem := _difference(figure, cell))]
    except QuoteError as error:
        return [str(error)]


def _parts(page: str) -> Iterator[str]:
    """Paragraphs, headings, bullets and rows of tables."""
    for paragraph in re.split(r"\n\s*\n", page):
        yield from re.split(r"\n(?=[|#-])", paragraph.strip("\n"))


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: re.sub(r"\S", " ", match[0]), text)


def _pattern(phrase: str) -> str:
    """The phrase as whole words, wherever its lines break."""
    return r"(?<!\w)" + r"\s+".join(map(re.escape, phrase.split())) + r"(?!\w)"


def _without(phrases: Sequence[str], text: str) -> str:
    for phrase in phrases:
        text, found = re.subn(_pattern(phrase), " ", text, count=1)
        if not found:
            raise QuoteError(f"{phrase!r} does not stand in the text")
    return text


def _entries(comment: str) -> Iterator[tuple[str, list[str]]]:
    for entry in filter(str.strip, " ".join(comment.split()).split(";")):
        names, colon, values = entry.partition(":")
        if not colon:
            raise QuoteError(f"{entry.strip()!r}: expected `ROWS: COLUMNS`")
        yield names.strip(), _alternatives(values)


def _alternatives(text: str) -> list[str]:
    return [each.strip() for each in next(csv.reader([text.strip()], skipinitialspace=True))]


def read_figures(text: str) -> Iterator[Figure]:
    """Figures in the order of reading; an interval belongs to the figure before it."""
    figure = None
    for match in re.finditer(f"{INTERVAL.pattern}|{FIGURE.pattern}", text):
        low, high, value, unit = match.groups()
        if value is None:
            if figure is None or figure.interval:
                raise QuoteError(f"the interval {match[0]} has no number of its own before it")
            figure = replace(figure, interval=(low, high))
        else:
            if figure is not None:
                yield figure
            figure = Figure(value, unit)
    if figure is not None:
        yield figure


def _figure_on_page(phrase: str, links: Sequence[Path]) -> Figure:
    figures = list(read_figures(phrase))
    if len(figures) != 1 or not any(
        re.search(_pattern(phrase), link.read_text(encoding="utf-8")) for link in links
    ):
        raise QuoteError(f"{phrase!r} does not stand on a linked page, or has not one figure")
    return figures[0]


@cache
def _cell(words: tuple[str, ...], column: str, links: tuple[Path, ...]) -> Cell:
    """The cell in the first linked table with such a row and column."""
    for link in links:
        for table in _tables(link):
            if (cell := table.find(words, column)) is not None:
                return cell
    names = ", ".join(link.name for link in links) or "nothing, for no table is linked"
    raise QuoteError(f"there is no {' & '.join(words)}: {column} in {names}")


@cache
def _tables(link: Path) -> list[Table]:
    stored = link.with_suffix(".csv")
    frames = [pd.read_csv(stored)] if stored.is_file() else []
    if link.suffix == ".md":
        frames += _markdown_tables(link.read_text(encoding="utf-8"))
    return [Table("/".join(link.parts[-3:]), frame) for frame in frames]


def _markdown_tables(page: str) -> Iterator[pd.DataFrame]:
    """Tables of a page as texts; arrows and brackets behind the name of a column are dropped."""
    for table in re.findall(r"(?:^\|.*\|\n)+", page, flags=re.M):
        head, _, *rows = [line.strip("|").split("|") for line in table.splitlines()]
        names = [re.sub(r"(\s*[↑↓]|\s*\[.*?\])*$", "", name.strip()) for name in head]
        yield pd.DataFrame([[cell.strip() for cell in row] for row in rows], columns=names)


class Table:
    """Rows that are found by the texts in them."""

    def __init__(self, name: str, frame: pd.DataFrame) -> None:
        self._name = name
        self._frame = frame
        self._texts = [set(row) for row in frame.select_dtypes(exclude="float").astype(str).values]
        self._datasets = set(frame["dataset"]) if "dataset" in frame else set()

    def find(self, words: Sequence[str], column: str) -> Cell | None:
        """The cell in the one row that holds the words; None without such a row or column."""
        wanted = set(words)
        if "all" in self._datasets and not self._datasets & wanted:
            wanted.add("all")
        rows = [i for i, texts in enumerate(self._texts) if wanted <= texts]
        name = f"{' & '.join(words)}: {column} in {self._name}"
        stored = column.removeprefix("1/")
        if rows and column == "rows":
            return Cell(name, len(rows))
        if not rows or stored not in self._frame:
            return None
        if len(rows) > 1:
            raise QuoteError(f"{name}: expected one row with these words, found {len(rows)}")
        value, *interval = _numbers(self._frame.iloc[rows[0]], stored)
        if stored != column:
            value, interval = 1 / value, []
        return Cell(name, value, tuple(interval), bool(re.search("speedup|saving|^1/", column)))


def _numbers(row: pd.Series, column: str) -> list[float]:
    """The value of a cell, and the ends of its interval if it has one."""
    if isinstance(row[column], str):
        figure = next(read_figures(row[column]), None)
        if figure is None:
            raise QuoteError(f"{column} is {row[column]!r}, which has no number")
        share = 100 if figure.unit == "%" else 1
        texts = (figure.text, *figure.interval)
        return [float(text.replace(",", "")) / share for text in texts]
    ends = (f"{column}_low", f"{column}_high")
    return [float(row[name]) for name in (column, *ends) if name in row]


def _difference(figure: Figure | None, cell: Cell | Figure | None) -> str:
    """Why the figure is not that of the cell or of the page; empty where it is."""
    if figure is None or cell is None:
        return f"{figure} has no cell" if figure else f"nothing is quoted for {cell}"
    if isinstance(cell, Figure):
        return "" if figure == cell else f"{figure}: the page says {cell}"
    if figure.interval and not cell.interval:
        return f"{figure}: there is no interval of {cell.name}"
    if figure.unit not in ("", "×", "%") or (figure.unit == "×") != cell.is_saving:
        return f"{figure}: × stands behind savings and speedups alone, and this is {cell.name}"
    scale = 100 if figure.unit == "%" else 1
    for text, value in zip(
        (figure.text, *figure.interval), (cell.value, *cell.interval), strict=False
    ):
        rounded = f"{value * scale:.{len(text.partition('.')[2])}f}"
        if text.replace(",", "") != rounded:
            return f"{figure}: {text} is {rounded} in {cell.name}"
    return ""
