"""The benchmark on a tiny model: all ways in all cells, closed-form counters, an honest foot."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attribot.context.partition import NupunktSplitter, build_tree
from attribot.data.examples import BundledDataset
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark.records import COLUMNS, WAYS, Measurements
from experiments.benchmark.report import build
from experiments.benchmark.ways import (
    NUM_HEAD_TOKENS,
    NUM_QUERY_TOKENS,
    NUM_RESPONSE_TOKENS,
    WINDOW,
    Cell,
)
from experiments.forward_clock import ForwardClock
from tests.models.tiny import tiny_language_model

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = "experiments/geometries/tiny-llama.yaml"


def run(folder, *arguments, geometry=True):
    common = ["--threads", "1", "--output", str(folder), "--repeats", "1"]
    if geometry:
        common += ["--geometry", str(REPOSITORY / TINY)]
    benchmark.main([*common, *arguments])
    return pd.read_csv(folder / "benchmark.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "matmul_rate", lambda _: 1e9)
        run(path, "--tokens", "96", "192", "--sources", "4", "8")
    return path


@pytest.fixture(scope="module")
def rows(folder):
    return pd.read_csv(folder / "benchmark.csv")


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(benchmark, "matmul_rate", lambda _: 1e9)


def test_every_way_meets_every_cell(folder, rows):
    met = set(rows[["prompt_tokens", "sources", "way"]].itertuples(index=False, name=None))
    assert met == {(n, s, way) for n in (96, 192) for s in (4, 8) for way in WAYS}
    assert len(rows) == len(met)
    assert rows.columns.tolist() == COLUMNS
    assert (folder / "benchmark.png").stat().st_size > 0
    text = (folder / "benchmark.md").read_text()
    assert "Every way was measured in every cell." in text
    for said in (
        "geometry of tiny-llama, float32 on",
        "1 of",
        "torch 2",
        "transformers 5",
        "commit",
    ):
        assert said in text


def test_counters_are_those_of_the_closed_form(rows):
    cell = rows[(rows["prompt_tokens"] == 192) & (rows["sources"] == 8)].set_index("way")
    computed = cell["computed_tokens"]
    context = 192 - NUM_HEAD_TOKENS - NUM_QUERY_TOKENS
    whole = 192 + NUM_RESPONSE_TOKENS - 1
    tail = NUM_QUERY_TOKENS + NUM_RESPONSE_TOKENS - 1
    # The eight sources, 16 tokens each, are all of the context.
    assert computed["naive"] == 9 * whole - context
    assert computed["cached"] == whole + 8 * tail + context * 7 // 2
    # Behind the last four sources there are fewer tokens of context than the window has.
    assert computed["masked"] == whole + 8 * tail + 4 * WINDOW + 48 + 32 + 16
    exact = rows[rows["way"] != "batched"]
    assert (exact["computed_tokens"] == exact["expected_tokens"]).all()
    batched = rows[rows["way"] == "batched"]
    assert (batched["computed_tokens"] >= batched["expected_tokens"]).all()


def test_ways_differ_as_they_should(rows):
    by_way = rows.pivot(index=["prompt_tokens", "sources"], columns="way")
    computed, flops = by_way["computed_tokens"], by_way["flops"]
    for way in ("naive", "cached"):
        assert (computed[f"{way}-all-logits"] == computed[way]).all()
        assert (flops[f"{way}-all-logits"] > flops[way]).all()
    assert (computed["packed"] == computed["cached"]).all()
    assert (flops["packed"] == flops["cached"]).all()
    assert (rows["forward_seconds"] < rows["seconds"]).all()
    assert (rows["forward_seconds"] > 0).all()
    has_peak = rows["peak_memory_bytes"].notna()
    assert (rows["peak_memory_bytes"] >= rows["resting_memory_bytes"])[has_peak].all()


@pytest.mark.usefixtures("_quick")
def test_ways_that_are_too_dear_are_named_in_the_foot(tmp_path):
    # 163 + 3 * 55 + 72 tokens by prefix reuse, 163 * 4 - 72 naively: 4.0 and 5.8 seconds.
    limits = ["--tokens-per-second", "100", "--max-seconds", "5"]
    rows = run(tmp_path, "--tokens", "132", "--sources", "3", *limits)
    assert set(rows["way"]) == set(WAYS) - {"naive", "naive-all-logits"}
    foot = (tmp_path / "benchmark.md").read_text().splitlines()[-4:]
    assert foot == [
        "Left out (tokens x sources):",
        "",
        "- naive-all-logits: 132 x 3 (about 6 s a round)",
        "- naive: 132 x 3 (about 6 s a round)",
    ]


@pytest.mark.usefixtures("_quick")
def test_a_second_run_adds_to_the_folder(tmp_path):
    run(tmp_path, "--tokens", "96", "--sources", "2", "--ways", "packed", "masked")
    rows = run(tmp_path, "--tokens", "96", "--sources", "4", "40", "--ways", "packed")
    found = rows[["run", "sources", "way"]].itertuples(index=False, name=None)
    assert set(found) == {(1, 2, "packed"), (1, 2, "masked"), (2, 4, "packed")}
    text = (tmp_path / "benchmark.md").read_text()
    assert "- masked: not asked for in 96 x 4, 96 x 40" in text
    others = "naive-all-logits, naive, cached-all-logits, cached, batched"
    assert f"- {others}: not asked for in 96 x 2, 96 x 4, 96 x 40" in text
    assert "- packed: 96 x 40 (fewer tokens than sources)" in text
    runs = Measurements.read(tmp_path).runs
    assert [run.command.split("--ways ")[1] for run in runs] == ["packed masked", "packed"]


@pytest.mark.usefixtures("_quick")
def test_another_machine_or_model_is_not_mixed_in(tmp_path, capsys):
    cell = ["--tokens", "96", "--sources", "2", "--ways", "naive"]
    run(tmp_path, *cell)
    before = (tmp_path / "benchmark.csv").read_text()
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path, *cell, "--dtype", "bfloat16")
    assert exit_.value.code == 1
    assert (
        "measurements of another dtype (float32): choose another --output"
        in capsys.readouterr().err
    )
    assert (tmp_path / "benchmark.csv").read_text() == before


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-seconds", "0"], "nothing to measure.*about 1 s a round.*raise --max-seconds"),
        (["--repeats", "0"], "expected at least 1, got 0"),
        (["--sources", "-4"], "expected at least 1, got -4"),
        (["--ways", "magic"], "invalid choice: 'magic'.*packed"),
        (["--geometry", "absent.yaml"], r"cannot read absent\.yaml"),
    ],
)
def test_bad_input(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(tmp_path, "--tokens", "96", "--sources", "2", *arguments)
    assert re.search(message, capsys.readouterr().err, flags=re.DOTALL)
    assert not (tmp_path / "benchmark.csv").exists()


@pytest.mark.usefixtures("_quick")
def test_a_way_without_enough_memory_is_left_out(tmp_path, monkeypatch):
    measure_once = benchmark.measure_once

    def scarce(way, cell):
        if way.engine.strategy == "naive" and cell.num_tokens > 128:
            raise torch.OutOfMemoryError
        return measure_once(way, cell)

    monkeypatch.setattr(benchmark, "measure_once", scarce)
    rows = run(tmp_path, "--tokens", "96", "192", "--sources", "2", "--ways", "naive", "packed")
    assert set(rows[["prompt_tokens", "way"]].itertuples(index=False, name=None)) == {
        (96, "naive"),
        (96, "packed"),
        (192, "packed"),
    }
    assert "- naive: 192 x 2 (out of memory)" in (tmp_path / "benchmark.md").read_text()


@pytest.mark.usefixtures("_quick")
def test_real_text_is_timed_where_there_is_a_tokenizer(tmp_path, monkeypatch):
    model = tiny_language_model("llama", max_positions=4096)
    monkeypatch.setattr(benchmark, "load_bundled", lambda **_: model)
    run(tmp_path, "--tokens", "96", "--sources", "2", "--ways", "packed", geometry=False)
    text = Measurements.read(tmp_path).runs[0].text
    (example,) = BundledDataset(max_examples=1).load().examples
    assert text["sources"] == build_tree(example, NupunktSplitter()).num_sources
    assert 0 < text["forward_seconds"][0] < text["seconds"][0]
    said = (tmp_path / "benchmark.md").read_text()
    assert f"- real text, {text['prompt_tokens']} tokens, {text['sources']} sources: " in said


def test_matmul_rate_is_of_the_models_shapes_and_type():
    model = tiny_language_model("llama").model.to(torch.bfloat16)
    shapes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.mm.default:
                shapes.append((tuple(args[0].shape), tuple(args[1].shape), args[0].dtype))
            return function(*args, **(kwargs or {}))

    with Watch():
        start = time.perf_counter()
        rate = benchmark.matmul_rate(model, seconds=0.05)
        spent = time.perf_counter() - start
    assert set(shapes) == {((1024, 24), (24, 37), torch.bfloat16)}
    # All but the first product are counted, in somewhat less than all the time.
    assert rate >= 2 * 1024 * 24 * 37 * (len(shapes) - 1) / spent
    assert rate <= 2 * 1024 * 24 * 37 * len(shapes) / 0.05


def test_the_forward_clock_runs_inside_the_module_only():
    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x

    module, device = Slow(), torch.device("cpu")
    with ForwardClock(module, device) as clock:
        for _ in range(3):
            module(torch.zeros(1))
            time.sleep(0.1)
    assert 0.06 <= clock.seconds < 0.2
    module(torch.zeros(1))
    with ForwardClock(module, device) as silent:
        pass
    assert silent.seconds == 0


def test_sources_tile_the_context_and_begin_with_tokens_of_their_own():
    cell = Cell(301, 7)
    extents = np.array(cell.extents)
    assert extents[0, 0] == NUM_HEAD_TOKENS
    assert extents[-1, 1] == 301 - NUM_QUERY_TOKENS
    assert (extents[1:, 0] == extents[:-1, 1]).all()
    prompt, response = cell.token_ids(331)
    assert (len(prompt), len(response)) == (301, NUM_RESPONSE_TOKENS)
    assert all(prompt[start] != prompt[end] for start, end in extents)


@pytest.mark.slow
def test_random_weights_need_few_packages(tmp_path):
    absent = ["hydra", "omegaconf", "wandb", "scipy", "sklearn", "nupunkt", "tabulate", "rich"]
    absent += ["pandas", "matplotlib"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from experiments.benchmark.__main__ import main; main()"
    )
    cell = ["--tokens", "96", "--sources", "2", "--repeats", "1", "--geometry", TINY]
    command = [sys.executable, "-c", code, *cell, "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(tmp_path)
    assert not (tmp_path / "benchmark.md").exists()
    assert build(tmp_path) == tmp_path / "benchmark.md"
    assert set(Measurements.read(tmp_path).rows["way"]) == set(WAYS)
