"""The tricks' assumptions on made-up scores, against SciPy and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attribot.errors import RecordsError
from attribot.evaluation.statistics import mean_interval
from attribot.records import Records
from attribot.report.summary import summarise
from experiments import pooled_statistics
from experiments.assumptions import __main__ as assumptions
from experiments.assumptions.correlations import correlations, correlations_markdown
from experiments.assumptions.figures import middle
from experiments.assumptions.paragraphs import (
    paragraph_methods,
    paragraph_scores,
    paragraphs,
    paragraphs_markdown,
)
from experiments.pooled_statistics import (
    by_question,
    pooled_interval,
    pooled_pearson,
    pooled_spearman,
    slope,
)
from experiments.recorded_scores import compared_examples, one_stage_methods, recorded_scores
from tests.experiments.scored_run import REFERENCE, ScoredExample, scored_records, write_run

KINDS = {
    "loo": "exact",
    "proxy": "trick",
    "pruning": "trick",
    "paragraph_loo": "trick",
    "overlap_baseline": "baseline",
}
DELETION = {"_target_": "attribot.attributors.ablation.Deletion"}
LEAVE_PARAGRAPHS = {
    "_target_": "attribot.attributors.leave_one_out.LeaveOneOut",
    "role": "target",
    "level": "paragraph",
    "ablation": DELETION,
}
ESD = {"_target_": "attribot.evaluation.outliers.GeneralizedESD"}
PROTOCOL = {
    "outlier_rule": ESD,
    "ties": "expected",
    "pruned": "by_screen",
    "no_outliers": "leave_out",
}
CONFIG: dict[str, Any] = {
    "evaluation": PROTOCOL,
    "methods": {"paragraph_loo": {"method": LEAVE_PARAGRAPHS}},
}
# By example: sentences per paragraph, exact scores, scores of its paragraphs.
CASES: dict[str, tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]] = {
    "a": ((2, 1, 2), (9.0, 1.0, -0.5, 0.2, -0.4), (12.0, -0.6, 0.1)),
    "b": ((3, 2), (0.1, 0.3, -0.2, 7.0, 0.5), (-0.3, 7.0)),
    "c": ((4,), (0.5, 6.0, 0.25, 0.0), (7.5,)),
    "d": ((1, 3), (2.0, 0.9, 0.8, 0.7), (2.25, 3.0)),
}


def made_up(name: str) -> ScoredExample:
    sizes, exact, of_paragraphs = CASES[name]
    scores = np.array(exact)
    noise = np.random.default_rng(len(name) + ord(name)).normal(size=len(scores))
    screened = np.where(scores > np.median(scores), scores, np.nan)
    return ScoredExample(
        name,
        {
            REFERENCE: scores,
            "loo": scores,
            "proxy": 2 * scores + noise,
            "pruning": [screened, scores],
            "paragraph_loo": np.repeat(of_paragraphs, sizes),
            "overlap_baseline": -scores,
        },
        sizes,
        dataset="second" if name == "d" else "first",
    )


@pytest.fixture(scope="module")
def records() -> Records:
    return scored_records([*map(made_up, CASES)], KINDS, CONFIG)


def test_recorded_scores_are_those_of_every_source_in_order(records: Records) -> None:
    found = recorded_scores(records)
    assert list(found) == [REFERENCE, *KINDS]
    for name in CASES:
        example = made_up(name)
        for method in (REFERENCE, "pruning"):
            by = found[method][name]
            np.testing.assert_array_equal(by.scores, example.stages(method)[0])
            assert by.is_pruned.tolist() == np.isnan(example.stages(method)[0]).tolist()
            assert by.paragraphs.tolist() == example.paragraphs
            assert by.spans.tolist() == [[3 * i, 3 * i + 2] for i in range(len(by.scores))]


def test_methods_of_different_sources_are_not_compared(records: Records) -> None:
    found = recorded_scores(records)
    shifted = {"a": found["proxy"]["b"], "b": found["proxy"]["c"]}
    with pytest.raises(RecordsError, match="b has 5 reference scores but 4 of a method"):
        compared_examples(records.examples, found[REFERENCE], shifted)


def test_one_stage_methods_are_those_that_score_every_sentence(records: Records) -> None:
    assert one_stage_methods(records) == ("proxy", "overlap_baseline")


def test_correlations_are_scipys_and_the_evaluators(records: Records) -> None:
    table = correlations(records)
    assert list(table["dataset"].unique()) == ["first", "second", "all"]
    summary = summarise(records).set_index(["dataset", "method"])
    for _, row in table.iterrows():
        expected = summary.loc[(row["dataset"], row["method"])]
        for name in ("pearson", "spearman"):
            for end in ("", "_low", "_high"):
                assert row[name + end] == pytest.approx(expected[name + end], nan_ok=True)
    exact = np.concatenate([made_up(name).stages(REFERENCE)[0] for name in CASES])
    proxy = np.concatenate([made_up(name).stages("proxy")[0] for name in CASES])
    pooled = table[table["dataset"] == "all"].set_index("method")
    assert pooled.loc["proxy", "pooled_pearson"] == pytest.approx(stats.pearsonr(exact, proxy)[0])
    assert pooled.loc["overlap_baseline", "pooled_pearson"] == pytest.approx(-1)
    assert pooled["num_sources"].tolist() == [18, 18]
    assert pooled["in_nats"].tolist() == [True, False]


def test_pooled_statistics_are_scipys() -> None:
    pairs = np.random.default_rng(0).normal(size=(17, 2)).round(1)
    x, y = pairs.T
    assert pooled_pearson(pairs) == pytest.approx(stats.pearsonr(x, y)[0])
    assert pooled_spearman(pairs) == pytest.approx(stats.spearmanr(x, y)[0])
    assert slope(pairs) == pytest.approx(stats.linregress(x, y).slope)


@pytest.mark.parametrize("statistic", [pooled_pearson, pooled_spearman, slope])
def test_pooled_statistics_of_a_constant_are_undefined(statistic: Any) -> None:
    assert np.isnan(statistic(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])))
    assert np.isnan(statistic(np.empty((0, 2))))


def test_the_pooled_bootstrap_resamples_questions() -> None:
    """Of one pair per question it is the mean's bootstrap; undefined estimates are left out."""
    values = np.random.default_rng(1).normal(size=7)
    singles = [np.array([[value, 0.0]]) for value in values]
    found = pooled_interval(lambda pairs: float(pairs[:, 0].mean()), singles)
    expected = mean_interval(values)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert found.count == 7
    undefined = pooled_interval(slope, [np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])])
    assert (undefined.mean, undefined.low, undefined.high) == pytest.approx((2.0, 2.0, 2.0))
    assert np.isnan(pooled_interval(slope, []).mean)
    lonely = pooled_interval(slope, [np.array([[1.0, 2.0], [2.0, 4.0]])])
    assert lonely.mean == pytest.approx(2.0)
    assert np.isnan([lonely.low, lonely.high]).all()


