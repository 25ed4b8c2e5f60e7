"""Counted costs are those of real runs, predicted ones those of the paper; files are their view."""

import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError, RecordsError
from attribot.evaluation.efficiency import CostStage, PromptShape
from attribot.models.bundled import load_bundled
from attribot.models.kv_cache import ComputedPrefix, PrefixStates
from attribot.prompting import PromptTemplate
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.planning import Work
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, Cost
from experiments.efficiency import __main__ as efficiency
from experiments.efficiency.compositions import (
    HEADLINE,
    NAIVE,
    REUSE,
    SpreadOut,
    compositions,
    papers_cost,
    token_cost,
)
from experiments.efficiency.counting import (
    Call,
    SyntheticPrompt,
    count_calls,
    flops,
    named_geometry,
    word_model,
)
from experiments.efficiency.report import _cost, draw
from experiments.efficiency.reuse import (
    HEAD_TOKENS,
    TAIL_TOKENS,
    record_table,
    recorded_ratios,
    simple_ratio,
)
from experiments.efficiency.tables import (
    FLOOR,
    H200,
    PROMPTS,
    cost_parts,
    efficiency_rows,
    size_of,
)
from tests.attributors.fakes import build_problem
from tests.synthetic_run import continue_run, manifest

RESULTS = Path(__file__).resolve().parents[2] / "results"
COMMITTED = RESULTS / "efficiency"
SQUAD = RESULTS / "first_results/records/squad"
WAYS = {way.name: way for way in compositions()}
# Distinct primes, and paragraphs of different sizes; every word has a token of the tiny model.
SMALL = SyntheticPrompt("small", 13, 5, 2, head_tokens=7, query_tokens=3, response_tokens=11)
# Paragraphs of equal size, and parts of k that are so, too: closed forms hold without a rest.
EVEN = SyntheticPrompt("even", 15, 3, 2, head_tokens=7, query_tokens=3, response_tokens=11)
QUICK = (NAIVE, HEADLINE, "mask, query only, after generation")
TINY = {"tiny-llama": ("tiny-llama",)}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return efficiency_rows([SMALL], TINY)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in WAYS]
)
def test_what_is_counted_is_what_a_real_run_computes(name: str) -> None:
    way, model = WAYS[name], word_model(SMALL)
    problem = SMALL.problem(model)
    geometry = ModelGeometry.of(model.model)
    prefix = None
    if way.is_after_generation:
        ids = model.encode_prompt(problem.prompt()).token_ids + problem.response.token_ids[:-1]
        cache = model.model(input_ids=torch.tensor([ids]), use_cache=True).past_key_values
        prefix = ComputedPrefix(ids, PrefixStates.of(cache, 0, len(ids)))
    scorer = ModelScorer(model, way.strategy)
    scorers = {"target": scorer.opened(prefix), "proxy": scorer.opened()}
    real = way.attributor.attribute(problem, scorers).cost
    calls = count_calls(problem, model, way.attributor, way.strategy, way.is_after_generation)
    work = [part for call in calls for part in call.work]
    counted = Cost(
        forward_passes=sum(part.logits > 0 for part in work),
        computed_tokens=sum(part.computed for part in work),
        reused_tokens=sum(part.reused for part in work),
        flops=flops(geometry, work),
    )
    assert counted.flops > 0
    assert counted == Cost(
        real.forward_passes, real.computed_tokens, real.reused_tokens, pytest.approx(real.flops)
    )


def test_every_call_is_one_stage_of_its_role() -> None:
    model = word_model(SMALL)
    problem = SMALL.problem(model)
    for way in WAYS.values():
        calls = count_calls(problem, model, way.attributor, way.strategy, way.is_after_generation)
        assert [call.role for call in calls] == [s.role for s in way.stages(SMALL.shape)], way.name


