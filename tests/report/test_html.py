"""The report: complete, self-contained, and safe with hostile text."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary, MethodInfo
from attribot.recording import RecordWriter
from attribot.records import Records, read_records
from attribot.report import html
from attribot.report.build import build_report
from attribot.report.curve import cost_units, curve_of
from attribot.report.html import examples_of, render_report
from attribot.report.page import page_of
from attribot.report.page_data import data_of_results
from attribot.report.summary import summarise
from experiments.report import main
from tests.report.page_results import result
from tests.synthetic_run import (
    METHODS,
    RUN_ID,
    SENTENCES,
    continue_run,
    example_row,
    manifest,
    pair_rows,
)

HOSTILE = (
    "</script><img src=x onerror=\"hacked=1\"><!-- <script>hacked=1</script> & 'q' \u2028\u2029 🗼"
)


def report_of(records: Records, num_examples: int = 50) -> str:
    summary = summarise(records)
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in cost_units(summary)}
    return render_report(records, summary, curves, num_examples)


def data_of(page: str, name: str) -> Any:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert match is not None
    return json.loads(match[1])


class Elements(HTMLParser):
    """Start tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_tables_notes_and_methods(records: Records) -> None:
    page = report_of(records)
    for text in (
        "<td>0.800<small> [0.700, 0.900]</small></td>",
        "<td>8.00×<small> [8.00×, 8.00×]</small></td>",
        '<td class="words">hierarchical</td>',
        "made_up: 33.3% of the examples",
    ):
        assert text in page
    for name, info in METHODS.items():
        is_listed = f"<code>{name}</code> ({info.kind}): {info.label}" in page
        assert is_listed == (name != "reference")
    assert [chart["unit"] for chart in data_of(page, "page-data")["charts"]] == ["seconds", "flops"]
    assert page.count('<input type="radio"') == 2


def test_without_seconds_the_page_counts_tokens(untimed: Records) -> None:
    page = report_of(untimed)
    assert [chart["unit"] for chart in data_of(page, "page-data")["charts"]] == ["tokens", "flops"]
    results = data_of(page, "example-0")["results"]
    assert [one["measures"].get("seconds") for one in results] == [None] * 4
    assert results[2]["measures"]["computed tokens"] == 100


def test_the_page_names_what_a_chart_leaves_out(records: Records) -> None:
    costs = records.costs.copy()
    costs.loc[costs["method"] == "similarity", "flops"] = 0.0
    charts = data_of(report_of(replace(records, costs=costs)), "page-data")["charts"]
    missing = "Not drawn (no mAP or no counted FLOPs): Similarity."
    assert [chart["missing"] for chart in charts] == ["", missing]


def test_nothing_is_loaded_from_elsewhere(records: Records) -> None:
    for page in (report_of(records), page_of(data_of_results([result()]))):
        elements = Elements(page).tags
        links = [one[name] for _, one in elements for name in ("src", "href") if name in one]
        assert links == ["data:,", "#explorer"]
        assert not re.findall(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)
        assert len(page) < 200_000


