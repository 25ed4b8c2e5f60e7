"""Metrics by question: each in its section, faithfulness and plausibility apart."""

from pathlib import Path

import pandas as pd

from attribot.evaluation.evaluator import METRIC_DIRECTIONS
from attribot.records import Records
from attribot.report.metric_tables import SECTIONS, metric_columns, metrics_markdown, write_metrics
from attribot.report.summary import summarise

NAMES = (
    *("log_prob_hold@10", "log_prob_drop@3", "log_prob_hold@2", "insertion_auc", "deletion_auc"),
    *("gold_precision@1", "recall@5", "recall@1"),
)


def summary_of(*names: str) -> pd.DataFrame:
    rows: dict[str, object] = {"dataset": ["x", "all"], "method": ["m", "m"]}
    for place, name in enumerate(names):
        rows |= {name: [9.0, place / 10], f"{name}_low": [0.0, 0.0], f"{name}_high": [9.0, 9.0]}
    return pd.DataFrame(rows)


def test_every_metric_of_quality_has_one_section() -> None:
    shown = [base for section in SECTIONS for base in section.headings]
    assert len(shown) == len(set(shown))
    costs = {"speedup", "relative_cost", "forward_passes", "computed_tokens", "reused_tokens"}
    costs |= {"flops", "wall_seconds", "peak_memory_bytes"}
    # The mAP is the mean average precision; outliers are the reference's; seeds have their table.
    others = {"map", "has_outliers", "top_overlap"}
    assert set(shown) == set(METRIC_DIRECTIONS) - costs - others
    for section in SECTIONS:
        is_plausibility = section.title.startswith("Plausibility")
        assert is_plausibility or section.title.startswith("Faithfulness")
        assert all(base.startswith("gold") == is_plausibility for base in section.headings)


def test_necessity_and_sufficiency_have_their_directions_and_units() -> None:
    columns = {
        section.title.split(": ")[1]: [
            c.heading for c in metric_columns(summary_of(*NAMES), section)
        ]
        for section in SECTIONS
    }
    assert columns["what the target says without the top sources (necessity)"] == [
        "Log-prob drop [nats]@3 ↑",
        "Deletion AUC [nats/token] ↓",
    ]
    assert columns["what the target says with the top sources alone (sufficiency)"] == [
        *("Log-prob hold [nats]@2 ↓", "Log-prob hold [nats]@10 ↓", "Insertion AUC [nats/token] ↑")
    ]
    assert columns["the target's outliers among the first k sources"] == [
        "Recall@1 ↑",
        "Recall@5 ↑",
    ]


def test_the_last_group_is_shown_and_empty_sections_are_not() -> None:
    text = metrics_markdown(summary_of(*NAMES))
    assert "| m        | 0.700 [0.000, 9.000] | 0.600 [0.000, 9.000] |" in text
    assert text.count("\n## ") == 3
    assert "LDS" not in text
    assert "curve.csv has each of them" in text
    assert "nats per response token that kept sources are worth" in text
    plain = metrics_markdown(summary_of("recall@1").tail(1))
    assert "Log-prob" not in plain
    assert "curve.csv" not in plain


def test_a_run_has_its_metrics_and_one_without_has_none(records: Records, tmp_path: Path) -> None:
    summary = summarise(records)
    write_metrics(summary, tmp_path)
    text = (tmp_path / "metrics.md").read_text()
    assert "| hierarchical | 0.800 [0.700, 0.900] | 0.900 [0.800, 1.000] |" in text
    assert text.index("Faithfulness: agreement") < text.index("Plausibility: agreement")
    write_metrics(summary[["dataset", "method"]], tmp_path / "none")
    assert not (tmp_path / "none").exists()
