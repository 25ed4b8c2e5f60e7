"""Results as a table and as a heat map."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from attribot.explain.rendering import table
from attribot.explain.result import SCHEMA_VERSION, AttributionResult
from tests.report.page_results import RESPONSE, SENTENCES, attention, result

HOSTILE = "<b>One</b> & two, <i>because</i> so."
LONG = "https://example.org/" + "a-very-long-address/" * 12


def read(of: dict[str, Any]) -> AttributionResult:
    return AttributionResult.from_dict({"schema_version": SCHEMA_VERSION, **of})


def rows_of(text: str) -> list[list[str]]:
    """Words of the table: rank, score, source, document and text."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("rank"))
    return [line.split(maxsplit=4) for line in lines[start + 1 :]]


class Shown(HTMLParser):
    """What a page shows, its tags, and what is told of each source."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.titles: list[str] = []
        self.styles: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if title := given.get("title"):
            self.titles.append(title)
            self.styles.append(given["style"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def heat_map(of: AttributionResult) -> Shown:
    return Shown(of._repr_html_())


def test_small_scores_have_digits_in_the_table() -> None:
    of = read(attention())
    scores = (5.8e-06, 3.3e-06, 0.0, 2.31e-05)
    sources = [
        replace(source, score=score, rank=rank)
        for source, score, rank in zip(of.sources, scores, (2, 3, 4, 1), strict=True)
    ]
    shown = [row[1] for row in rows_of(str(replace(of, sources=tuple(sources))))]
    assert shown == ["2.310e-05", "5.800e-06", "3.300e-06", "0.000"]


def test_only_scores_with_a_sign_have_a_plus() -> None:
    assert rows_of(str(read(result())))[0][1:3] == ["+4.010", "[2]"]
    without = str(read(attention()))
    assert rows_of(without)[0][1:3] == ["4.028", "[2]"]
    assert "+" not in without


def test_documents_without_names_count_from_one_in_the_table() -> None:
    lines = str(read(result(names=("0", "1")))).splitlines()
    assert "[2]  document 1  The tower" in lines[5]
    alone = str(read(result(names=("0",)))).splitlines()
    assert alone[4].split() == ["rank", "nats", "source", "text"]
    assert alone[5].split(maxsplit=3) == ["1", "+4.010", "[2]", SENTENCES[1]]


@pytest.mark.parametrize("unit", ["nats", "weighted attention mass"])
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_fits_the_width_it_is_given(width: int, unit: str) -> None:
    of = read(
        result(
            sentences=[SENTENCES[0] * 30, LONG, *SENTENCES],
            response=RESPONSE * 9,
            names=(LONG, "notes/2026/" * 9 + "valley.txt"),
            reason="exact leave-one-out " * 20,
            unit=unit,
        )
    )
    lines = table(of, width=width).splitlines()
    assert max(map(len, lines)) == width
    assert len(rows_of("\n".join(lines))) == 7
    # The end of a path tells it from others.
    assert any("ley.txt  Rain" in line for line in lines)
    assert [lines[0][:10], lines[0][-1]] == ["response: ", "…"]


def test_the_table_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    of = read(result(reason="exact leave-one-out " * 20))

    def width() -> int:
        return max(map(len, str(of).splitlines()))

    monkeypatch.setenv("COLUMNS", "70")
    assert 90 < width() <= 100
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert 60 < width() <= 70
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((132, 40)))
    assert 120 < width() <= 132


def test_the_table_counts_what_it_leaves_out() -> None:
    of = read(result(sentences=[f"Sentence {index}." for index in range(13)]))
    lines = table(of, num_rows=3).splitlines()
    assert lines[-2:] == ["... and 10 more sources", "scores below 0.1 nats are rounding noise"]
    assert table(of, num_rows=13).count("more sources") == 0


def test_the_heat_map_shows_the_documents_as_they_are() -> None:
    of = result(
        sentences=[HOSTILE, *SENTENCES[1:]], response=HOSTILE, reason=HOSTILE, names=(HOSTILE, "b")
    )
    page, plain = heat_map(read(of)), heat_map(read(result(names=("a", "b"))))
    assert page.tags == plain.tags
    assert not {"script", "link", "img"} & set(page.tags)
    assert page.text.count(HOSTILE) == 4
    for number, sentence in enumerate((HOSTILE, *SENTENCES[1:]), start=1):
        assert f"[{number}]\xa0{sentence}" in page.text


def test_the_heat_map_tells_scores_and_ranks() -> None:
    page = heat_map(read(result()))
    assert page.titles[1:] == [
        "[2] +4.010 nats, rank 1",
        "[3] -2.953 nats, rank 3",
        "[4] pruned, rank 4",
    ]
    assert page.styles[1:] == [
        "background:rgba(86,180,233,0.700);unicode-bidi:isolate",
        "background:rgba(230,159,0,0.515);unicode-bidi:isolate",
        "opacity:.6;unicode-bidi:isolate",
    ]
    assert "makes the response likelier less likely" in page.text


def test_a_heat_map_without_scores_has_no_colour() -> None:
    of = read(result())
    blank = replace(of, sources=tuple(replace(source, score=0.0) for source in of.sources))
    assert heat_map(blank).styles == ["background:rgba(230,159,0,0.000);unicode-bidi:isolate"] * 4


def test_the_heat_map_of_other_units_has_words_of_its_own() -> None:
    page = heat_map(read(attention()))
    assert "scores in attention mass. higher score" in page.text
    assert "less likely" not in page.text
    assert "score below zero" not in page.text
    assert page.titles[1] == "[2] 4.028 attention mass, rank 1"
    cosines = heat_map(read(result("similarity", unit="cosine")))
    assert "higher score score below zero" in cosines.text
    assert heat_map(read(result(unit=""))).titles[1] == "[2] 4.010, rank 1"


def test_the_heat_map_counts_documents_without_names_from_one() -> None:
    page = heat_map(read(result(names=("0", "1"))))
    assert page.text.index("document 1") < page.text.index(SENTENCES[1])
    assert page.text.index(SENTENCES[1]) < page.text.index("document 2")
    assert "document" not in heat_map(read(result(names=("0",)))).text


def test_parts_of_the_response_list_their_best_sources() -> None:
    span = {"char_start": 0, "char_end": 2, "text": "It", "ranks": [1, 3, 2, 4]}
    of = read(result(spans=[{**span, "scores": [18.163, -2.0, 0.00012, None]}]))
    assert "It [1] +18.16, [3] +0.0001200" in heat_map(of).text


@pytest.mark.parametrize(
    ("response", "cited"),
    [
        ("Run it:\n\n```sh\nmake\n```\n", "Run it:\n\n```sh\nmake\n```\n[1]\n"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 2 [1] |"),
        ("It is `code`", "It is `code` [1]"),
        ("so |", "so | [1]"),
    ],
)
def test_citations_leave_markdown_what_it_is(response: str, cited: str) -> None:
    of = replace(read(result()), response=response, spans=())
    found = of.cite(num_citations=1, min_score=-100.0)
    assert re.sub(r"\[\d+\]", "[1]", found) == cited


def test_the_table_says_that_the_response_was_cut() -> None:
    of = read(result())
    assert "cut at max_new_tokens" not in table(of)
    assert "cut at max_new_tokens" in table(replace(of, is_response_cut=True)).splitlines()[1]
