"""The ranking: order, differences, tests and letters, against the functions it is made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.evaluation.statistics import holm_adjust, mean_interval, sign_flip_p_value
from attribot.records import Records
from attribot.report.paired import paired_values
from attribot.report.ranking import ranking, ranking_markdown, write_ranking
from tests.report.comparable import comparable

GOOD = np.linspace(0.9, 1.0, 12)
VALUES = {
    "loo_naive": [1.0] * 12,
    "poor": list(GOOD - np.linspace(0.3, 0.5, 12)),
    "good": list(GOOD),
    "equal": list(GOOD + 0.05 * np.tile([1, -1.01], 6)),
}


def test_the_ranking_is_made_of_paired_tests_and_intervals() -> None:
    table = ranking(comparable(VALUES)).set_index("method")
    # Exact methods are not ranked by faithfulness.
    assert table.index.tolist() == ["good", "equal", "poor"]
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["groups"].tolist() == ["a", "a", "b"]
    for method, row in table.iterrows():
        own = np.array(VALUES[str(method)])
        mean, difference = mean_interval(own), mean_interval(own - GOOD)
        expected = [mean.mean, mean.low, mean.high]
        np.testing.assert_allclose(row[["mean", "mean_low", "mean_high"]].astype(float), expected)
        expected = [difference.mean, difference.low, difference.high]
        columns = ["difference", "difference_low", "difference_high"]
        np.testing.assert_allclose(row[columns].astype(float), expected, atol=1e-12)
    pairs = [("good", "equal"), ("good", "poor"), ("equal", "poor")]
    raw = [sign_flip_p_value(VALUES[a], VALUES[b]) for a, b in pairs]
    np.testing.assert_allclose(table["p_value"], [np.nan, *raw[:2]])
    np.testing.assert_allclose(table["p_adjusted"], [np.nan, *holm_adjust(raw)[:2]])
    assert set(table["judged_by"]) == {"faithfulness"}
    assert set(table["num_examples"]) == {12}


def test_plausibility_is_a_table_of_its_own_and_ranks_exact_methods() -> None:
    records = comparable(VALUES)
    gold = comparable(VALUES, metric="gold_average_precision").metrics
    both = replace(records, metrics=pd.concat([records.metrics, gold]))
    table = ranking(both)
    assert table.groupby("judged_by", sort=False)["method"].agg(list).to_dict() == {
        "faithfulness": ["good", "equal", "poor"],
        "plausibility": ["loo_naive", "good", "equal", "poor"],
    }
    text = ranking_markdown(table)
    assert text.index("## Faithfulness: mAP") < text.index("## Plausibility: average precision")
    assert text.count("| poor ") == 2
    assert "| 4      | poor " in text


def test_a_question_asked_twice_is_one_piece_of_evidence() -> None:
    twice = [f"question {index // 2}" for index in range(12)]
    once, table = ranking(comparable(VALUES)), ranking(comparable(VALUES, queries=twice))
    assert table["num_questions"].tolist() == [6] * 3
    np.testing.assert_allclose(table["mean"], once["mean"])
    poor = table.set_index("method").loc["poor"]
    # All twelve differences are negative: 2 of 2^6 sign patterns reach them, not 2 of 2^12.
    assert (poor["p_value"], poor["groups"]) == (2 / 2**6, "a")
    assert "Several examples ask the same question" in ranking_markdown(table)
    assert "Several examples" not in ranking_markdown(once)


def test_only_examples_of_all_methods_are_compared() -> None:
    values = {**VALUES, "good": [*GOOD[:11], None], "none": [None] * 12}
    records = comparable(values)
    table = ranking(records)
    assert table["method"].tolist() == ["equal", "good", "poor"]
    assert set(table["num_examples"]) == {11}
    assert set(table["num_left_out"]) == {1}
    assert "Up to 1 examples without a value of every method" in ranking_markdown(table)
    paired = paired_values(records, "average_precision", ["poor", "good"])
    assert paired.values.index.tolist() == [f"example-{index}" for index in range(11)]
    np.testing.assert_allclose(paired.values["good"], GOOD[:11])


def test_equal_methods_share_a_rank_and_data_sets_are_told_apart() -> None:
    values = {"one": [0.5, 1.0, 0.0], "other": [0.5, 1.0, 0.0], "third": [0.0, 0.5, 0.0]}
    table = ranking(comparable(values, datasets=["x", "x", "y"]))
    assert table["dataset"].tolist() == ["x"] * 3 + ["y"] * 3 + ["all"] * 3
    assert table["rank"].tolist() == [1, 1, 3, 1, 1, 1, 1, 1, 3]
    # One example has no interval.
    assert table[table["dataset"] == "y"]["mean_low"].isna().all()
    text = ranking_markdown(table)
    assert text.count("| third ") == 1
    assert "ranking.csv has each of them" in text


def test_markdown_by_hand() -> None:
    text = ranking_markdown(ranking(comparable({"one": [0.5, 1.0], "other": [0.25, 0.75]})))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[2] == "| Rank | Method | mAP ↑ | To the best | p (Holm) | Groups |"
    assert lines[4] == "| 1 | one | 0.750 [0.500, 1.000] | – | – | a |"
    assert lines[5] == "| 2 | other | 0.500 [0.250, 0.750] | -0.250 [-0.250, -0.250] | 0.500 | a |"
    assert lines[7] == "2 examples of 2 questions; 1 pairs of methods tested."


@pytest.mark.parametrize("metric", ["spearman", "average_precision"])
def test_files_are_written_where_there_is_something_to_rank(metric: str, tmp_path: Path) -> None:
    write_ranking(ranking(comparable(VALUES, metric=metric)), tmp_path / "tables")
    is_ranked = metric == "average_precision"
    assert (tmp_path / "tables" / "ranking.md").exists() == is_ranked
    if is_ranked:
        stored = pd.read_csv(tmp_path / "tables" / "ranking.csv")
        pd.testing.assert_frame_equal(stored, ranking(comparable(VALUES)), check_dtype=False)


def test_a_run_of_the_package_can_be_ranked(records: Records) -> None:
    table = ranking(records)
    assert table[table["judged_by"] == "faithfulness"]["method"].tolist() == [
        *("hierarchical", "similarity")
    ]
    assert len(table[table["judged_by"] == "plausibility"]) == 3
