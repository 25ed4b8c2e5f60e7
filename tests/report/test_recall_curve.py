"""Recall against the share of sources kept: by hand, and drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from attribot.evaluation.outliers import TopScores
from attribot.evaluation.statistics import mean_interval
from attribot.records import Records
from attribot.report.recall_curve import (
    SHARES,
    outlier_rule,
    recall_curve,
    recall_markdown,
    write_recall,
)
from tests.report.comparable import RULE, comparable
from tests.synthetic_run import manifest

# Three examples of four sources; the best source of the exact scores is the only outlier.
EXACT = [[9.0, 1, 2, 3], [1, 9, 2, 3], [1, 2, 9, 3]]
RANKINGS = {
    "reference": EXACT,
    # finds the outlier second, first, and as one of four tied sources
    "some": [[3.0, 4, 2, 1], [1, 4, 3, 2], [0, 0, 0, 0]],
    "tied": [[0.0] * 4] * 3,
}
VALUES = {"some": [0.5] * 3, "tied": [0.5] * 3}


def records_of(rankings: Any = RANKINGS, **changes: Any) -> Records:
    return comparable(VALUES, rankings=rankings, **changes)


def recall_of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method].set_index("share")


def test_recall_by_hand() -> None:
    table = recall_curve(records_of())
    assert table["method"].unique().tolist() == ["reference", "some", "tied"]
    shares = np.array(SHARES)
    np.testing.assert_allclose(recall_of(table, "reference")["recall"], np.minimum(4 * shares, 1))
    # A random order has its own share, in every example.
    for column in ("recall", "recall_low", "recall_high"):
        np.testing.assert_allclose(recall_of(table, "tied")[column], shares, atol=1e-12)
    each = np.array([np.clip(4 * shares - 1, 0, 1), np.clip(4 * shares, 0, 1), shares])
    some = recall_of(table, "some")
    np.testing.assert_allclose(some["recall"], each.mean(axis=0), atol=1e-12)
    expected = mean_interval(each[:, SHARES.index(0.5)])
    assert some.loc[0.5, "recall_low"] == pytest.approx(expected.low)
    assert some.loc[0.5, "recall_high"] == pytest.approx(expected.high)
    assert set(table["num_examples"]) == {3}


def test_examples_that_a_method_lacks_or_without_an_outlier_are_left_out() -> None:
    unfinished = {**RANKINGS, "tied": RANKINGS["tied"][:2]}
    assert set(recall_curve(records_of(unfinished))["num_examples"]) == {2}
    # Where no score is positive there is no outlier.
    negative = {**RANKINGS, "reference": [*EXACT[:2], [-9.0, -1, -2, -3]]}
    assert set(recall_curve(records_of(negative))["num_examples"]) == {2}
    nothing = {**RANKINGS, "reference": [[-9.0, -1, -2, -3]] * 3}
    assert recall_curve(records_of(nothing)).empty


def test_markdown_names_the_bound_and_the_shares() -> None:
    records = records_of(datasets=["x", "x", "y"])
    table = recall_curve(records)
    assert table["dataset"].unique().tolist() == ["x", "y", "all"]
    text = recall_markdown(table, records.manifest)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    heads = " | ".join(f"Recall@{share} ↑" for share in ("5%", "10%", "20%", "30%", "50%"))
    assert lines[2] == f"| Method | {heads} |"
    assert lines[4].startswith("| reference (the best there can be) | 0.200 [0.200, 0.200] | 0.400")
    assert lines[6].startswith("| tied | 0.050 [0.050, 0.050] | 0.100 [0.100, 0.100]")
    assert "over 3 examples of 3 questions" in text
    assert "recall_curve.csv has each of them" in text


def evaluated(**rule: Any) -> dict[str, Any]:
    return {"evaluation": {"outlier_rule": rule}}


def test_the_rule_is_the_one_that_the_runs_were_evaluated_by() -> None:
    assert outlier_rule(manifest(config=evaluated(**RULE))) == TopScores(1)
    assert outlier_rule(manifest(run_id="r1", config={"r1": evaluated(**RULE)})) == TopScores(1)
    merged = {"r1": evaluated(**RULE), "r2": evaluated(**RULE)}
    assert outlier_rule(manifest(run_id="r1 + r2", config=merged)) == TopScores(1)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "the runs name no outlier rule, or several"),
        (evaluated(**RULE, two_sided=True), "a two-sided rule"),
        (evaluated(_target_="mine.Rule"), "unknown outlier rule 'mine.Rule'; known: "),
    ],
)
def test_without_a_rule_that_can_be_applied_there_is_no_curve(
    config: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    records = records_of(config=config or {"evaluation": {}})
    write_recall(records, tmp_path / "tables", tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []
    assert "no recall curve: " in caplog.text
    assert reason in caplog.text


def test_runs_under_different_rules_have_no_curve_in_common() -> None:
    merged = {"r1": evaluated(**RULE), "r2": evaluated(**{**RULE, "k": 2})}
    assert outlier_rule(manifest(run_id="r1 + r2", config=merged)) is None


def test_the_files_are_the_table_and_the_same_figure_every_time(tmp_path: Path) -> None:
    records = records_of(families={"some": "family", "tied": "family"})
    for name in ("one", "two"):
        write_recall(records, tmp_path / name, tmp_path / name)
    figure = tmp_path / "one" / "recall_curve.png"
    assert figure.read_bytes() == (tmp_path / "two" / "recall_curve.png").read_bytes()
    # Lines in two colours, between chance and the exact scores in grey.
    pixels = np.round(imread(figure)[..., :3] * 255).astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x88, 0x88, 0x88)):
        assert (pixels == colour).all(axis=2).sum() > 30
    stored = pd.read_csv(tmp_path / "one" / "recall_curve.csv")
    pd.testing.assert_frame_equal(stored, recall_curve(records), check_dtype=False)
    assert (tmp_path / "one" / "recall_curve.md").stat().st_size > 0
