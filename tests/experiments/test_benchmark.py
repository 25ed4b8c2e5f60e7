"""The benchmark on a tiny model: all ways in all cells, agreeing counters, fits of known powers."""

import numpy as np
import pandas as pd
import pytest

from experiments import benchmark
from tests.models.tiny import tiny_language_model


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    model = tiny_language_model("llama")
    monkeypatch.setattr(benchmark, "load_bundled", lambda: model)
    monkeypatch.setattr(benchmark, "matmul_rate", lambda: 1e9)


def run(tmp_path, *arguments):
    benchmark.main(["--threads", "1", "--output", str(tmp_path), "--repeats", "1", *arguments])
    return pd.read_csv(tmp_path / "benchmark.csv")


def test_every_way_meets_every_cell(tmp_path):
    rows = run(tmp_path, "--tokens", "100", "170", "--sources", "3", "5")
    assert len(rows) == 4 * 7
    cell = rows[(rows["prompt_tokens"] == 170) & (rows["sources"] == 5)].set_index("way")
    assert cell.loc["packed", "computed_tokens"] == cell.loc["cached", "computed_tokens"]
    # Six whole sequences less the five sources, together all between head and query.
    sources = 170 - benchmark.NUM_HEAD_TOKENS - benchmark.NUM_QUERY_TOKENS
    whole = 170 + benchmark.NUM_RESPONSE_TOKENS - 1
    assert cell.loc["naive", "computed_tokens"] == 6 * whole - sources
    assert cell.loc["naive, all logits", "flops"] > cell.loc["naive", "flops"]
    assert (cell.loc["packed", ["packed_over_this"]] == 1).all()
    assert (tmp_path / "benchmark.png").stat().st_size > 0
    assert "Fitted exponents" in (tmp_path / "benchmark.md").read_text()


def test_cells_that_take_too_long_keep_the_fast_ways_only(tmp_path):
    rows = run(tmp_path, "--tokens", "100", "--sources", "3", "--max-seconds", "0")
    assert list(rows["way"]) == ["packed", "masked, 64 tokens"]


def test_fits_recover_known_powers():
    cells = [(n, s) for n in (100, 200, 400) for s in (8, 16)]
    rows = pd.DataFrame(
        [
            {
                "way": "made up",
                "prompt_tokens": n,
                "sources": s,
                "seconds": 3e-6 * n**1.5 * s,
                "computed_tokens": n * s**0.5,
                "flops": float(n) ** 2,
            }
            for n, s in cells
        ]
    )
    fit = benchmark.exponents(rows).iloc[0]
    found = [fit[f"{cost}^{of}"] for cost in ("seconds", "flops") for of in ("tokens", "sources")]
    np.testing.assert_allclose(found, [1.5, 1.0, 2.0, 0.0], atol=1e-9)
    assert fit["computed_tokens^sources"] == pytest.approx(0.5)