def test_pairs_of_one_question_stay_together() -> None:
    pairs = [np.full((size, 2), float(size)) for size in (1, 2, 0, 3)]
    merged = by_question(pairs, np.array([5, 7, 9, 5]))
    assert [values[:, 0].tolist() for values in merged] == [[1.0, 3.0, 3.0, 3.0], [2.0, 2.0]]


def test_paragraphs_by_hand(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_statistics, "NUM_RESAMPLES", 100)
    found = paragraphs(records)
    table = found.set_index("dataset")
    # Sum of the sentences and score of every paragraph of several, without the singles of a and d.
    x = np.array([10.0, -0.2, 0.2, 7.5, 6.75, 2.4])
    y = np.array([12.0, 0.1, -0.3, 7.0, 7.5, 3.0])
    row = table.loc["all"]
    expected = {
        "num_examples": 4,
        "num_paragraphs": 6,
        "num_single": 2,
        "pearson": stats.pearsonr(x, y)[0],
        "spearman": stats.spearmanr(x, y)[0],
        "slope": stats.linregress(x, y).slope,
        "mean_absolute_deviation": np.abs(x - y).mean(),
        "sign_agreement": 4 / 6,
        # c has one paragraph; of d the best sentence lies in the other paragraph.
        "best_agreement": 2 / 3,
        "best_agreement_count": 3,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["pearson_low"] <= row["pearson"] <= row["pearson_high"]
    assert table.loc["second", "num_paragraphs"] == 1
    assert np.isnan(table.loc["second", "pearson"])
    assert "2 paragraphs of one sentence are left out" in paragraphs_markdown(found)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "proxy"},
        {"level": "sentence"},
        {"ablation": {"_target_": "attribot.attributors.ablation.Mask"}},
        {"_target_": "attribot.attributors.attention.Attention"},
    ],
)
def test_only_exact_leave_one_out_of_paragraphs_is_compared(change: dict[str, Any]) -> None:
    config = {"methods": {"paragraph_loo": {"method": LEAVE_PARAGRAPHS | change}}}
    records = scored_records([made_up("a")], {"paragraph_loo": "trick"}, config)
    assert paragraph_methods(records) == ()
    assert paragraphs(records).empty
    assert "add a method with `attributor: loo` and `level: paragraph`" in paragraphs_markdown(
        paragraphs(records)
    )