def test_the_policy_lets_only_the_pages_own_script_and_style_run(records: Records) -> None:
    page = report_of(records)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)">', page)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    for name, tag in (("script-src", r'script type="module"'), ("style-src", "style")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert (rules["default-src"], rules["base-uri"]) == ("'none'", "'none'")
    # A style or a handler in an attribute would be blocked.
    names = {name for _, attributes in Elements(page).tags for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_the_examples_hold_text_scores_and_ranks(records: Records) -> None:
    page = report_of(records)
    index = data_of(page, "page-data")
    assert index["methods"] == [{"name": n, "label": info.label} for n, info in METHODS.items()]
    assert index["reference"] == 1
    assert [one["id"] for one in index["examples"]] == [f"example-{i}" for i in range(3)]
    views = [data_of(page, f"example-{i}") for i in range(3)]
    assert views == list(examples_of(records, records.examples))
    example = views[0]
    context = "".join(source["before"] + source["text"] for source in example["sources"])
    assert context + example["after"] == "".join(SENTENCES)
    assert [source["text"] for source in example["sources"]] == [one.rstrip() for one in SENTENCES]
    places = [(source["document"], source["paragraph"]) for source in example["sources"]]
    assert places == [("page 0", 0), ("page 0", 0), ("page 1", 1), ("page 1", 1)]
    assert (example["gold"], example["answer"]) == ([0], "Paris")
    hierarchical = example["results"][2]
    scores = [row.score for row in pair_rows(example_row(0), "hierarchical")[0]]
    assert hierarchical["scores"] == [
        *(pytest.approx(one, rel=1e-3) for one in scores[:2]),
        None,
        None,
    ]
    assert (hierarchical["ranks"], hierarchical["unit"]) == ([1, 2, 3, 3], "nats")
    assert (hierarchical["measures"]["AP"], hierarchical["measures"]["seconds"]) == (0.9, 1.0)
    assert (hierarchical["part_scores"], hierarchical["token_scores"]) == (None, None)
    assert "no" in index["part_note"]
    # The reference has scores to compare with, but neither a cost nor an agreement with itself.
    assert (example["results"][1]["measures"], example["results"][1]["ranks"]) == ({}, [1, 2, 3, 4])
    assert example["results"][3]["unit"] == ""
    assert (views[1]["gold"], views[1]["answer"]) == ([], None)
    assert views[1]["results"][0]["measures"]["AP"] is None


def test_hostile_text_stays_text(tmp_path: Path, records: Records) -> None:
    sentences = (HOSTILE, "Plain. ")
    methods = {**manifest().methods, "similarity": MethodInfo(HOSTILE, "baseline", "h")}
    of = manifest(methods=methods, dataset=replace(manifest().dataset, dropped={HOSTILE: 1}))
    row = replace(example_row(0, sentences, query=HOSTILE), response=HOSTILE, answer=HOSTILE)
    with RecordWriter(tmp_path, of) as writer:
        writer.write_example(row)
        for method in of.methods:
            writer.write_method(*pair_rows(row, method, sentences))
    page = report_of(read_records(tmp_path))
    # No kind of element that a harmless run has not.
    kinds = [{tag for tag, _ in Elements(of).tags} for of in (page, report_of(records))]
    assert kinds[0] <= kinds[1]
    assert "img" not in kinds[1]
    view = data_of(page, "example-0")
    assert (view["query"], view["answer"], view["pieces"][0]["text"]) == (HOSTILE,) * 3
    assert view["sources"][0]["text"] == HOSTILE
    assert data_of(page, "page-data")["charts"][0]["points"][-1]["label"] == HOSTILE


def test_hostile_results_stay_text() -> None:
    lone = "\ud800 half of a pair"
    of = result(
        HOSTILE,
        (HOSTILE, lone),
        HOSTILE,
        query=HOSTILE,
        reason=HOSTILE,
        model=HOSTILE,
        unit=HOSTILE,
    )
    for source in of["sources"]:
        source["document_id"] = HOSTILE
    page = page_of(data_of_results([of], [(0, len(HOSTILE))]))
    harmless = page_of(data_of_results([result()]))
    assert [tag for tag, _ in Elements(page).tags] == [tag for tag, _ in Elements(harmless).tags]
    page.encode("utf-8")
    view = data_of(page, "example-0")
    assert [source["text"] for source in view["sources"]] == [HOSTILE, lone]
    assert "".join(piece["text"] for piece in view["pieces"]) == HOSTILE
    assert view["results"][0]["notes"] == [HOSTILE]
    assert not re.search("[\u2028\u2029]", page.split('id="page-data"')[1])


def test_the_page_of_a_result_has_no_sections_of_a_run() -> None:
    page = page_of(data_of_results([result()]))
    for identity in ("curve", "costs-title", "notes-title", "unit"):
        assert f'id="{identity}"' not in page
    assert "<h1>Which sources the response rests on</h1>" in page


def test_examples_that_are_left_out_are_counted(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = report_of(records, num_examples=2)
    assert "The first 2 of 3 examples" in page
    assert len(data_of(page, "page-data")["examples"]) == page.count('id="example-') == 2
    assert not re.search(r"The first \d", report_of(records))
    monkeypatch.setattr(html, "MAX_EXAMPLE_BYTES", 1)
    assert "The first 1 of 3 examples" in report_of(records)


@pytest.mark.slow
def test_an_unfinished_run_shows_what_there_is(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=5)
    page = build_report([tmp_path], tmp_path).read_text()
    assert "The run is not finished" in page
    results = data_of(page, "example-1")["results"]
    assert [one is None for one in results] == [False, True, True, True]


@pytest.mark.slow
def test_the_command_writes_every_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    continue_run(tmp_path)
    main([str(tmp_path), "--examples", "1"])
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert "The first 1 of 3 examples" in (tmp_path / "report.html").read_text()
    views = [
        *(f"tables/curve.{kind}" for kind in ("md", "csv", "tex")),
        *("tables/metrics.md", "tables/ranking.md", "tables/equal_cost.md"),
        "figures/curve.png",
        "figures/curve_flops.png",
    ]
    assert all((tmp_path / view).stat().st_size > 0 for view in views)


@pytest.mark.slow
def test_several_data_sets_have_a_figure_of_panels(run_dir: Path, tmp_path: Path) -> None:
    of = manifest(dataset=DatasetSummary("longer", 3), run_id=RUN_ID)
    continue_run(tmp_path / "longer", of)
    main([str(run_dir), str(tmp_path / "longer"), "--output", str(tmp_path / "both")])
    assert (tmp_path / "both" / "figures" / "panels.png").stat().st_size > 0
    table = pd.read_csv(tmp_path / "both" / "tables" / "curve.csv")
    assert table["dataset"].unique().tolist() == ["longer", "made_up", "all"]
    main([str(run_dir), "--output", str(tmp_path / "one")])
    assert not (tmp_path / "one" / "figures" / "panels.png").exists()


def test_the_command_explains_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(tmp_path)])
    assert "no run folder: expected a manifest.json" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--examples", "0"])
    assert "--examples must be at least 1, got 0" in capsys.readouterr().err
    continue_run(tmp_path, num_pairs=0)
    with pytest.raises(RecordsError, match="no result yet"):
        build_report([tmp_path], tmp_path)
