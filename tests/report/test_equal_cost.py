"""mAP at equal cost: interpolated inside what was measured, nowhere else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.evaluation.statistics import mean_interval
from attribot.report.equal_cost import (
    equal_cost,
    equal_cost_markdown,
    relative_costs,
    write_equal_cost,
)
from tests.report.comparable import comparable

CHEAP, DEAR = np.array([0.2, 0.4, 0.3]), np.array([0.8, 0.6, 1.0])
VALUES = {
    "loo_naive": [1.0] * 3,
    "mask_2": list(DEAR),
    "mask_1": list(CHEAP),
    "rival_1": [0.0, 0.5, 0.1],
    "rival_2": [0.1, 0.6, 0.2],
    "alone": [0.5, 0.5, 0.8],
    "free": [0.1, 0.2, 0.3],
}
# Relative costs 0.4 and 0.025; their geometric mean is the budget of a tenth.
FLOPS = {
    "loo_naive": 1000.0,
    "mask_2": 400.0,
    "mask_1": 25.0,
    "rival_1": 50.0,
    "rival_2": 200.0,
    "alone": 250.0,
}
FAMILIES = {"mask_1": "mask", "mask_2": "mask", "rival_1": "rival", "rival_2": "rival"}


@pytest.fixture
def table() -> pd.DataFrame:
    return equal_cost(comparable(VALUES, flops=FLOPS, families=FAMILIES))


def at(table: pd.DataFrame, series: str, cost: float) -> pd.Series:
    is_it = (table["series"] == series) & np.isclose(table["relative_cost"], cost)
    (row,) = [row for _, row in table[is_it & (table["cost"] == "flops")].iterrows()]
    return row


def test_a_budget_between_two_settings_is_read_on_a_logarithmic_scale(table: pd.DataFrame) -> None:
    tenth = at(table, "mask", 1 / 10)
    expected = mean_interval((CHEAP + DEAR) / 2)
    found = tenth[["mean", "mean_low", "mean_high"]].astype(float)
    np.testing.assert_allclose(found, [expected.mean, expected.low, expected.high])
    assert (tenth["num_settings"], tenth["cheapest"], tenth["dearest"]) == (2, 0.025, 0.4)
    assert pd.isna(tenth["method"])
    # 0.25 lies at log(10) / log(16) of the way.
    share = np.log(10) / np.log(16)
    quarter = at(table, "mask", 1 / 4)["mean"]
    assert quarter == pytest.approx(((1 - share) * CHEAP + share * DEAR).mean())


def test_nothing_is_extrapolated_and_settings_stand_at_their_own_cost(table: pd.DataFrame) -> None:
    for budget in (1 / 2, 1 / 100):
        assert pd.isna(at(table, "mask", budget)["mean"])
    dear = at(table, "mask", 0.4)
    assert (dear["method"], dear["mean"]) == ("mask_2", pytest.approx(DEAR.mean()))
    alone = table[(table["series"] == "alone") & (table["cost"] == "flops")]
    assert alone[["method", "relative_cost", "num_settings"]].to_numpy().tolist() == [
        ["alone", 0.25, 1]
    ]
    # What counts no FLOPs has no relative cost.
    assert "free" not in set(table["series"])


def test_families_of_a_budget_are_compared_with_each_other_alone(table: pd.DataFrame) -> None:
    assert at(table, "mask", 1 / 10)["groups"] == at(table, "rival", 1 / 10)["groups"] == "a"
    # Only one family reaches a thirtieth.
    assert pd.isna(at(table, "mask", 1 / 30)["groups"])
    many = {name: values * 4 for name, values in VALUES.items()}
    table = equal_cost(comparable(many, flops=FLOPS, families=FAMILIES))
    assert [at(table, name, 1 / 10)["groups"] for name in ("mask", "rival")] == ["a", "b"]


def test_relative_costs_are_ratios_of_sums_over_common_examples() -> None:
    records = comparable(VALUES, flops=FLOPS)
    costs = records.costs.reset_index(drop=True)
    is_first = costs["example_id"] == "example-0"
    costs.loc[is_first & (costs["method"] == "loo_naive"), "flops"] = 5000.0
    costs = costs[~((costs["example_id"] == "example-1") & (costs["method"] == "alone"))]
    ratios = relative_costs(
        type(records)(**{**vars(records), "costs": costs}), "flops", "loo_naive"
    )
    assert ratios["mask_2"] == pytest.approx(1200 / 7000)
    assert ratios["alone"] == pytest.approx(500 / 6000)
    assert "free" not in ratios.index
    assert relative_costs(records, "flops", "unknown").empty


def test_markdown_has_a_row_per_series_and_a_column_per_reached_budget(table: pd.DataFrame) -> None:
    text = equal_cost_markdown(table)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "## mAP ↑ at equal counted FLOPs"
    header = "| Series | Settings | Relative cost | At its own cost | 1/4 | 1/10 | 1/30 |"
    assert lines[2] == header
    mask = next(line for line in lines if line.startswith("| mask |"))
    assert mask.startswith("| mask | 2 | 0.025 to 0.4 | – | ")
    assert " 0.550 [0.500, 0.650] a |" in mask
    assert "| alone | 1 | 0.25 | 0.600 [0.500, 0.800] | – | – | – |" in lines
    assert "## mAP ↑ at equal forward passes" in lines
    single = equal_cost_markdown(equal_cost(comparable(VALUES, flops=FLOPS)))
    assert "No method ran at several settings" in single
    assert "1/4" not in single


def test_without_naive_costs_there_is_no_table(tmp_path: Path) -> None:
    without = {name: own for name, own in VALUES.items() if name != "loo_naive"}
    for records in (comparable(without, flops=FLOPS), comparable(VALUES)):
        write_equal_cost(records, tmp_path / "tables")
        assert not (tmp_path / "tables").exists()
    records = comparable(VALUES, flops=FLOPS, families=FAMILIES)
    write_equal_cost(records, tmp_path / "tables")
    stored = pd.read_csv(tmp_path / "tables" / "equal_cost.csv")
    assert len(stored) == len(equal_cost(records))
    assert (tmp_path / "tables" / "equal_cost.md").stat().st_size > 0
