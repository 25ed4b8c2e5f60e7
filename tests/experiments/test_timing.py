"""Timing on tiny models: counters, clocks, a file that goes on; the table against known rows."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from attribot.errors import InvalidInputError, PromptTooLongError, RecordsError
from attribot.models.geometry import random_model
from attribot.types import Cost
from experiments.benchmark.records import LeftOut
from experiments.efficiency import __main__ as efficiency
from experiments.efficiency import timed_models, timing
from experiments.efficiency.compositions import (
    NAIVE,
    ONE_BY_ONE,
    REUSE,
    Composition,
    timed_compositions,
)
from experiments.efficiency.counting import FEWEST_TOKENS, SyntheticPrompt, word_tokenizer
from experiments.efficiency.timed_models import Clocked, TimedModels, check_memory
from experiments.efficiency.timing_records import TimingRow, TimingRun, Timings
from experiments.efficiency.timing_report import build, summary
from experiments.efficiency.timing_tasks import TimingTask, unless_out_of_memory
from experiments.forward_clock import undisturbed

REPOSITORY = Path(__file__).resolve().parents[2]
GEOMETRIES = REPOSITORY / "experiments/geometries"
TINY = GEOMETRIES / "tiny-llama.yaml"
WAYS = {way.name: way for way in timed_compositions()}
PRUNING = "proxy pruning + reuse"
MASK = "mask, own paragraph"
# Twelve sentences in three paragraphs; the words of a prompt need a larger vocabulary than tiny's.
PROMPT = SyntheticPrompt.of_length(FEWEST_TOKENS)
MACHINE = {
    "dtype": "float32",
    "hardware": {"cpu": "Abacus", "cores": 4, "gpu": None},
    "threads": 1,
    "versions": {"torch": "2.0"},
}
RUN = TimingRun("big", "small", "--tokens 460", "2026-01-02", "abcdef0123456789", True, 4e12)


def geometry(folder: Path, name: str, **changed: int) -> Path:
    """A YAML file as tiny-llama's with other settings."""
    lines = [line for line in TINY.read_text().splitlines() if line.split(":")[0] not in changed]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join([*lines, *(f"{key}: {value}" for key, value in changed.items())]))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimedModels]:
    folder = tmp_path_factory.mktemp("geometries")
    paths = {
        "target": geometry(folder, "big", vocab_size=601),
        "proxy": geometry(folder, "small", vocab_size=601, num_hidden_layers=1),
    }
    tokenizer = word_tokenizer([PROMPT])
    # Peaks of memory are reset by a garbage collection, which takes long among all libraries.
    with undisturbed():
        yield TimedModels.random(paths, torch.device("cpu"), torch.float32, tokenizer)


def task(models: TimedModels, name: str) -> TimingTask:
    return TimingTask(models, WAYS[name], PROMPT, PROMPT.problem(models.target))


def row(**changed: Any) -> TimingRow:
    fields: dict[str, Any] = {
        "run": 1,
        "prompt_tokens": 460,
        "sources": 12,
        "paragraphs": 3,
        "composition": NAIVE,
        "is_papers": True,
        "round": 1,
        "timed_ablations": None,
        "seconds": 4.0,
        "forward_seconds": 3.0,
        "timed_flops": 6e12,
        "flops": 6e12,
        "forward_passes": 13,
        "computed_tokens": 6091,
        "reused_tokens": 0,
        "peak_memory_bytes": 3e9,
        "resting_memory_bytes": 2e9,
        "predicted": 1.0,
        "predicted_in_tokens": 1.0,
    }
    return TimingRow(**fields | changed)


def test_a_prompt_has_the_length_asked_for() -> None:
    prompt = SyntheticPrompt.of_length(1000)
    assert prompt.prompt_tokens == 1000
    assert (prompt.num_sources, prompt.num_groups, prompt.tokens_per_source) == (28, 7, 33)
    assert (prompt.head_tokens, prompt.query_tokens) == (56, 20)
    assert (PROMPT.num_sources, PROMPT.num_groups, PROMPT.head_tokens) == (12, 3, 40)
    with pytest.raises(InvalidInputError, match="at least 456 tokens, which make 12 sentences"):
        SyntheticPrompt.of_length(455)