def test_a_prompt_has_the_tokens_it_says() -> None:
    model = word_model(SMALL)
    problem = SMALL.problem(model)
    encoded = model.encode_prompt(problem.prompt())
    assert len(encoded.token_ids) == SMALL.prompt_tokens == 7 + 13 * 2 + 3
    assert len(problem.response.token_ids) == 11
    assert len(set(encoded.token_ids)) == len(encoded.token_ids)
    tree = problem.tree
    sizes = np.bincount(tree.parent[tree.sources])[1:]
    assert sizes[sizes > 0].tolist() == [2, 3, 2, 3, 3]
    with pytest.raises(InvalidInputError, match="at least one token each"):
        SyntheticPrompt("none", 3, 1, 2, query_tokens=0)


@pytest.mark.parametrize(
    "name",
    [
        NAIVE,
        REUSE,
        "hierarchical",
        "proxy + hierarchical",
        "proxy pruning + reuse",
        "mask, query only",
        "mask, own paragraph",
        "mask, then 5 exactly in the full context",
        "proxy mask, then 5 in the pruned context",
        "BM25, then 5 in the pruned context",
    ],
)
def test_the_form_in_tokens_is_exact_where_parts_are_even(name: str) -> None:
    way, model = WAYS[name], word_model(EVEN)
    problem = EVEN.problem(model)
    calls = count_calls(problem, model, way.attributor, way.strategy)
    for stage, call in zip(way.stages(EVEN.shape), calls, strict=True):
        counted = sum(work.computed for work in call.work)
        assert stage.computed_tokens(EVEN.shape, way.strategy != "naive") == pytest.approx(counted)


# r = 0.1, 12 sources in 4 paragraphs of 3: 1/H = 1/3, (k/G)^2 = (3/4)^2, (k/n)^2 = (5/12)^2.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAIVE, 1.0),
        (REUSE, 0.5),
        ("hierarchical", 1 / 3 + 9 / 16),
        ("proxy", 0.1),
        ("proxy + reuse", 0.05),
        (HEADLINE, 0.05 * (1 / 3 + 9 / 16)),
        ("proxy pruning", 0.1 + 25 / 144),
        ("hierarchical proxy pruning + reuse", 0.05 * (1 / 3 + 9 / 16) + 25 / 288),
        ("hierarchical in the full context", 0.5 * (1 / 3 + 3 / 4)),
        ("mask, query only", math.nan),
    ],
)
def test_formulas_are_those_of_the_paper(name: str, expected: float) -> None:
    shares = {"target": 1.0, "proxy": 0.1}
    found = papers_cost(WAYS[name], PromptShape(12, 4, 7, 5, 3), shares)
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_formula_of_the_headline_is_above_300_for_all_data_sets() -> None:
    shares = {"target": 1.0, "proxy": 1_235_814_400 / 70_553_706_496}
    found = [1 / papers_cost(WAYS[HEADLINE], prompt.shape, shares) for prompt in PROMPTS]
    np.testing.assert_allclose(found, [342, 394, 347], atol=0.5)
    in_tokens = [1 / token_cost(WAYS[HEADLINE], prompt.shape, shares) for prompt in PROMPTS]
    np.testing.assert_allclose(in_tokens, [292, 340, 314], atol=0.5)


def test_masks_cost_the_prompt_once_and_windows() -> None:
    shape = PromptShape(12, 4, 7, 5, 3)
    naive = CostStage().computed_tokens(shape, prefix_reuse=False)
    shares = {"target": 1.0, "proxy": 0.1}
    whole = 5 + 84 + 3
    windows = {
        "mask, query only": whole + 12 * 3,
        "mask, own paragraph": whole + 12 * (7 + 3),
        "mask, query only, after generation": 12 * 3,
        "proxy mask, then 5 masked with 64 tokens": 0.1 * (whole + 36) + whole + 5 * (64 + 3),
    }
    for name, tokens in windows.items():
        assert token_cost(WAYS[name], shape, shares) == pytest.approx(tokens / naive)


def scored(tree: ContextTree, pruned: list[int]) -> Attribution:
    scores = np.arange(float(tree.num_sources))
    scores[pruned] = np.nan
    return Attribution(np.stack([scores, np.zeros(tree.num_sources)]), Cost())


