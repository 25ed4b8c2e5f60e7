"""How many questions a run needs: by hand, and kept by runs that are so large."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.records import Records
from attribot.report.ranking import ranking
from attribot.report.sample_sizes import (
    HALF_WIDTHS,
    sample_sizes,
    sample_sizes_markdown,
    write_sample_sizes,
)
from tests.report.comparable import comparable


def drawn(num_examples: int) -> Records:
    """Two methods with a known spread, and one without any."""
    draw = np.random.default_rng(3).normal(size=(2, num_examples))
    values = {
        "best": 0.8 + 0.05 * draw[0],
        "noisy": 0.7 + 0.2 * draw[1],
        "constant": np.full(num_examples, 0.5),
    }
    return comparable({name: of.tolist() for name, of in values.items()})


def sizes(records: Records) -> pd.DataFrame:
    return sample_sizes(ranking(records), records).set_index("method")


def test_a_run_of_the_size_asked_for_has_intervals_of_the_width_asked_for() -> None:
    small = sizes(drawn(30))
    needed = small.loc["noisy", "for_0.02"]
    # 1.96 standard deviations of 0.2 over the root of n; 30 draws know their spread to some 13%.
    assert needed == pytest.approx((1.96 * 0.2 / 0.02) ** 2, rel=0.4)
    large = sizes(drawn(int(needed)))
    assert large.loc["noisy", "half_width"] == pytest.approx(0.02, rel=0.25)


def test_numbers_follow_from_the_ranking() -> None:
    records = drawn(30)
    ranked, table = ranking(records).set_index("method"), sizes(records)
    row, of = table.loc["noisy"], ranked.loc["noisy"]
    half_width = (of["mean_high"] - of["mean_low"]) / 2
    assert row["half_width"] == half_width
    assert [row[f"for_{width}"] for width in HALF_WIDTHS] == [
        np.ceil(30 * (half_width / width) ** 2) for width in HALF_WIDTHS
    ]
    half_width = (of["difference_high"] - of["difference_low"]) / 2
    assert row["to_tell_apart"] == np.ceil(30 * (half_width / of["difference"]) ** 2)
    assert table.loc["best", "to_tell_apart"] != table.loc["best", "to_tell_apart"]
    # Without spread no number of questions follows for its interval, but one for the difference.
    assert table.loc["constant", [f"for_{width}" for width in HALF_WIDTHS]].isna().all()
    assert table.loc["constant", "to_tell_apart"] <= 2


def test_questions_without_a_value_are_asked_too() -> None:
    """Of four questions two have outliers: for two more of these, four more are asked."""
    records = comparable({"one": [0.2, None, 1.0, None], "other": [0.3, None, 0.5, None]})
    table = sizes(records)
    assert table["share"].tolist() == [0.5, 0.5]
    row = table.loc["one"]
    assert row["for_0.1"] == np.ceil(2 * (row["half_width"] / 0.1) ** 2 / 0.5)


def test_the_page_names_numbers_and_what_they_mean(tmp_path: Path) -> None:
    records = comparable({"one": [0.5, 1.0], "other": [0.25, 0.75]})
    write_sample_sizes(ranking(records), records, tmp_path)
    text = (tmp_path / "sample_sizes.md").read_text(encoding="utf-8")
    assert text == sample_sizes_markdown(sample_sizes(ranking(records), records))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[4] == "| one | 0.750 [0.500, 1.000] | ±0.250 | 13 | 50 | 313 | – | – |"
    assert lines[6] == "2 questions have a value, 100% of all."
    stored = pd.read_csv(tmp_path / "sample_sizes.csv")
    pd.testing.assert_frame_equal(
        stored, sample_sizes(ranking(records), records), check_dtype=False
    )


def test_a_run_without_a_ranking_has_no_page(tmp_path: Path) -> None:
    records = comparable({"one": [0.5, 1.0]}, metric="spearman")
    write_sample_sizes(ranking(records), records, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_the_package_has_sizes(records: Records) -> None:
    table = sample_sizes(ranking(records), records)
    assert set(table["judged_by"]) == {"faithfulness", "plausibility"}
    assert (table["share"] < 1).any()
