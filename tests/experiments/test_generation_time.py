"""The table against made-up measurements; the measuring itself on tiny models."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attribot.data.examples import BundledDataset
from attribot.errors import RecordsError
from attribot.models.generation import GenerationSettings
from attribot.models.layer_drop import drop_layers
from attribot.scoring.cost import ModelGeometry
from experiments.generation_time.__main__ import Bench, measure, ways
from experiments.generation_time.report import COLUMNS, GENERATION, build, ratio_table
from tests.models.tiny import tiny_language_model

CIRCUMSTANCES = {
    "machine": {
        "model": "made up",
        "proxy": "smaller",
        "dtype": "float32",
        "hardware": {"cpu": "Abacus", "cores": 4, "gpu": None},
        "threads": 1,
        "versions": {"torch": "2.0"},
    },
    "run": {
        "command": "--examples 2",
        "date": "2026-01-02",
        "commit": "abcdef0123456789",
        "is_dirty": True,
        "matmul_flops_per_second": 2e12,
        "left_out": [],
        "text": None,
    },
}


def row(example: str, number: int, way: str, seconds: float, flops: float) -> dict[str, Any]:
    values = [example, 300, 20, 9, number, way, seconds, 320, flops]
    return dict(zip(COLUMNS, values, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    measured = {("a", 1): (2.0, 1.0), ("a", 2): (4.0, 6.0), ("b", 1): (2.0, 3.0)}
    rows = [
        row(example, number, way, seconds, flops)
        for (example, number), pair in measured.items()
        for way, seconds, flops in zip((GENERATION, "mask"), pair, (4e9, 3e9), strict=True)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "generation_time.csv", index=False)
    (tmp_path / "generation_time.json").write_text(json.dumps(CIRCUMSTANCES))
    return tmp_path


def test_ratios_pair_the_seconds_of_a_round(folder: Path) -> None:
    table = ratio_table(pd.read_csv(folder / "generation_time.csv"))
    line = next(line for line in table.splitlines() if line.startswith("| mask"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # Ratios 0.5, 1.5, 1.5; sums 10 / 8, and of the examples alone 7 / 6 and 3 / 2.
    assert cells[1:3] == ["3.00 [2.00, 4.50]", "1.50 [1.00, 1.50]"]
    assert cells[3] == "1.25 [1.17, 1.50]"
    assert cells[4:] == ["320", "3", "0.75"]


def test_the_page_says_where_and_how_it_was_measured(folder: Path) -> None:
    text = build(folder).read_text()
    assert (
        "made up, proxy smaller, float32 on Abacus, 1 of 4 cores; torch 2.0. 2026-01-02, commit "
        "abcdef012345 with changes, matrix multiplication at 2 TFLOP/s: "
        "`python -m experiments.generation_time --examples 2`"
    ) in text
    said = "2 bundled questions, 2 rounds; medians: 300 prompt tokens, 9 sources, 20 response"
    assert said in text
    assert build(folder).read_text() == text


def test_damaged_measurements_are_named(folder: Path) -> None:
    (folder / "generation_time.json").write_text("{}")
    with pytest.raises(RecordsError, match=r"expected generation_time.csv and generation_time"):
        build(folder)


@pytest.mark.slow
def test_every_way_meets_every_example_in_turn() -> None:
    target = tiny_language_model("llama", num_layers=3, max_positions=4096)
    settings = GenerationSettings(max_new_tokens=5)
    bench = Bench(target, drop_layers(target, [1]), settings)
    answered = [bench.answer(e) for e in BundledDataset(max_examples=2).load().examples]
    rows = pd.DataFrame(measure(bench, answered, 2))
    names = [GENERATION, *ways()]
    assert rows["way"].tolist() == [*names, *names[::-1]] * 2
    assert list(rows[COLUMNS]) == COLUMNS
    assert (rows["seconds"] > 0).all()
    (first,) = rows[(rows["example_id"] == answered[0].example_id) & (rows["round"] == 1)].groupby(
        "example_id"
    )
    tokens = first[1].set_index("way")["computed_tokens"]
    num_tokens = first[1]["prompt_tokens"].iloc[0] + first[1]["response_tokens"].iloc[0] - 1
    assert tokens[GENERATION] == num_tokens
    # What generating has left is all but the response's last pass over the full prompt.
    num_response = first[1]["response_tokens"].iloc[0]
    saved = tokens["exact"] - tokens["exact, after generation"]
    assert saved == num_tokens - num_response
    geometry = ModelGeometry.of(target.model)
    flops = first[1].set_index("way")["flops"]
    assert flops[GENERATION] == geometry.pass_flops(num_tokens, 0, num_response)
