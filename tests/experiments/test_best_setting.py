"""Choosing on one half and judging on the other, on made-up settings whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribot.errors import AttribotError, InvalidInputError
from attribot.manifest import MethodInfo
from attribot.records import Records
from experiments.best_setting.__main__ import BUDGETS, best_settings, choose, choosing_half, main
from experiments.best_setting.settings import Settings, settings_of
from tests.synthetic_run import continue_run, manifest

EXAMPLES = tuple(f"question-{number}" for number in range(4))
HALF = np.array([True, True, False, False])


def settings(
    precision: Sequence[Sequence[float]], cost: Sequence[float], **changes: object
) -> Settings:
    """Settings named a, b, c, ... of constant cost relative to naive."""
    values = np.array(precision)
    made = Settings(
        tuple("abcdefgh"[: len(values)])
        if len(values) <= 8
        else tuple(map(str, range(len(values)))),
        tuple(f"question-{number}" for number in range(values.shape[1])),
        values,
        np.repeat(10.0 * np.array(cost)[:, None], values.shape[1], axis=1),
        np.full(values.shape[1], 10.0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def records(
    methods: Mapping[str, tuple[float | None, float]],
    *,
    dataset: str = "made_up",
    examples: Sequence[str] = EXAMPLES,
    run_id: str = "0123456789ab",
    proxy: str = "",
    **changes: object,
) -> Records:
    """A run whose methods, by label, have one average precision and FLOPs on every example."""
    infos = {
        "reference": MethodInfo("exact", "exact", "r"),
        "naive": MethodInfo("naive", "exact", "n"),
    }
    infos |= {f"m{n}": MethodInfo(label, "trick", label) for n, label in enumerate(methods)}
    numbers = {"reference": (1.0, 0.0), "naive": (1.0, 80.0)}
    numbers |= {f"m{n}": of for n, of in enumerate(methods.values())}
    base = manifest(None)
    models = base.models | ({"proxy": replace(base.models["target"], name=proxy)} if proxy else {})
    described = replace(
        base,
        run_id=run_id,
        methods=infos,
        naive="naive",
        models=models,
        finished_at="2026-01-02",
        dataset=replace(base.dataset, name=dataset),
        **changes,  # type: ignore[arg-type]
    )
    keys = [(example, method) for example in examples for method in infos]
    pairs = pd.DataFrame(keys, columns=["example_id", "method"]).assign(dataset=dataset)
    of = [numbers[method] for _, method in keys]
    return Records(
        described,
        pd.DataFrame({"example_id": examples, "dataset": dataset}).assign(
            prompt_sha=[f"p{dataset}{e}" for e in examples], response_sha="r"
        ),
        pd.DataFrame(columns=["example_id", "dataset", "method"]),
        pairs.assign(flops=[flops for _, flops in of], forward_passes=3),
        pairs.assign(metric="average_precision", value=[value for value, _ in of]),
    )


def test_the_best_within_the_budget_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    precision = [[0.9, 0.9, 0.1, 0.3], [0.8, 0.8, 0.8, 1.0], [1.0, 1.0, 1.0, 1.0]]
    choice = choose(settings(precision, [0.25, 0.2, 0.6]), HALF, Fraction(1, 2))
    assert choice is not None
    assert (choice.label, choice.in_sample, choice.held_out.count) == ("a", 0.9, 2)
    assert choice.held_out.mean == pytest.approx(0.2)
    assert (choice.in_sample_cost, choice.held_out_cost) == (0.25, 0.25)
    other = choose(settings(precision, [0.25, 0.2, 0.6]), HALF, Fraction(1, 4) - Fraction(1, 100))
    assert other is not None
    assert (other.label, other.held_out.mean) == ("b", pytest.approx(0.9))


def test_the_budget_counts_on_the_half_that_is_chosen_on() -> None:
    """Relative cost is a ratio of sums, as savings are in all tables."""
    flops = np.array([[1.0, 9.0, 20.0, 20.0]])
    one = settings([[1.0] * 4], [0.0], flops=flops, naive_flops=np.array([10.0, 10.0, 10.0, 30.0]))
    choice = choose(one, HALF, Fraction(1, 2))
    assert choice is not None
    assert (choice.in_sample_cost, choice.held_out_cost) == (0.5, 1.0)
    assert choose(one, HALF, Fraction(49, 100)) is None


def test_ties_go_to_the_cheaper_then_to_the_first() -> None:
    tied = settings([[0.5] * 4] * 3, [0.3, 0.2, 0.2])
    choice = choose(tied, HALF, Fraction(1, 2))
    assert choice is not None
    assert choice.label == "b"


def test_all_contexts_of_a_question_are_in_one_half_whatever_their_order() -> None:
    questions = [f"q{number % 7}" for number in range(21)]
    half = choosing_half(questions, seed=3)
    assert {q for q, chosen in zip(questions, half, strict=True) if chosen}.isdisjoint(
        q for q, chosen in zip(questions, half, strict=True) if not chosen
    )
    assert half.sum() == 9
    assert choosing_half(questions[::-1], seed=3).tolist() == half[::-1].tolist()
    assert any(choosing_half(questions, seed=s).tolist() != half.tolist() for s in range(5))


def test_one_question_cannot_be_split() -> None:
    with pytest.raises(InvalidInputError, match="at least two questions with outliers"):
        choosing_half(["q", "q"], seed=0)


def test_the_best_of_many_equal_settings_is_optimistic_and_the_held_out_half_is_not() -> None:
    """All 60 settings are worth 0.5; the luckiest of them looks far better where it was chosen."""
    found = []
    for draw in range(8):
        precision = np.random.default_rng(draw).uniform(size=(60, 40))
        rows, chosen = best_settings(settings(precision, [0.4] * 60), [Fraction(1, 2)], 0, 20)
        found += rows.to_dict("records")
        assert len(chosen) > 3
        assert chosen["share"].sum() == pytest.approx(1)
    assert min(row["mean_in_sample_map"] for row in found) > 0.62
    assert np.mean([row["mean_held_out_map"] for row in found]) == pytest.approx(0.5, abs=0.02)
    # Of 95% intervals for eight held-out halves nearly all hold the truth.
    held = [row["held_out_map_low"] < 0.5 < row["held_out_map_high"] for row in found]
    assert sum(held) >= 7


def test_a_setting_that_is_really_better_is_always_chosen_and_not_optimistic() -> None:
    precision = np.random.default_rng(6).uniform(0.4, 0.6, size=(4, 40))
    precision[2] += 0.3
    rows, chosen = best_settings(settings(precision, [0.1] * 4), [Fraction(1, 8)], 0, 50)
    assert chosen[["setting", "share"]].to_numpy().tolist() == [["c", 1.0]]
    (row,) = rows.to_dict("records")
    # Over many splits each example is as often in either half.
    assert row["mean_in_sample_map"] == pytest.approx(row["mean_held_out_map"], abs=0.01)
    assert row["chosen_share"] == 1


def test_a_budget_that_nothing_meets_has_a_row_without_numbers() -> None:
    rows, chosen = best_settings(
        settings([[1.0] * 4], [0.3]), [Fraction(1, 2), Fraction(1, 4)], 0, 3
    )
    assert rows["budget"].tolist() == ["1/2", "1/4"]
    assert rows["setting"].tolist()[0] == "a"
    assert rows.iloc[1].drop("budget").isna().all()
    assert chosen["budget"].tolist() == ["1/2"]


def test_one_run_with_many_methods() -> None:
    found = settings_of([records({"x": (0.5, 40.0), "y": (0.6, 20.0)})])
    assert found.labels == ("x", "y")
    assert found.precision.tolist() == [[0.5] * 4, [0.6] * 4]
    assert found.flops.tolist() == [[40.0] * 4, [20.0] * 4]
    assert found.naive_flops.tolist() == [80.0] * 4
    assert found.questions == EXAMPLES


def test_a_sweeps_runs_add_settings_and_share_what_they_share() -> None:
    runs = [
        records(
            {"packed": (1.0, 40.0), f"k = {k}": (0.1 * k, 10.0 * k)},
            run_id=f"{k:012}",
            proxy=f"{k}",
        )
        for k in (1, 2, 3)
    ]
    found = settings_of(runs)
    assert found.labels == ("packed", "k = 1", "k = 2", "k = 3")
    np.testing.assert_allclose(found.precision[:, 0], [1.0, 0.1, 0.2, 0.3])
    assert found.flops[:, 0].tolist() == [40.0, 10.0, 20.0, 30.0]


def test_a_sweep_over_data_sets_too() -> None:
    """Parts of one setting are merged; prompts of one question go by its id."""
    runs = [
        replace(
            part,
            **{
                t: getattr(part, t).assign(dataset="squad")
                for t in ("examples", "costs", "metrics")
            },
        )
        for k in (1, 2)
        for part in (
            records({f"k = {k}": (0.1 * k, 10.0)}, dataset=name, run_id=f"{name}{k}")
            for name in ("short", "long")
        )
    ]
    found = settings_of(runs)
    assert found.labels == ("k = 1", "k = 2")
    assert sorted(found.questions) == sorted([*EXAMPLES, *EXAMPLES])
    np.testing.assert_allclose(found.precision, [[0.1] * 8, [0.2] * 8])


def test_examples_without_outliers_and_methods_without_counts_are_left_out() -> None:
    run = records({"x": (0.5, 40.0), "embedder": (0.5, 0.0)})
    run.metrics.loc[run.metrics["example_id"] == EXAMPLES[1], "value"] = math.nan
    found = settings_of([run])
    assert (found.labels, found.uncounted) == (("x",), ("embedder",))
    assert found.questions == (EXAMPLES[0], *EXAMPLES[2:])
    run.costs["forward_passes"] = 0
    assert settings_of([run]).labels == ("x", "embedder")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            lambda: [records({"x": (0.5, 1.0)}), records({"x": (0.6, 1.0)}, run_id="b", proxy="p")],
            "'x' stands for several settings in the runs",
        ),
        (
            lambda: [records({"x": (0.5, 1.0)}), records({"y": (0.6, 1.0)}, examples=EXAMPLES[:3])],
            "differ in examples, prompts or responses",
        ),
        (
            lambda: [
                replace(r := records({"x": (1, 1)}), manifest=replace(r.manifest, finished_at=None))
            ],
            "is not finished",
        ),
        (
            lambda: [
                replace(r := records({"x": (1, 1)}), manifest=replace(r.manifest, naive=None))
            ],
            "no naive method",
        ),
        (lambda: [records({"x": (1.0, 0.0)})], "no setting whose FLOPs are counted"),
    ],
    ids=["label", "examples", "unfinished", "naive", "uncounted"],
)
def test_runs_that_cannot_be_compared_are_refused(runs, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AttribotError) as caught:
        settings_of(runs())
    assert message in str(caught.value)


def test_the_command_writes_tables_and_says_how_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    continue_run(Path("run"))
    main(["run", "--output", "out", "--splits", "5"])
    assert capsys.readouterr().out == "out/best_settings.md\n"
    rows = pd.read_csv("out/best_settings.csv")
    assert rows["budget"].tolist() == [str(budget) for budget in BUDGETS]
    # By hand: 8, 1 and a quarter of a unit; 2 of 3 examples have outliers, one in each half.
    assert rows["setting"].tolist() == ["TwoStage(paragraph, TopK(1))"] * 3 + ["Similarity"] * 2
    assert rows["held_out_cost"].tolist() == [1 / 8] * 3 + [1 / 32] * 2
    assert set(rows["in_sample_map"][:3]) | set(rows["held_out_map"][:3]) == {0.9, 0.7}
    page = Path("out/best_settings.md").read_text()
    assert "`python -m experiments.best_setting run --output out --seed 0 --splits 5`" in page
    assert "2 settings on 2 prompts of 2 questions" in page
    chosen = pd.read_csv("out/best_settings_chosen.csv")
    assert chosen["share"].tolist() == [1.0] * 5


def test_the_command_refuses_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(tmp_path), "--output", str(tmp_path)])
    assert "is no run folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--output", str(tmp_path), "--splits", "0"])
    assert "--splits of at least 1" in capsys.readouterr().err
