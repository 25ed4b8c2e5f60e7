"""The report: complete, self-contained, and safe with hostile text."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary, MethodInfo
from attribot.recording import RecordWriter
from attribot.records import Records, read_records
from attribot.report.build import build_report
from attribot.report.curve import cost_units, curve_of
from attribot.report.html import example_view, render_report, segments
from attribot.report.summary import summarise
from experiments.report import main
from tests.synthetic_run import (
    METHODS,
    RUN_ID,
    SENTENCES,
    continue_run,
    example_row,
    manifest,
    pair_rows,
)

HOSTILE = "</script><script>alert('1')</script> <img src=x onerror=alert(1)> & \"quoted\". "


def page_of(records: Records, num_examples: int = 50) -> str:
    summary = summarise(records)
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in cost_units(summary)}
    return render_report(records, summary, curves, num_examples)


def data_of(page: str, name: str) -> dict[str, object]:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert match is not None
    return json.loads(match[1])  # type: ignore[no-any-return]


def test_the_page_shows_tables_notes_and_methods(records: Records) -> None:
    page = page_of(records)
    for text in (
        "<td>0.800<small> [0.700, 0.900]</small></td>",
        "<td>8.00×<small> [8.00×, 8.00×]</small></td>",
        "made_up: 33.3% of the examples",
    ):
        assert text in page
    for name, info in METHODS.items():
        is_listed = f"<code>{name}</code> ({info.kind}): {info.label}" in page
        assert is_listed == (name != "reference")
    charts = data_of(page, "charts")
    assert list(charts) == ["seconds", "flops"]
    assert [chart["width"] for chart in charts.values()] == ["container"] * 2  # type: ignore[index]
    assert page.count('type="radio"') == 2
    assert "Not drawn" not in page


def test_without_seconds_the_page_counts_tokens(untimed: Records) -> None:
    page = page_of(untimed)
    assert list(data_of(page, "charts")) == ["tokens", "flops"]
    assert 'value="tokens" checked' in page
    view = data_of(page, "examples")["examples"][0]  # type: ignore[index]
    assert [result["measures"].get("seconds") for result in view["results"]] == [None] * 4
    assert view["results"][2]["measures"]["computed tokens"] == 100


def test_the_page_names_what_a_chart_leaves_out(records: Records) -> None:
    costs = records.costs.copy()
    costs.loc[costs["method"] == "similarity", "flops"] = 0.0
    (note,) = re.findall(r'<p class="notes missing".*?</p>', page_of(replace(records, costs=costs)))
    assert 'data-unit="flops"' in note
    assert "Not drawn (no mAP or no counted FLOPs): Similarity." in note


def test_nothing_is_loaded_from_elsewhere(records: Records) -> None:
    page = page_of(records)
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(
        r"\b(?:src|href)\s*=|@import|url\(|https?://(?!vega\.github\.io/schema)", markup
    )
    assert len(page) < 2_000_000


def test_the_view_holds_text_scores_and_ranks(records: Records) -> None:
    view = data_of(page_of(records), "examples")
    assert view == json.loads(json.dumps(example_view(records, records.examples)))
    assert view["methods"] == [f"{info.label} ({name})" for name, info in METHODS.items()]
    assert view["reference"] == 1
    example = view["examples"][0]  # type: ignore[index]
    assert "".join(text for text, _ in example["segments"]) == "".join(SENTENCES)
    texts = {source: text for text, source in example["segments"] if source >= 0}
    assert texts == {i: sentence.rstrip() for i, sentence in enumerate(SENTENCES)}
    assert example["documents"] == ["page 0", "page 0", "page 1", "page 1"]
    assert (example["gold"], example["answer"]) == ([0], "Paris")
    hierarchical = example["results"][2]
    scores = [row.score for row in pair_rows(example_row(0), "hierarchical")[0]]
    assert hierarchical["scores"] == [
        pytest.approx(scores[0], rel=1e-5),
        pytest.approx(scores[1], rel=1e-5),
        None,
        None,
    ]
    assert hierarchical["ranks"] == [1, 2, 3, 3]
    assert hierarchical["measures"]["AP"] == 0.9
    assert hierarchical["measures"]["seconds"] == 1.0
    # The reference has scores to compare with, but neither a cost nor an agreement with itself.
    assert example["results"][1]["measures"] == {}
    assert example["results"][1]["ranks"] == [1, 2, 3, 4]
    without_gold = view["examples"][1]  # type: ignore[index]
    assert (without_gold["gold"], without_gold["answer"]) == ([], None)
    assert without_gold["results"][0]["measures"]["AP"] is None


def test_segments_keep_headers_and_chars_beyond_16_bits() -> None:
    context = "Title 🗼\n😀 one. \n\ntwo"
    sources = pd.DataFrame({"source_id": [1, 0], "char_start": [17, 8], "char_end": [20, 14]})
    assert segments(context, sources) == [
        ("Title 🗼\n", -1),
        ("😀 one.", 0),
        (" \n\n", -1),
        ("two", 1),
    ]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    sentences = (HOSTILE, "Plain. ")
    methods = {**manifest().methods, "similarity": MethodInfo(HOSTILE, "baseline", "h")}
    of = manifest(methods=methods, dataset=replace(manifest().dataset, dropped={HOSTILE: 1}))
    row = replace(example_row(0, sentences, query=HOSTILE), response=HOSTILE, answer=HOSTILE)
    with RecordWriter(tmp_path, of) as writer:
        writer.write_example(row)
        for method in of.methods:
            writer.write_method(*pair_rows(row, method, sentences))
    page = page_of(read_records(tmp_path))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    view = data_of(page, "examples")["examples"][0]  # type: ignore[index]
    assert (view["query"], view["response"], view["answer"]) == (HOSTILE, HOSTILE, HOSTILE)
    assert view["segments"][0] == [HOSTILE.rstrip(), 0]


def test_examples_that_are_left_out_are_counted(records: Records) -> None:
    page = page_of(records, num_examples=2)
    assert "The first 2 of 3 examples." in page
    assert len(data_of(page, "examples")["examples"]) == 2  # type: ignore[arg-type]
    assert "The first" not in page_of(records)


def test_an_unfinished_run_shows_what_there_is(tmp_path: Path) -> None:
    continue_run(tmp_path, num_pairs=5)
    page = build_report([tmp_path], tmp_path).read_text()
    assert "The run is not finished" in page
    results = data_of(page, "examples")["examples"][1]["results"]  # type: ignore[index]
    assert [result is None for result in results] == [False, True, True, True]


def test_the_command_writes_every_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    continue_run(tmp_path)
    main([str(tmp_path), "--examples", "1"])
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert "The first 1 of 3 examples." in (tmp_path / "report.html").read_text()
    views = [
        *(f"tables/curve.{kind}" for kind in ("md", "csv", "tex")),
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
    assert table["dataset"].unique().tolist() == ["made_up", "longer", "all"]
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
