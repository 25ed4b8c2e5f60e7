"""The report against made-up measurements with known medians, ratios and powers."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from attribot.errors import RecordsError
from experiments.benchmark import report as benchmark_report
from experiments.benchmark.growth import draw, exponents
from experiments.benchmark.records import BenchmarkRun, LeftOut, Measurements
from experiments.benchmark.report import build, medians, outside_forward, ratios, verdict

MACHINE = {
    "model": "made up",
    "dtype": "float32",
    "hardware": {"cpu": "Abacus", "cores": 4, "gpu": None},
    "threads": 1,
    "versions": {"torch": "2.0"},
}
RUN = BenchmarkRun("--tokens 400", "2026-01-02", "abcdef0123456789", True, 2e12)


def row(way, seconds, num_tokens=400, sources=8, number=1, **changed):
    return {
        "prompt_tokens": num_tokens,
        "sources": sources,
        "way": way,
        "round": number,
        "seconds": seconds,
        "forward_seconds": 0.9 * seconds,
        "forward_passes": sources + 1,
        "expected_tokens": 100,
        "computed_tokens": 100,
        "reused_tokens": 50,
        "flops": 1e12,
        "peak_memory_bytes": 3 * 2.0**20,
        "resting_memory_bytes": 2.0**20,
        "matmul_flops_per_second": 2e12,
        **changed,
    }


def rounds(way, all_seconds, **cell):
    return [row(way, s, number=i, **cell) for i, s in enumerate(all_seconds, start=1)]


def measured(*rows, run=RUN):
    return Measurements(MACHINE).with_run(run, rows)


def test_medians_and_quartiles_over_rounds():
    table = medians(measured(*rounds("packed", [4.0, 1.0, 2.0])).rows)
    (found,) = table.to_dict("records")
    assert (found["seconds"], found["seconds_low"], found["seconds_high"]) == (2.0, 1.5, 3.0)
    assert found["rounds"] == 3
    assert found["flops_per_second"] == 5e11
    assert found["share_of_matmul_rate"] == 0.25
    assert found["outside_share"] == pytest.approx(0.1)


def test_ratios_pair_the_seconds_of_a_round():
    rows = measured(
        *rounds("packed", [1.0, 2.0, 6.0]),
        *rounds("cached-all-logits", [2.0, 8.0, 8.0]),
        *rounds("packed", [1.0], sources=16),
    ).rows
    found = ratios(rows, "packed", "cached-all-logits")
    # The ratios are 0.5, 0.25 and 0.75; those of medians would be 2 / 8.
    assert found.loc[(400, 8)].tolist() == [0.375, 0.5, 0.625, 3.0]
    assert len(found) == 1
    assert ratios(rows, "packed", "naive").empty


def test_the_verdict_judges_cells_of_400_to_1200_tokens():
    rows = [
        *(
            row(*pair, num_tokens=n)
            for n in (300, 400, 1200, 1201)
            for pair in (
                ("packed", 0.6),
                ("cached-all-logits", 0.75),
                ("naive-all-logits", 2.0),
                ("masked", 0.3),
            )
        ),
        row("packed", 0.6, sources=9),
        row("cached-all-logits", 0.7, sources=9),
    ]
    text = "\n".join(verdict(measured(*rows).rows))
    cached, naive = "packed / cached-all-logits [at most 0.80]", "packed / naive-all-logits"
    assert f"| tokens x sources | {cached} | {naive} [at most 0.50] | masked / packed |" in text
    line = "0.80 [0.80, 0.80], n = 1, met | 0.30 [0.30, 0.30], n = 1, met | 0.50 [0.50, 0.50]"
    assert f"| 400 x 8 | {line}, n = 1 |" in text
    assert f"| 1200 x 8 | {line}, n = 1 |" in text
    assert "| 400 x 9 | 0.86 [0.86, 0.86], n = 1, **missed** | - | - |" in text
    assert "300" not in text
    assert "1201" not in text
    assert text.endswith(
        f"{cached}: met in 2 of 3 cells; {naive} [at most 0.50]: met in 2 of 2 cells."
    )


def test_the_verdict_says_what_was_not_measured():
    text = "\n".join(verdict(measured(row("packed", 1.0), row("naive-all-logits", 4.0)).rows))
    assert "packed / cached-all-logits [at most 0.80]: not measured" in text
    assert "packed / naive-all-logits [at most 0.50]: met in 1 of 1 cells" in text


def test_time_outside_the_passes_is_judged():
    rows = measured(
        row("packed", 1.0, forward_seconds=0.97),
        row("packed", 1.0, sources=16, forward_seconds=0.92),
        row("naive", 1.0, forward_seconds=0.5),
    ).rows
    text = {"prompt_tokens": 301, "sources": 9, "seconds": [2.0], "forward_seconds": [1.96]}
    run = BenchmarkRun("", "2026-01-02", None, None, 1e9, text=text)
    said = outside_forward(medians(rows), [run])
    assert "median 5.5%, largest 8.0%, **missed** (400 x 16)" in said
    assert "- real text, 301 tokens, 9 sources: 2.0%, met, median of n = 1 (2.00 s)" in said
    assert "real text: not measured" in outside_forward(medians(rows), [RUN])


def powers(n, s):
    """Costs with known powers; one more source costs n^0.5 tokens."""
    return {
        "seconds": 3e-6 * n**1.5 * s,
        "expected_tokens": n * s,
        "computed_tokens": n + s * n**0.5,
        "flops": float(n) ** 2,
    }


def test_fits_recover_known_powers():
    cells = [(n, s) for n in (100, 200, 400) for s in (8, 16)]
    rows = [row("packed", num_tokens=n, sources=s, **powers(n, s)) for n, s in cells]
    rows += [row("naive", 1.0)]
    fits = exponents(medians(measured(*rows).rows)).set_index(["way", "against"])
    assert set(fits.index.get_level_values("way")) == {"packed"}
    fits = fits.loc["packed"].rename(columns={"predicted (tokens)": "predicted"})
    assert fits["points"].to_dict() == {"tokens": 6, "sources": 6, "tokens, one more source": 3}
    per_source = fits.loc["tokens, one more source"]
    found = [
        *fits.loc["tokens", ["predicted", "seconds", "FLOPs"]],
        *fits.loc["sources", ["predicted", "seconds", "FLOPs"]],
        *per_source[["predicted", "seconds", "tokens"]],
    ]
    np.testing.assert_allclose(found, [1, 1.5, 2, 1, 1, 0, 1, 1.5, 0.5], atol=1e-9)
    # The FLOPs of one more source are zero here: no power describes them.
    assert np.isnan(per_source["FLOPs"])


def test_exponents_do_not_mix_levels_with_slopes():
    # Long prompts were measured with few sources only: a common intercept would hide the power.
    cells = [(100, 64), (200, 64), (400, 2), (800, 2)]
    rows = [row("packed", num_tokens=n, sources=s, **powers(n, s)) for n, s in cells]
    fits = exponents(medians(measured(*rows).rows)).set_index("against")
    assert fits.loc["tokens", "seconds"] == pytest.approx(1.5)
    assert "sources" not in fits.index


def test_the_figure_has_a_panel_per_number_of_sources_and_per_length(tmp_path, monkeypatch):
    figures = []

    class Kept(Figure):
        def savefig(self, *_, **__):
            figures.append(self)

    monkeypatch.setattr("experiments.benchmark.growth.Figure", Kept)
    cells = [(100, 8), (200, 8), (400, 8), (100, 16), (200, 16), (100, 32)]
    rows = [row("packed", num_tokens=n, sources=s, **powers(n, s)) for n, s in cells]
    assert draw(medians(measured(*rows).rows), tmp_path / "figure.png")
    panels = figures[0].axes
    titles = [panel.get_title() for panel in panels]
    assert titles == ["8 sources", "16 sources", "100 prompt tokens", "200 prompt tokens"]
    for panel in panels:
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    labels = [panel.get_legend().get_texts()[0].get_text() for panel in panels]
    assert labels == ["packed 1.50 (1.00)"] * 2 + ["packed 1.00 (1.00)"] * 2


def test_one_cell_has_no_figure(tmp_path):
    assert not draw(medians(measured(row("packed", 1.0)).rows), tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()


def test_the_report_is_rebuilt_from_its_files(tmp_path, capsys):
    left_out = (LeftOut("naive", 4000, 120, "about 600 s a round"),)
    run = BenchmarkRun("--tokens 400", "2026-01-02", "abcdef0123456789", True, 2e12, left_out)
    rows = [row("packed", 2.0), row("masked", 1.0, peak_memory_bytes=np.nan)]
    measured(*rows, run=run).write(tmp_path)
    benchmark_report.main([str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "benchmark.md")
    text = (tmp_path / "benchmark.md").read_text()
    assert "made up, float32 on Abacus, 1 of 4 cores; torch 2.0." in text
    assert (
        "- run 1, 2026-01-02, commit abcdef012345 with changes, matrix multiplication at 2 "
        "TFLOP/s: `python -m experiments.benchmark --tokens 400`"
    ) in text
    packed = "| 400 | 8 | packed | 1 | 2 [2, 2] | 9 | 100 | 50 | 1 | 0.5 | 25% | 3 (1) | 10.0% |"
    assert packed in text
    assert "| 25% | not measured | 10.0% |" not in text
    assert "| 50% | not measured | 10.0% |" in text
    assert "- naive: 4000 x 120 (about 600 s a round)" in text
    assert "- naive: not asked for in 400 x 8" in text
    assert "cached, batched, packed, masked: not asked for in" not in text
    assert "Too few cells to fit anything." in text
    assert "benchmark.png" not in text
    again = build(tmp_path).read_text()
    assert again == text


def test_damaged_files_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark_report.main([str(tmp_path)])
    assert "expected benchmark.json and benchmark.csv" in capsys.readouterr().err
    measured(row("packed", 2.0)).write(tmp_path)
    pd.read_csv(tmp_path / "benchmark.csv").drop(columns="flops").to_csv(tmp_path / "benchmark.csv")
    with pytest.raises(RecordsError, match="flops"):
        Measurements.read(tmp_path)


def test_what_is_written_is_what_is_read(tmp_path):
    text = {"prompt_tokens": 3, "sources": 2, "seconds": [1.0], "forward_seconds": [0.5]}
    run = BenchmarkRun("a", "b", None, None, 1.0, (LeftOut("naive", 1, 2, "c"),), text)
    rows = [row("packed", 2.0), row("masked", 1.5, peak_memory_bytes=np.nan)]
    written = measured(*rows, run=run).with_run(run, [row("packed", 0.1 + 0.2)])
    written.write(tmp_path)
    read = Measurements.read(tmp_path)
    assert (read.machine, read.runs) == (MACHINE, (run, run))
    pd.testing.assert_frame_equal(read.rows, written.rows, check_exact=True)
    # Files of earlier versions have empty cells.
    text = (tmp_path / "benchmark.csv").read_text()
    (tmp_path / "benchmark.csv").write_text(text.replace("nan", ""))
    pd.testing.assert_frame_equal(Measurements.read(tmp_path).rows, written.rows)
    assert json.loads((tmp_path / "benchmark.json").read_text())["runs"][0]["command"] == "a"
