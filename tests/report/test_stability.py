"""Stability across seeds: which methods are replicates, and how far they agree."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribot.evaluation.statistics import mean_interval
from attribot.records import Records
from attribot.report.stability import replicate_groups, stability, stability_markdown
from attribot.report.stability import write_stability as write
from tests.report.comparable import comparable

UP, DOWN, MIXED = [1.0, 2, 3, 4], [4.0, 3, 2, 1], [2.0, 1, 3, 4]


def method(seed: int | None, budget: int = 8, screen: Any = None) -> dict[str, Any]:
    attributor = {"_target_": "Shapley", "budget": budget, "screen": screen, "seed": seed}
    return {"label": f"Shapley, seed {seed}", "method": attributor}


METHODS = {
    "shapley_1": method(1),
    "other": method(1, budget=9),
    "shapley_2": method(2),
    "again": method(2),
    "deep_1": method(None, screen={"seed": 1}),
    "deep_2": method(None, screen={"seed": 2}),
}
RANKINGS = {
    "shapley_1": [UP, UP, UP],
    "shapley_2": [UP, DOWN, MIXED],
    "deep_1": [UP, UP, UP],
    "deep_2": [UP, UP, UP],
}


def run(
    methods: Any = METHODS, rankings: Any = RANKINGS, *, seed: int = 0, **changes: Any
) -> Records:
    values = {name: [0.1 * (place + 1)] * 3 for place, name in enumerate(methods)}
    return comparable(values, rankings=rankings, config={"methods": methods}, seed=seed, **changes)


def test_replicates_differ_in_seeds_only() -> None:
    groups = replicate_groups([run()])
    found = {name: [one.method for one in replicates] for name, replicates in groups}
    # `again` repeats a seed, and `other` has another budget.
    assert found == {"shapley_1": ["shapley_1", "shapley_2"], "deep_1": ["deep_1", "deep_2"]}
    named = run(families={"shapley_1": "Shapley values", "shapley_2": "Shapley values"})
    assert [name for name, _ in replicate_groups([named])] == ["Shapley values", "deep_1"]
    assert replicate_groups([comparable({"one": [1.0]}, config={"methods": ["loo"]})]) == []


def test_agreement_is_a_mean_over_examples() -> None:
    table = stability([run()]).set_index("method")
    shapley = table.loc["shapley_1"]
    # Spearman of UP with UP, DOWN and MIXED: one swap of neighbours among four.
    expected = mean_interval([1, -1, 0.8])
    found = shapley[["spearman", "spearman_low", "spearman_high"]].astype(float)
    np.testing.assert_allclose(found, [expected.mean, expected.low, expected.high])
    assert shapley["kendall"] == pytest.approx((1 - 1 + 2 / 3) / 3)
    assert shapley["top_overlap@1"] == pytest.approx(2 / 3)
    assert shapley["top_overlap@3"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert pd.isna(shapley["top_overlap@5"])
    assert (shapley["num_seeds"], shapley["num_examples"]) == (2, 3)
    maps = shapley[["map_mean", "map_lowest", "map_highest"]].astype(float)
    np.testing.assert_allclose(maps, [0.2, 0.1, 0.3])
    np.testing.assert_allclose(table.loc["deep_1", "spearman"], 1)


def test_runs_under_other_seeds_hold_replicates_too() -> None:
    first = run({"kernel": method(1)}, {"kernel": [UP, UP, UP]}, seed=1)
    second = run({"kernel": method(2)}, {"kernel": [UP, DOWN, MIXED]}, seed=2)
    table = stability([first, second])
    assert table["method"].tolist() == ["kernel"]
    assert table["spearman"].tolist() == [pytest.approx(0.8 / 3)]
    # Another response is another problem: its ranking says nothing about seeds.
    examples = second.examples.assign(response_sha=["example-0", "other", "example-2"])
    fewer = stability([first, replace(second, examples=examples)])
    assert fewer["num_examples"].tolist() == [2]
    assert fewer["spearman"].tolist() == [pytest.approx(0.9)]


def test_markdown_by_hand(tmp_path: Path) -> None:
    write([run(datasets=["x", "x", "y"])], tmp_path)
    assert pd.read_csv(tmp_path / "stability.csv")["dataset"].tolist() == ["x", "y", "all"] * 2
    text = (tmp_path / "stability.md").read_text()
    assert text == stability_markdown(stability([run(datasets=["x", "x", "y"])]))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[2] == (
        "| Method | Seeds | Examples | Spearman ↑ | Kendall ↑ | Top-1 overlap ↑ | Top-3 overlap ↑ "
        "| Top-5 overlap ↑ | mAP of the seeds |"
    )
    assert lines[4].startswith("| shapley_1 | 2 | 3 | 0.267 [-1.000, 1.000] |")
    assert lines[4].endswith("| – | 0.200 (0.100 to 0.300) |")
    assert "stability.csv has each of them" in text


def test_without_seeds_nothing_is_written(tmp_path: Path) -> None:
    write([run({"only": method(1)}, {"only": [UP, UP, UP]})], tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
