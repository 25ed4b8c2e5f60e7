"""Rebuilt numbers against the evaluator on live attributions; comparisons of protocols by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.evaluation.outliers import GeneralizedESD, TopScores
from attribot.records import Records, read_records
from attribot.report.summary import summarise
from attribot.types import Attribution, Cost, FloatArray
from experiments import runner
from experiments.recorded_scores import RecordedScores
from experiments.sensitivity import __main__ as sensitivity
from experiments.sensitivity.knobs import (
    knob_table,
    order_agreement,
    order_table,
    without_outliers,
)
from experiments.sensitivity.rebuilt import (
    HEADLINE,
    configured_evaluation,
    precisions,
    rebuilt_precision,
)
from experiments.sensitivity.runs import (
    by_variant,
    variant_of,
    variant_order_table,
    variant_table,
)
from tests.experiments.scored_run import REFERENCE, ScoredExample, scored_records, write_run
from tests.experiments.tiny_experiment import CONTEXTS, EVALUATION, tiny_experiment

KINDS = {"loo": "exact", "pruning": "trick", "proxy": "trick", "overlap_baseline": "baseline"}
NUM_SOURCES = 7
TWO_SIDED = "sign/two_sided"


def recorded(attribution: Attribution) -> RecordedScores:
    nothing = np.zeros(attribution.num_sources, dtype=np.int64)
    spans = np.zeros((attribution.num_sources, 2), dtype=np.int64)
    return RecordedScores(attribution.scores, attribution.priority, nothing, spans)


def random_stages(rng: np.random.Generator, num_stages: int) -> FloatArray:
    """Scores with ties; every stage scores fewer sources than the one before it."""
    stages = rng.integers(-4, 5, size=(num_stages, NUM_SOURCES)).astype(np.float64)
    for stage in range(num_stages - 1):
        stages[: stage + 1, rng.choice(NUM_SOURCES, 2, replace=False)] = np.nan
    return stages


@pytest.mark.parametrize("num_stages", [1, 2, 3])
def test_stored_scores_give_what_the_evaluator_gives(num_stages: int) -> None:
    rng = np.random.default_rng(num_stages)
    evaluation, num_open = FaithfulnessEvaluation(), 0
    for _ in range(12):
        attribution = Attribution(random_stages(rng, num_stages), Cost())
        reference = rng.normal(size=NUM_SOURCES)
        reference[rng.integers(NUM_SOURCES)] = rng.choice([-20.0, 20.0])
        expected = dict(evaluation.sensitivity(attribution, reference))
        for name, alternative in evaluation.alternatives():
            found = rebuilt_precision(recorded(attribution), reference, alternative)
            if np.isnan(expected[name]):
                assert np.isnan([found.low, found.high]).all()
            elif found.low == found.high:
                assert found.low == pytest.approx(expected[name], abs=1e-12), name
            else:
                assert name == TWO_SIDED
                assert found.low <= expected[name] + 1e-12
                assert expected[name] <= found.high + 1e-12
                num_open += 1
    assert (num_open > 0) == (num_stages > 1)


@pytest.mark.parametrize(("outlier", "is_tight"), [(0, True), (1, False)])
def test_bounds_hold_for_all_that_the_screen_may_have_scored(outlier: int, is_tight: bool) -> None:
    """The records say that the screen preferred source 3 to 2 to 1 to 0, not by which scores.

    A source between others in the signed order cannot have the largest score: bounds are wide.
    """
    final = np.array([np.nan, np.nan, np.nan, np.nan, 0.5, 0.1])
    reference = np.array([0.1, 0.3, 0.2, 0.0, 25.0, -0.1])
    reference[outlier] = -30.0
    evaluation = FaithfulnessEvaluation(outlier_rule=GeneralizedESD(two_sided=True, max_share=0.5))
    live = [
        Attribution(np.stack([final, [*screened, np.nan, np.nan]]), Cost())
        for screened in itertools.combinations(np.linspace(-1, 0.9, 8), 4)
    ]
    values = {evaluation.average_precision(each, reference) for each in live}
    assert len({tuple(each.priority) for each in live}) == 1
    found = rebuilt_precision(recorded(live[0]), reference, evaluation)
    assert found.low < found.high
    assert found.low <= min(values) + 1e-12
    assert max(values) <= found.high + 1e-12
    assert (pytest.approx(found.high) == max(values)) == is_tight


@pytest.mark.slow
def test_a_fresh_run_gives_the_evaluators_sensitivity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: list[tuple[str, Attribution, FloatArray]] = []

    def noting(*arguments: Any) -> Iterator[tuple[str, float]]:
        posed, attribution, reference, *_ = arguments
        live.append((posed.example.example_id, attribution, reference))
        return assess(*arguments)

    assess = runner.assess_attribution
    monkeypatch.setattr(runner, "assess_attribution", noting)
    methods = ("loo", "hierarchical", "proxy_pruning", "word_overlap", "random")
    experiment = tiny_experiment(tmp_path / "run", methods=methods)
    runner.run(experiment)
    records = read_records(tmp_path / "run")
    found = precisions(records)
    places = {name: place for place, name in enumerate(records.examples["example_id"])}
    assert len(live) == len(CONTEXTS) * len(methods)
    names = itertools.cycle(experiment.methods)
    num_defined = 0
    for (example_id, attribution, reference), method in zip(live, names, strict=False):
        for alternative, expected in EVALUATION.sensitivity(attribution, reference):
            values = found[alternative][method]
            low, high = values.low[places[example_id]], values.high[places[example_id]]
            if low != high and not np.isnan(low):
                assert low <= expected <= high
            else:
                assert low == pytest.approx(expected, nan_ok=True)
                num_defined += not np.isnan(expected)
    assert num_defined > 50


# Exact scores, then those of a screen and of a proxy that is right about every other example.
def made_up(index: int, **changes: Any) -> ScoredExample:
    rng = np.random.default_rng(index)
    exact = rng.normal(size=NUM_SOURCES).round(2)
    exact[index % NUM_SOURCES] = 15.0 if index != 2 else exact[0]
    proxy = exact if index % 2 else np.roll(exact, 1)
    is_kept = rng.random(NUM_SOURCES) < 0.5
    is_kept[0] = True
    return ScoredExample(
        f"example-{index}",
        {
            REFERENCE: exact,
            "loo": exact,
            "pruning": [np.where(is_kept, exact, np.nan), proxy],
            "proxy": proxy,
            "overlap_baseline": rng.integers(0, 3, size=NUM_SOURCES),
        },
        **{"dataset": "odd" if index % 2 else "even", **changes},
    )


EXAMPLES = [made_up(index) for index in range(9)]


@pytest.fixture(scope="module")
def records() -> Records:
    return scored_records(EXAMPLES, KINDS)


def test_the_headlines_row_is_that_of_the_curve(records: Records) -> None:
    summary = summarise(records).set_index(["dataset", "method"])
    table = knob_table(records, precisions(records))
    headline = table[table["alternative"] == HEADLINE].set_index(["dataset", "method"])
    for end in ("", "_low", "_high", "_count"):
        column = f"average_precision{end}"
        pd.testing.assert_series_equal(
            headline[column].sort_index(), summary[column].sort_index(), check_dtype=False
        )
    is_open = table["num_undetermined"] > 0
    assert set(table.loc[is_open, "alternative"]) == {TWO_SIDED}
    assert set(table.loc[is_open, "method"]) == {"pruning"}
    assert table.loc[is_open, "average_precision"].isna().all()
    assert (table.loc[is_open, "least"] < table.loc[is_open, "most"]).all()
    is_told = ~is_open & table["average_precision"].notna()
    np.testing.assert_allclose(table.loc[is_told, "least"], table.loc[is_told, "most"])


@pytest.mark.slow
def test_the_order_is_told_for_every_alternative(records: Records) -> None:
    table = order_table(records, precisions(records)).set_index(["dataset", "alternative"])
    shares = summarise(records).groupby("dataset")["without_outliers"].first()
    for dataset in ("even", "odd", "all"):
        headline = table.loc[(dataset, HEADLINE)]
        assert headline["without_outliers"] == pytest.approx(shares[dataset])
        assert (headline["spearman"], headline["kendall"]) == (1, 1)
        assert (headline["num_methods"], headline["reversed_pairs"]) == (3, 0)
    assert table.loc[("all", "outlier_rule/top_1"), "without_outliers"] == 0
    assert table.loc[("all", TWO_SIDED), "num_left_out"] == 1
    assert without_outliers(records, TopScores(3)).tolist() == [False] * 9


def test_the_order_by_hand() -> None:
    """c and d change places clearly, a and b not: they differ on one of four examples."""
    nan = np.nan
    values = {
        "a": (np.array([0.9, 0.9, 0.9, 0.9]), np.array([0.8, 0.9, 0.9, 0.9])),
        "b": (np.array([0.8, 0.9, 0.9, 0.9]), np.array([0.9, 0.9, 0.9, 0.9])),
        "c": (np.array([0.5, 0.6, 0.5, 0.6]), np.array([0.2, 0.3, 0.2, 0.3])),
        "d": (np.array([0.3, 0.4, 0.3, nan]), np.array([0.4, 0.5, 0.4, nan])),
    }
    found = order_agreement(values, np.arange(4))
    # a > b > c > d becomes b > a > d > c: two of six pairs.
    assert found == pytest.approx(
        {
            "spearman": 1 - 6 * 4 / (4 * 15),
            "kendall": (4 - 2) / 6,
            "best": "b",
            "reversed_pairs": 2,
            "clearly_reversed": 1,
        }
    )
    tied = order_agreement(dict.fromkeys("ab", (values["a"][0], values["b"][1])), np.arange(4))
    assert tied["best"] == "a, b"
    lonely = order_agreement({"a": values["a"]}, np.arange(4))
    assert np.isnan(lonely["spearman"])  # type: ignore[call-overload]


def test_the_protocol_is_the_configured_one() -> None:
    rule = {"_target_": "attribot.evaluation.outliers.TopScores", "k": 2}
    config = {
        "evaluation": {
            "outlier_rule": rule,
            "ties": "document_order",
            "pruned": "tied",
            "no_outliers": "zero",
        }
    }
    expected = FaithfulnessEvaluation(
        outlier_rule=TopScores(2), ties="document_order", pruned="tied", no_outliers="zero"
    )
    records = scored_records(EXAMPLES[:3], KINDS, config, expected)
    assert configured_evaluation(records) == expected
    assert {"headline", "ties/expected"} <= set(precisions(records))
    other = FaithfulnessEvaluation(outlier_rule=TopScores(1))
    with pytest.raises(RecordsError, match=r"precision of .* is not the one that was recorded"):
        precisions(scored_records(EXAMPLES[:3], KINDS, config, other))


CHANGED = {"score_end_token": False}


def test_a_variant_is_named_by_what_is_changed(records: Records) -> None:
    of = records.manifest
    assert variant_of(of) == HEADLINE
    config = {
        "score_end_token": False,
        "generation": {"temperature": 0.1, "seed": 42},
        "compat": {"double_bos": False, "qasper_paragraph_leaves": True},
    }
    assert variant_of(replace(of, config=config)) == (
        "score_end_token=false, generation.temperature=0.1, compat.qasper_paragraph_leaves=true"
    )


def variant_example(index: int, **changes: Any) -> ScoredExample:
    """As under the headline, but the proxy is right about the other examples."""
    example = made_up(index, **changes)
    other = made_up(index + 1)
    scores = dict(example.scores) | {"proxy": np.asarray(other.scores["proxy"])}
    return replace(example, scores=scores)


# Example 0 has another response, example 1 lacks, example 3 is cut into other sources.
VARIANT_EXAMPLES = [
    variant_example(0, response="London."),
    *(variant_example(index) for index in (2, 4, 5, 6)),
    replace(
        made_up(3),
        scores={name: np.atleast_2d(of)[:, :-1] for name, of in made_up(3).scores.items()},
    ),
]


def metric(records: Records, method: str) -> pd.Series:
    rows = records.metrics
    rows = rows[(rows["metric"] == "average_precision") & (rows["method"] == method)]
    return rows.set_index("example_id")["value"]


@pytest.mark.slow
def test_variants_are_compared_on_the_same_examples(records: Records) -> None:
    changed = scored_records(VARIANT_EXAMPLES, KINDS, CHANGED, run_id="abcdefabcdef")
    variants = by_variant([changed, records])
    assert list(variants) == [HEADLINE, "score_end_token=false"]
    table = variant_table(variants)
    rows = table[table["variant"] == "score_end_token=false"].set_index(["dataset", "method"])
    row = rows.loc[("all", "proxy")]
    own, other = metric(changed, "proxy"), metric(records, "proxy")
    assert row["num_examples"] == 6
    assert row["average_precision"] == pytest.approx(own.mean())
    assert row["difference"] == pytest.approx((own - other).mean())
    same = [f"example-{index}" for index in (2, 4, 5, 6)]
    scores = {
        index: [
            np.asarray(of(index).scores["proxy"], dtype=np.float64)
            for of in (made_up, variant_example)
        ]
        for index in (2, 4, 5, 6)
    }
    agreements = [pd.Series(a).corr(pd.Series(b), method="spearman") for a, b in scores.values()]
    assert row["agreement"] == pytest.approx(np.mean(agreements))
    assert row["agreement_count"] == len(same)
    exact = rows.loc[("all", REFERENCE)]
    assert (exact["agreement"], exact["average_precision_count"]) == (1, 0)
    headline = table[table["variant"] == HEADLINE]
    assert headline["difference"].dropna().unique().tolist() == [0]
    order = variant_order_table(variants).set_index(["variant", "dataset"])
    told = order.loc[("score_end_token=false", "all")]
    assert (told["num_examples"], told["num_same"]) == (6, 4)
    assert 0 < told["without_outliers"] < 1
    assert order.loc[(HEADLINE, "all"), "num_same"] == len(EXAMPLES)


def test_runs_that_cannot_be_compared_are_refused(records: Records) -> None:
    def variant(config: Mapping[str, Any], **changes: Any) -> Records:
        return scored_records(EXAMPLES[:3], KINDS, config, run_id="abcdefabcdef", **changes)

    with pytest.raises(RecordsError, match=r"no run is of the headline.*got score_end_token=false"):
        by_variant([variant(CHANGED)])
    with pytest.raises(RecordsError, match=r"runs with score_end_token=false and .* in seed"):
        by_variant([records, variant(CHANGED, seed=1)])
    rule = {"_target_": "attribot.evaluation.outliers.TopScores", "k": 2}
    protocol = {
        "outlier_rule": rule,
        "ties": "expected",
        "pruned": "tied",
        "no_outliers": "leave_out",
    }
    with pytest.raises(RecordsError, match="differ in their evaluation"):
        by_variant([records, variant({**CHANGED, "evaluation": protocol})])


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headline = write_run(tmp_path / "headline", EXAMPLES, KINDS)
    changed = write_run(
        tmp_path / "changed", VARIANT_EXAMPLES, KINDS, CHANGED, run_id="abcdefabcdef"
    )
    for name in ("first", "second"):
        sensitivity.main([str(headline), str(changed), "--output", str(tmp_path / name)])
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    tables = ("evaluation", "evaluation_order", "protocol", "protocol_order")
    assert set(first) == {"sensitivity.md", *(f"{table}.csv" for table in tables)}
    assert str(tmp_path / "first" / "sensitivity.md") in capsys.readouterr().out
    text = first["sensitivity.md"].decode()
    assert "## score_end_token=false" in text
    assert "(not stored: " in text


@pytest.mark.slow
def test_the_text_has_a_table_per_knob(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", EXAMPLES[:2], {"proxy": "trick"})
    text = sensitivity.build([run_dir], tmp_path / "out").read_text()
    for title in sensitivity.KNOB_TITLES.values():
        assert f"## mAP ↑: {title[0].lower()}{title[1:]}" in text
    assert "under other protocols" not in text


def test_no_run_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        sensitivity.main([str(tmp_path), "--output", str(tmp_path / "out")])
    assert "is no run folder" in capsys.readouterr().err


def test_examples_that_wait_for_their_reference_are_left_out() -> None:
    waiting = replace(EXAMPLES[1], scores={REFERENCE: np.zeros(NUM_SOURCES)})
    records = scored_records([EXAMPLES[0], waiting], KINDS)
    sources = records.sources[records.sources["example_id"] == "example-0"]
    (headline,) = by_variant([replace(records, sources=sources)]).values()
    assert headline.examples["example_id"].tolist() == ["example-0"]
    assert precisions(headline)[HEADLINE]["loo"].low.tolist() == [1.0]
