"""Tables against hand-written ones."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attribot.records import Records, read_records
from attribot.report.summary import summarise
from attribot.report.tables import cost_table, latex, markdown, notes, results_table, write_tables
from tests.synthetic_run import METHODS, continue_run, manifest


def test_results_have_an_arrow_per_metric_and_an_interval_per_mean(records: Records) -> None:
    table = results_table(summarise(records))
    assert list(table.columns) == [
        *("Method", "Examples", "mAP ↑", "Speedup ↑", "Token saving ↑", "Spearman ↑", "Pearson ↑"),
        *("Top-1 hit ↑", "Recall@3 ↑", "Gold AP ↑"),
    ]
    assert table.iloc[1].tolist() == [
        *("hierarchical", "3", "0.800 [0.700, 0.900]", *["8.00× [8.00×, 8.00×]"] * 2),
        *("0.900 [0.800, 1.000]", "0.800 [0.800, 0.800]", "1.000 [1.000, 1.000]"),
        *("0.700 [0.700, 0.700]", "0.600 [0.600, 0.600]"),
    ]


def test_costs_are_per_example(records: Records) -> None:
    table = cost_table(summarise(records))
    assert dict(table.iloc[1]) == {
        "Method": "hierarchical",
        "FLOP saving ↑": "8.00× [8.00×, 8.00×]",
        "FLOPs ↓": "1e+09",
        "Forward passes ↓": "5.0",
        "Computed tokens ↓": "100",
        "Reused tokens": "90",
        "Seconds ↓": "1.1",
        "Peak memory [MiB] ↓": "–",
    }


def test_a_speedup_without_a_model_is_only_bounded(records: Records) -> None:
    summary = summarise(records)
    is_fast = summary["method"] == "similarity"
    for name in ("speedup", "speedup_low", "speedup_high"):
        summary.loc[is_fast, name] = 20000.0
    with_model = results_table(summary).iloc[2]
    assert with_model["Speedup ↑"] == "20000.00× [20000.00×, 20000.00×]"
    summary.loc[is_fast, "forward_passes"] = 0.0
    assert results_table(summary).iloc[2]["Speedup ↑"] == ">1000×"
    assert "Methods of 0 forward passes run no model" in " ".join(notes(summary, manifest()))
    summary.loc[is_fast, "speedup"] = 32.0
    assert results_table(summary).iloc[2]["Speedup ↑"].startswith("32.00×")


def test_seconds_that_were_not_measured_are_dashes(untimed: Records) -> None:
    summary = summarise(untimed)
    results, costs = results_table(summary), cost_table(summary)
    assert results["Speedup ↑"].tolist() == costs["Seconds ↓"].tolist() == ["–"] * 3
    assert [cell.split()[0] for cell in results["Token saving ↑"]] == ["1.00×", "8.00×", "32.00×"]
    assert costs["Computed tokens ↓"].tolist() == ["800", "100", "25"]
    text = " ".join(notes(summary, untimed.manifest))
    assert "Wall seconds were not measured for each method on its own" in text
    assert "Speedup: over" not in text
    assert "timing noise" not in text


def test_a_method_with_a_cost_only_has_no_part_in_the_notes(records: Records) -> None:
    metrics = records.metrics[records.metrics["method"] != "loo_naive"]
    summary = summarise(replace(records, metrics=metrics))
    naive = results_table(summary).iloc[0]
    assert naive["mAP ↑"] == naive["Spearman ↑"] == "–"
    assert naive["Token saving ↑"] == "1.00× [1.00×, 1.00×]"
    text = " ".join(notes(summary, records.manifest))
    assert "mAP: over 2 examples." in text
    assert "made_up: 33.3% of the examples have no outlier" in text


def test_one_example_has_no_interval_and_none_is_a_dash(records: Records) -> None:
    def only(table: pd.DataFrame, example: str) -> pd.DataFrame:
        return table[table["example_id"] == example]

    rows = {}
    for example in ("example-0", "example-1"):
        one = replace(
            records,
            examples=only(records.examples, example),
            costs=only(records.costs, example),
            metrics=only(records.metrics, example),
        )
        rows[example] = results_table(summarise(one)).iloc[1]
    assert rows["example-0"]["mAP ↑"] == "0.900"
    assert rows["example-0"]["Speedup ↑"] == "8.00×"
    assert rows["example-1"]["mAP ↑"] == "–"


def test_notes_say_what_is_left_out(records: Records, tmp_path: Path) -> None:
    text = " ".join(notes(summarise(records), records.manifest))
    assert "made_up: 33.3% of the examples have no outlier" in text
    assert "mAP: over 2 examples." in text
    assert "Speedup: over 3 examples." in text
    assert "Exact methods have a mAP of 1 by definition" in text
    assert "run no model" not in text
    assert "4 examples read, dropped: 1 for empty response" in text
    assert "target tiny (float32, eager, cpu)" in text
    assert "not finished" not in text

    continue_run(tmp_path, manifest(naive=None), num_pairs=4)
    continue_run(tmp_path, manifest(naive=None), num_pairs=1)
    unfinished = read_records(tmp_path)
    text = " ".join(notes(summarise(unfinished), unfinished.manifest))
    assert "No naive leave-one-out ran: speedup and savings cannot be told." in text
    assert "continued 1 times" in text
    assert "The run is not finished" in text
    assert "Exact methods" not in text
    assert "Speedup ↑" not in results_table(summarise(unfinished)).columns


def test_markdown_keeps_bars_inside_cells(records: Records) -> None:
    summary = summarise(records)
    summary["method"] = summary["method"].replace("similarity", "a|b")
    text = markdown(summary, records.manifest)
    assert "reference" not in text
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| a\\|b")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [11, 9]
    assert f"- `similarity` (baseline): {METHODS['similarity'].label}" in lines


def test_latex_is_escaped(records: Records) -> None:
    text = latex(summarise(records))
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    assert r"loo\_naive & 3 & 0.900 [0.800, 1.000] & 1.00$\times$" in text
    assert r"mAP $\uparrow$ & Speedup $\uparrow$" in text
    assert text.isascii()


def test_csv_holds_the_whole_summary(records: Records, tmp_path: Path) -> None:
    summary = summarise(records)
    write_tables(summary, records.manifest, tmp_path / "tables")
    stored = pd.read_csv(tmp_path / "tables" / "curve.csv")
    pd.testing.assert_frame_equal(stored, summary, check_dtype=False)
    assert (tmp_path / "tables" / "curve.md").read_text() == markdown(summary, records.manifest)
    assert (tmp_path / "tables" / "curve.tex").read_text() == latex(summary)


@pytest.mark.parametrize("names", [["made_up"], ["made_up", "other"]])
def test_the_data_set_is_named_where_there_are_several(records: Records, names: list[str]) -> None:
    summary = pd.concat([summarise(records).assign(dataset=name) for name in names])
    assert ("Data set" in results_table(summary).columns) == (len(names) > 1)