def test_survivors_are_spread_over_what_was_scored() -> None:
    tree = build_problem().tree
    paragraphs, sources = tree.units("paragraph"), tree.sources
    everything = scored(tree, [])
    assert SpreadOut(2, "sentence").survivors(everything, tree).tolist() == sources[[2, 7]].tolist()
    assert SpreadOut(1, "paragraph").survivors(everything, tree).tolist() == [paragraphs[1]]
    some = scored(tree, [0, 1, 2, 3, 4, 9])
    assert SpreadOut(2, "sentence").survivors(some, tree).tolist() == sources[[6, 8]].tolist()
    assert SpreadOut(7, "sentence").survivors(some, tree).tolist() == sources[5:9].tolist()


def test_parts_add_up_and_a_first_pass_stands_alone() -> None:
    geometries = {"target": named_geometry("llama-3.2-1b"), "proxy": named_geometry("qwen2.5-0.5b")}
    way = WAYS["proxy mask, then 5 in the pruned context"]
    calls = [
        Call("proxy", (Work(100, 0, 3), Work(20, 80, 3), Work(20, 80, 3))),
        Call("target", (Work(50, 0, 3), Work(30, 20, 3))),
    ]
    parts = cost_parts(way, calls, SMALL, geometries)
    target, proxy = geometries["target"], geometries["proxy"]
    assert parts == {
        "proxy, reading the whole prompt": proxy.pass_flops(100, 0, 3),
        "proxy, hiding sentences": 2 * proxy.pass_flops(20, 80, 3),
        "target, reading the pruned prompt": target.pass_flops(50, 0, 3),
        "target, deleting sentences of the pruned context": target.pass_flops(30, 20, 3),
    }
    naive = cost_parts(WAYS[NAIVE], [Call("target", calls[0].work)], SMALL, geometries)
    assert list(naive) == ["target, reading the whole prompt", "target, deleting sentences"]
    assert naive["target, reading the whole prompt"] == 0


def test_rows_are_relative_to_naive_and_to_generation(rows: pd.DataFrame) -> None:
    assert rows["composition"].tolist()[:2] == [FLOOR, NAIVE]
    assert set(rows["composition"]) == {FLOOR, *WAYS}
    by = rows.set_index("composition")
    np.testing.assert_allclose(rows["speedup"] * rows["counted"], 1)
    assert by.loc[NAIVE, "counted"] == 1
    # The proxy is the target here: one role's cost is the other's.
    assert by.loc["proxy + reuse", "counted"] == by.loc[REUSE, "counted"] < 1
    assert by.loc[FLOOR, "over_generation_flops"] == 1
    assert by.loc[FLOOR, "computed_tokens"] == SMALL.prompt_tokens + 10
    ratios = rows["tflop"] / by.loc[NAIVE, "tflop"]
    np.testing.assert_allclose(ratios, rows["counted"])
    np.testing.assert_allclose(rows["over_generation_flops"], ratios / by.loc[FLOOR, "counted"])
    assert rows["bound_share"].between(0.2, 1).all()
    assert not rows["reaches_300"].any()


def test_generation_reads_all_weights_for_every_token() -> None:
    geometry = named_geometry("llama-3.1-8b")
    prefill = geometry.pass_flops(SMALL.prompt_tokens, 0, 1) / 989e12
    decoding = 10 * geometry.weight_bytes / 4.8e12
    assert H200.generation_seconds(geometry, SMALL) == pytest.approx(prefill + decoding)


def test_numbers_keep_three_digits() -> None:
    shown = [_cost(v) for v in (41.056, 1.0, 0.52119, 0.0148, 0.00292, 0.000907)]
    assert shown == ["41.06", "1.00", "0.521", "0.0148", "0.00292", "0.000907"]
    assert size_of("qwen2.5-0.5b") == "0.5B"


