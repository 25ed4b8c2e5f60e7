"""The report as a whole: what it makes of runs under several seeds."""

from pathlib import Path

import pytest

from attribot.report.build import build_report
from tests.synthetic_run import METHODS, continue_run, manifest


@pytest.mark.slow
def test_runs_under_several_seeds_are_compared_and_the_first_is_reported(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        methods = {
            name: {"method": {"_target_": "Method", "name": name, "seed": seed}}
            for name in METHODS
            if name != "reference"
        }
        config = {
            "methods": methods,
            "evaluation": {
                "outlier_rule": {"_target_": "attribot.evaluation.outliers.TopScores", "k": 1}
            },
        }
        runs.append(tmp_path / f"seed {seed}")
        continue_run(runs[-1], manifest(seed=seed, config=config))
    build_report(runs, tmp_path / "both")
    tables = tmp_path / "both" / "tables"
    assert (
        "| loo_naive    | 2       | 3          | 1.000 [1.000, 1.000]"
        in (tables / "stability.md").read_text()
    )
    assert "Seed: 1." in (tables / "curve.md").read_text()
    assert sorted(path.name for path in tables.iterdir()) == [
        *("curve.csv", "curve.md", "curve.tex", "equal_cost.csv", "equal_cost.md", "metrics.md"),
        *("ranking.csv", "ranking.md", "recall_curve.csv", "recall_curve.md"),
        *("sample_sizes.csv", "sample_sizes.md", "stability.csv", "stability.md"),
    ]
    assert (tmp_path / "both" / "figures" / "recall_curve.png").stat().st_size > 0
    build_report(runs[:1], tmp_path / "one")
    assert not (tmp_path / "one" / "tables" / "stability.md").exists()