@pytest.mark.parametrize("name", [NAIVE, PRUNING, MASK])
def test_a_round_counts_what_was_planned_and_clocks_its_passes(
    models: TimedModels, name: str
) -> None:
    asked = task(models, name)
    found = asked.row(run=2, number=3)
    planned = models.plan(WAYS[name], asked.problem)
    assert (found.run, found.round, found.composition, found.timed_ablations) == (2, 3, name, None)
    assert (found.forward_passes, found.computed_tokens, found.reused_tokens) == (
        planned.forward_passes,
        planned.computed_tokens,
        planned.reused_tokens,
    )
    assert found.timed_flops == found.flops == planned.flops
    assert 0 < found.forward_seconds < found.seconds
    assert found.peak_memory_bytes is None or found.resting_memory_bytes is not None
    assert (found.predicted is None) == (name == MASK)
    if name == NAIVE:
        assert (found.predicted, found.predicted_in_tokens, found.forward_passes) == (1.0, 1.0, 13)


def test_both_ways_of_prefix_reuse_compute_the_same_tokens(models: TimedModels) -> None:
    plans = [models.plan(WAYS[name], task(models, name).problem) for name in (ONE_BY_ONE, REUSE)]
    assert plans[0].computed_tokens == plans[1].computed_tokens
    assert plans[0].flops == pytest.approx(plans[1].flops)


def test_passes_of_every_role_are_clocked(models: TimedModels) -> None:
    asked = task(models, PRUNING)
    view = models._engine("proxy", asked.way).packed_passes.view
    hook = view.model.register_forward_pre_hook(lambda *_: time.sleep(0.05))
    try:
        found = asked.row(1, 1)
    finally:
        hook.remove()
    assert found.forward_seconds >= 0.05


def test_some_ablations_stand_for_all(models: TimedModels) -> None:
    asked = task(models, NAIVE)
    found = asked.narrowed(4).row(1, 1)
    whole = models.plan(asked.way, asked.problem)
    assert (found.timed_ablations, found.sources) == (4, 12)
    assert (found.flops, found.forward_passes) == (whole.flops, 13)
    # A full pass and four without a sentence, of thirteen about as long.
    assert found.timed_flops == pytest.approx(whole.flops * 5 / 13, rel=0.02)
    scored = asked.narrowed(4)._timed_problem.candidates.nonzero()[0].tolist()
    assert scored == [1, 4, 7, 10]


def test_what_takes_too_long_is_divided_or_left_out(models: TimedModels) -> None:
    naive, pruning = task(models, NAIVE), task(models, PRUNING)
    assert naive.fitted(20.0, 20.0) is naive
    counts = [naive.fitted(seconds, 20.0) for seconds in (20.1, 40.0, 4000.0)]
    assert [count and count.num_ablations for count in counts] == [11, 6, 4]
    assert pruning.fitted(19.0, 20.0) is pruning
    assert pruning.fitted(21.0, 20.0) is None