def test_recorded_ratios_are_those_of_the_records() -> None:
    ratios = recorded_ratios([SQUAD]).set_index("example_id")
    costs = pd.read_parquet(SQUAD / "costs.parquet").set_index(["example_id", "method"])
    for example in ratios.index:
        naive, reuse = costs.loc[(example, "loo_naive")], costs.loc[(example, "loo")]
        row = ratios.loc[example]
        assert row["tokens_ratio"] == reuse["computed_tokens"] / naive["computed_tokens"]
        assert row["seconds_ratio"] == reuse["wall_seconds"] / naive["wall_seconds"]
        assert row["simple_formula"] == (row["sources"] + 1) / (2 * row["sources"])
    assert len(ratios) == 40
    assert simple_ratio(1) == 1
    # Chars are not tokens, but close.
    np.testing.assert_allclose(ratios["placed_formula"], ratios["tokens_ratio"], rtol=0.08)
    assert f"{ratios['tokens_ratio'].mean():.3f} [" in record_table(ratios.reset_index())


def test_runs_without_both_methods_are_named(tmp_path: Path) -> None:
    continue_run(tmp_path, manifest())
    with pytest.raises(RecordsError, match=r"has no loo: expected a run with `methods=exact`"):
        recorded_ratios([tmp_path])


@pytest.mark.slow
def test_the_figure_is_the_same_twice(tmp_path: Path) -> None:
    rows = pd.read_csv(COMMITTED / "efficiency.csv", keep_default_na=False)
    rows["predicted"] = pd.to_numeric(rows["predicted"], errors="coerce")
    paths = [tmp_path / "first.png", tmp_path / "second.png"]
    for path in paths:
        draw(rows, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert (COMMITTED / efficiency.FIGURE).stat().st_size > 0


def test_committed_rows_hold_every_pair_and_the_headline() -> None:
    rows = pd.read_csv(COMMITTED / "efficiency.csv", keep_default_na=False)
    assert len(rows) == 390
    headline = rows[(rows["composition"] == HEADLINE) & (rows["proxy"] == "llama-3.2-1b")]
    assert headline["reaches_300"].all()
    assert headline["dataset"].tolist() == [prompt.name for prompt in PROMPTS]
    # Where the target scores anything, it is far from the goal.
    scores = rows["bound_by"].str.startswith("target")
    assert rows[scores]["speedup"].max() < 120
    # Larger proxies cost more, everything else being equal.
    for _, group in rows[rows["target"] == "qwen2.5-72b"].groupby(["dataset", "composition"]):
        speedups = group["speedup"].tolist()
        assert all(small <= large for small, large in pairwise(speedups))


@pytest.mark.slow
def test_committed_files_are_what_the_command_gives(tmp_path: Path) -> None:
    for measured in (*COMMITTED.glob("*.json"), COMMITTED / "generation_time.csv"):
        shutil.copy(measured, tmp_path)
    efficiency.main([str(tmp_path)])
    committed = {path.name for path in COMMITTED.iterdir()}
    assert committed == {path.name for path in tmp_path.iterdir()}
    for name in committed - {efficiency.FIGURE}:
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes(), name


@pytest.mark.slow
def test_missing_records_end_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficiency, "efficiency_rows", pd.DataFrame)
    with pytest.raises(SystemExit):
        efficiency.main([str(tmp_path / "out"), "--records", str(tmp_path)])
    assert "is no run folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_template_tokens_are_those_of_the_bundled_model() -> None:
    model, template = load_bundled(), PromptTemplate()
    query = "Who built it?"
    prompt = template.render("Alpha built it.", query)
    spans = model.encode_prompt(prompt).char_spans
    start = template.context_offset(query)
    inside = (spans[:, 0] >= start) & (spans[:, 1] <= start + len("Alpha built it."))
    first, last = np.flatnonzero(inside)[[0, -1]]
    num_query = len(model.tokenizer(" " + query, add_special_tokens=False)["input_ids"])
    assert first == HEAD_TOKENS
    assert len(spans) - 1 - last - num_query == TAIL_TOKENS


def test_compositions_are_built_of_the_packages_attributors() -> None:
    assert len(WAYS) == len(compositions()) == 22
    parts = [way.attributor for way in WAYS.values()]
    assert all(isinstance(part, LeaveOneOut | TwoStage) for part in parts)
    assert [w.name for w in WAYS.values() if w.uses_proxy] == [n for n in WAYS if "proxy" in n]