def test_unequal_scores_within_a_paragraph_are_refused(records: Records) -> None:
    found = recorded_scores(records)
    compared = compared_examples(records.examples, found[REFERENCE], found["proxy"])
    with pytest.raises(RecordsError, match="a: leave-one-out of paragraphs gives the sentences"):
        paragraph_scores(compared)


def test_the_recall_curve_is_that_of_screens(records: Records) -> None:
    table = assumptions.recall(records)
    screens = [REFERENCE, "proxy", "paragraph_loo", "overlap_baseline"]
    assert list(table["method"].unique()) == screens
    at_all = table[(table["dataset"] == "all") & (table["share"] == 1)]
    assert at_all["recall"].tolist() == [1.0] * len(screens)


def test_the_middle_of_an_axis() -> None:
    assert middle(np.array([0.0, 0.0, -0.02, 0.3, 40.0])) == pytest.approx(1.0)
    assert middle(np.array([-0.02, 0.03, 0.0])) == pytest.approx(0.1)
    assert middle(np.zeros(3)) == 1.0


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(tmp_path / "run", [*map(made_up, CASES)], KINDS, CONFIG)
    for name in ("first", "second"):
        assumptions.main([str(run_dir), "--output", str(tmp_path / name)])
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    tables = ("correlations", "paragraphs", "recall_curve")
    assert set(first) == {"assumptions.md", *(f"{t}.{e}" for t in tables for e in ("csv", "png"))}
    text = first["assumptions.md"].decode()
    assert all(f"]({table}.png)" in text for table in tables)
    assert capsys.readouterr().out.split() == [
        str(tmp_path / name / "assumptions.md") for name in ("first", "second")
    ]
    committed = pd.read_csv(tmp_path / "first" / "paragraphs.csv")
    assert committed.loc[committed["dataset"] == "all", "num_single"].tolist() == [2]


def test_what_records_cannot_tell_is_said(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", [made_up("a")], {"loo": "exact"})
    path = assumptions.build([run_dir], tmp_path / "out")
    assert [file.name for file in path.parent.iterdir()] == ["assumptions.md"]
    assert "No method of these records scores every sentence" in path.read_text()
    assert correlations_markdown(pd.DataFrame()) in path.read_text()


def test_no_run_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        assumptions.main([str(tmp_path), "--output", str(tmp_path / "out")])
    assert "is no run folder" in capsys.readouterr().err