def test_seconds_are_expected_at_the_rate_of_one_ablation(
    models: TimedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def clocked(_: TimedModels, __: object, problem: Any) -> Clocked:
        asked.append(problem.candidates.sum())
        return Clocked(Cost(flops=1e6), 0.5, 0.4, 1.0, 1.0)

    monkeypatch.setattr(TimedModels, "clocked", clocked)
    blocks = models.geometries["target"].block_parameters
    whole = 13 * (PROMPT.prompt_tokens + 39) - 12 * 33
    assert task(models, NAIVE).expected_seconds() == pytest.approx(2e-6 * blocks * whole * 0.5)
    assert asked == [1]
    two = models.geometries["proxy"].block_parameters, blocks
    assert two[0] == two[1] / 2
    assert task(models, PRUNING).expected_seconds() < task(models, REUSE).expected_seconds()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Clocks that need no passes, and run out of memory at the n-th call of a composition, which a
    test says by name."""
    at: dict[str, int] = {}
    num_calls = Counter[str]()

    def clocked(_: TimedModels, way: Composition, __: object) -> Clocked:
        num_calls[way.name] += 1
        if num_calls[way.name] == at.get(way.name):
            raise torch.OutOfMemoryError
        return Clocked(Cost(flops=1e9), 1e-3, 1e-3, 1.0, 1.0)

    monkeypatch.setattr(TimedModels, "clocked", clocked)
    return at


def test_all_meet_in_turn_and_what_fails_is_left_out(
    models: TimedModels, failing: dict[str, int]
) -> None:
    # The first call is for warming up.
    failing |= {NAIVE: 3, PRUNING: 1}
    rounds = {WAYS[NAIVE]: [1, 2], WAYS[REUSE]: [1, 2, 3], WAYS[PRUNING]: [1], WAYS[MASK]: [2]}
    results = list(timing.time_prompt(models, PROMPT, rounds, 1e9, 5))
    found = [(r.composition, r.round) for r in results if isinstance(r, TimingRow)]
    assert found == [(NAIVE, 1), (REUSE, 1), (MASK, 2), (REUSE, 2), (REUSE, 3)]
    left_out = [LeftOut(name, 456, 12, "out of memory") for name in (PRUNING, NAIVE)]
    assert [results[0], results[5]] == left_out
    assert timing.said(results[5]) == f"456 tokens, {NAIVE}: left out, out of memory"
    assert timing.said(results[1]) == f"456 tokens, round 1, {NAIVE}: 0.00 s"


@pytest.mark.usefixtures("failing")
def test_too_long_a_round_says_so(models: TimedModels) -> None:
    rounds = {WAYS[name]: [1] for name in (NAIVE, PRUNING)}
    # What is left out comes first: it is known before the first round.
    pruning, naive = timing.time_prompt(models, PROMPT, rounds, 1e-6, 1)
    assert isinstance(naive, TimingRow)
    assert timing.said(naive).endswith("s for 4 of 12 ablations")
    assert pruning == LeftOut(PRUNING, 456, 12, "about 0 s a round")


def test_memory_is_free_again_after_an_error() -> None:
    assert unless_out_of_memory(lambda: 7) == 7

    def fail() -> int:
        raise torch.OutOfMemoryError

    assert unless_out_of_memory(fail) is None


def test_models_that_do_not_fit_are_refused_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = dict.fromkeys(("target", "proxy"), GEOMETRIES / "qwen2.5-0.5b.yaml")
    cpu = torch.device("cpu")
    monkeypatch.setattr(timed_models, "available_bytes", lambda _: 2 * 988_065_536.0)
    assert check_memory(paths, cpu, torch.bfloat16) == dict.fromkeys(paths, 2 * 494_032_768)
    with pytest.raises(
        InvalidInputError,
        match=r"need 4\.0 GB \(qwen2\.5-0\.5b 2\.0, .*cpu has 2\.0 GB: take .*leave out --proxy",
    ):
        check_memory(paths, cpu, torch.float32)


def test_models_that_cannot_read_the_prompts_are_refused(models: TimedModels) -> None:
    tokenizer = models.target.tokenizer
    with pytest.raises(InvalidInputError, match=r"vocabulary of 331 tokens.* 496 different"):
        TimedModels.random({"target": TINY}, torch.device("cpu"), torch.float32, tokenizer)
    with pytest.raises(PromptTooLongError):
        models.check_length(SyntheticPrompt.of_length(8192))


def test_weights_are_drawn_where_they_stay() -> None:
    """No copy in another type: a 70B model in bfloat16 has no room for one."""
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.numel() >= 24 * 12:
                seen.add((str(function), out.dtype))
            return out

    with Watch():
        random_model(TINY, torch.device("cpu"), torch.bfloat16)
    assert {name for name, _ in seen} >= {"aten.normal_.default", "aten.empty.memory_format"}
    assert {dtype for _, dtype in seen} == {torch.bfloat16}


def options(**changed: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"compositions": None, "proxy": Path("p.yaml"), "target": Path("t.yaml")} | changed
    )


def test_without_a_proxy_the_targets_ways_are_left() -> None:
    names = [way.name for way in timing.chosen_ways(options())]
    assert names == [name for name in WAYS if name in timing.DEFAULT_WAYS]
    assert len(names) == len(timing.DEFAULT_WAYS) == 11
    alone = [way.name for way in timing.chosen_ways(options(proxy=None))]
    assert alone == [NAIVE, ONE_BY_ONE, REUSE, "hierarchical + reuse", MASK]
    with pytest.raises(InvalidInputError, match=re.escape(f"{PRUNING}: give --proxy, which")):
        timing.chosen_ways(options(proxy=None, compositions=[NAIVE, PRUNING]))
    assert not any("BM25" in name or "generation" in name for name in WAYS)


def test_what_is_timed_is_not_timed_again() -> None:
    timings = Timings(MACHINE).with_run(RUN).with_result(row()).with_result(row(round=2))
    timings = timings.with_run(replace(RUN, proxy="other")).with_result(row(run=2, round=3))
    prompts = [replace(SyntheticPrompt.of_length(460)), SyntheticPrompt.of_length(600)]
    ways = [WAYS[NAIVE], WAYS[REUSE]]
    found = timing.left_to_time(ways, prompts, 3, timings.timed("big", "small"))
    assert found == {
        prompts[0]: {ways[0]: [3], ways[1]: [1, 2, 3]},
        prompts[1]: {ways[0]: [1, 2, 3], ways[1]: [1, 2, 3]},
    }
    assert timing.left_to_time(ways[:1], prompts[:1], 2, timings.timed("big", "small")) == {}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    left = LeftOut(PRUNING, 460, 12, "out of memory")
    timings = Timings(MACHINE).with_run(RUN).with_result(row(predicted=None)).with_result(left)
    timings.write(tmp_path)
    assert Timings.read(tmp_path) == timings
    assert Timings.beside(tmp_path, MACHINE) == timings
    assert Timings.beside(tmp_path / "new", MACHINE) == Timings(MACHINE)
    with pytest.raises(InvalidInputError, match=r"another dtype \(float32\): choose another"):
        Timings.beside(tmp_path, {**MACHINE, "dtype": "bfloat16"})
    stored = json.loads((tmp_path / "timing.json").read_text())
    del stored["rows"][0]["flops"]
    (tmp_path / "timing.json").write_text(json.dumps(stored))
    with pytest.raises(RecordsError, match=r"flops.*expected timing\.json as"):
        Timings.read(tmp_path)


@pytest.fixture
def known() -> Timings:
    """Naive rounds of 4 and 8 seconds; reuse of 1 and 4, each by a quarter of its FLOPs."""
    quarter = {
        "composition": REUSE,
        "timed_ablations": 3,
        "timed_flops": 0.5e12,
        "flops": 2e12,
        "computed_tokens": 3385,
        "reused_tokens": 2706,
        "predicted": 0.5,
        "predicted_in_tokens": 0.6,
    }
    rows = [
        row(),
        row(round=2, seconds=8.0, forward_seconds=6.0),
        row(seconds=0.25, forward_seconds=0.125, **quarter),
        row(round=2, seconds=1.0, forward_seconds=0.5, peak_memory_bytes=5e9, **quarter),
        row(composition=MASK, is_papers=False, predicted=None, peak_memory_bytes=None),
        row(composition=MASK, prompt_tokens=600, sources=16, is_papers=False, predicted=None),
    ]
    timings = Timings(MACHINE).with_run(RUN)
    for result in [*rows, LeftOut(PRUNING, 460, 12, "about 30 s a round")]:
        timings = timings.with_result(result)
    return timings


def test_speedups_pair_the_seconds_of_a_round_and_scale_parts(known: Timings) -> None:
    table = summary(known).set_index(["prompt_tokens", "composition"])
    reuse = table.loc[(460, REUSE)]
    # 0.25 and 1 second of a quarter are 1 and 4; naive took 4 and 8, so 4 and 2 times as long.
    assert reuse[["seconds", "seconds_low", "seconds_high"]].tolist() == [2.5, 1.75, 3.25]
    assert reuse[["speedup", "speedup_low", "speedup_high"]].tolist() == [3.0, 2.5, 3.5]
    assert reuse["forward_speedup"] == pytest.approx((3 / 0.5 + 6 / 2) / 2)
    # 0.5 TFLOP in 0.125 and 0.5 seconds, at 4 TFLOP/s of the machine.
    assert reuse["flops_per_second"] == pytest.approx(2.5e12)
    assert reuse["share_of_matmul_rate"] == pytest.approx(0.625)
    assert reuse["outside_share"] == 0.5
    savings = reuse[["counted_saving", "predicted_in_tokens_saving", "predicted_saving"]]
    assert savings.tolist() == pytest.approx([3.0, 1 / 0.6, 2.0])
    assert reuse["peak_memory_bytes"] == 5e9
    assert table.index.tolist() == [(460, NAIVE), (460, REUSE), (460, MASK), (600, MASK)]
    assert table.loc[(600, MASK), ["speedup", "counted_saving"]].isna().all()


def test_the_page_says_what_was_timed_and_how(known: Timings, tmp_path: Path) -> None:
    known.write(tmp_path)
    text = build(tmp_path).read_text()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("## ")[1].splitlines()
        if line.startswith("|")
    }
    assert "big, proxy small: 460 tokens, 12 sentences in 3 paragraphs" in text
    assert cells[REUSE][1:7] == ["2", "3 of 12", "13", "3,385", "2,706", "2"]
    assert cells[REUSE][7:] == ["2.5", "62%", "50.0%", "5.00 (2.00)"]
    assert cells[MASK][-1] == "not measured"
    speedups = f"| {REUSE:<24} | paper"
    line = next(line for line in text.splitlines() if line.startswith(speedups[:14]))
    assert "2.5 [1.75, 3.25]" in line
    assert "3× [2.5, 3.5]" in line
    assert "1.67×" in line
    assert f"- big, small, 460 tokens: {PRUNING} (about 30 s a round)" in text
    assert "float32 on Abacus, 1 of 4 cores; torch 2.0." in text
    assert (
        "- run 1, 2026-01-02, commit abcdef012345 with changes, matrix multiplication at 4 "
        "TFLOP/s: `python -m experiments.efficiency.timing --tokens 460`"
    ) in text
    assert len(pd.read_csv(tmp_path / "timing.csv")) == 4
    assert build(tmp_path).read_text() == text


def test_left_out_alone_makes_a_page(tmp_path: Path) -> None:
    left = LeftOut(NAIVE, 460, 12, "out of memory")
    timings = Timings(MACHINE).with_run(replace(RUN, proxy="")).with_result(left)
    timings.write(tmp_path)
    assert f"- big, 460 tokens: {NAIVE} (out of memory)" in build(tmp_path).read_text()
    assert not (tmp_path / "timing.csv").exists()


@pytest.mark.slow
def test_the_command_needs_few_packages_goes_on_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = [
        "pandas",
        "tabulate",
        "matplotlib",
        "hydra",
        "omegaconf",
        "wandb",
        "scipy",
        "rich",
        "nupunkt",
    ]
    absent += ["sklearn", "bm25s", "datasets", "click", "pyarrow"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from experiments.efficiency.timing import main; main()"
    )
    target = geometry(tmp_path, "big", vocab_size=1201)
    proxy = geometry(tmp_path, "small", vocab_size=1201, num_hidden_layers=1)
    folder = tmp_path / "out"
    common = ["--target", str(target), "--threads", "1", "--output", str(folder)]
    both = [*common, "--proxy", str(proxy), "--tokens", "460", "--repeats", "1"]

    command = [sys.executable, "-c", code, *both, "--max-seconds", "1000"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(folder)
    first = Timings.read(folder)
    assert [r.composition for r in first.rows] == [w for w in WAYS if w in timing.DEFAULT_WAYS]
    assert not (folder / "timing.md").exists()
    # In this process pandas is there. One more round leaves the first alone.
    some = ["--max-seconds", "1000", "--compositions", NAIVE, PRUNING]
    timing.main([*both[:-1], "2", *some])
    second = Timings.read(folder)
    assert second.rows[: len(first.rows)] == first.rows
    assert [(r.run, r.round, r.composition) for r in second.rows[len(first.rows) :]] == [
        (2, 2, PRUNING),
        (2, 2, NAIVE),
    ]
    timing.main([*both, *some])
    assert Timings.read(folder) == second
    timing.main([*common, "--tokens", "600", "--repeats", "1", "--max-seconds", "0"])
    last = Timings.read(folder)
    assert {r.timed_ablations for r in last.rows if r.run == 3} == {4}
    assert [left.way for left in last.runs[2].left_out] == ["hierarchical + reuse"]
    page = (folder / "timing.md").read_text()
    assert "big alone: 600 tokens, 16 sentences in 4 paragraphs" in page
    assert "big, proxy small: 460 tokens" in page
    (folder / "timing.md").unlink()
    monkeypatch.setattr(efficiency, "efficiency_rows", pd.DataFrame)
    monkeypatch.setattr(efficiency, "draw", lambda *_: None)
    monkeypatch.setattr(efficiency, "page", lambda *_: "")
    monkeypatch.setattr(efficiency, "recorded_ratios", lambda _: pd.DataFrame())
    efficiency.build(folder, [])
    assert (folder / "timing.md").read_text() == page
