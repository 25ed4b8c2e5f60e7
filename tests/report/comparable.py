"""Records with hand-picked values, for the tables that compare methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attribot.manifest import Manifest, MethodInfo
from attribot.records import Records
from tests.synthetic_run import manifest

RULE = {"_target_": "attribot.evaluation.outliers.TopScores", "k": 1}


def comparable(
    values: Mapping[str, Sequence[float | None]],
    *,
    metric: str = "average_precision",
    queries: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    flops: Mapping[str, float] | None = None,
    families: Mapping[str, str] | None = None,
    exact: Sequence[str] = ("loo_naive",),
    rankings: Mapping[str, Sequence[Sequence[float]]] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Records:
    """One value of `metric` per method and example; None = no row.

    flops: of each method on every example, and ten times its forward passes; "reference" has none.
    rankings: `[num_examples, num_sources]` priorities and scores per method, of "reference" too.
    """
    num_examples = len(next(iter(values.values())))
    ids = [f"example-{index}" for index in range(num_examples)]
    names = pd.DataFrame(
        {
            "run_id": "0123456789ab",
            "example_id": ids,
            "dataset": datasets or ["made_up"] * num_examples,
        }
    )
    infos = {
        name: MethodInfo(
            f"label of {name}",
            "exact" if name in exact else "trick",
            f"h-{name}",
            (families or {}).get(name, ""),
        )
        for name in values
    }
    of: Manifest = manifest(
        naive="loo_naive" if "loo_naive" in values else None,
        methods={"reference": MethodInfo("exact LOO", "exact", "a1"), **infos},
        config=config or {"evaluation": {"outlier_rule": RULE}},
        seed=seed,
    )
    metrics = [
        names.assign(method=name, metric=metric, value=pd.Series(own, dtype=float))
        for name, own in values.items()
    ]
    costs = [
        names.assign(
            method=name, flops=(flops or {}).get(name, 0.0), wall_seconds=1.0, computed_tokens=1
        ).assign(forward_passes=lambda rows: rows["flops"] / 10, reused_tokens=0)
        for name in values
    ]
    sources = [
        names.iloc[[index] * len(own)].assign(
            method=name, source_id=range(len(own)), priority=own, score=own, is_pruned=False
        )
        for name, of_examples in (rankings or {}).items()
        for index, own in enumerate(of_examples)
    ]
    questions = list(queries or ids)
    shas = {"prompt_sha": ids, "response_sha": ids, "num_sources": 3, "num_prompt_tokens": 9}
    return Records(
        of,
        examples=names.assign(query=questions, **shas),
        sources=pd.concat(sources) if sources else names.head(0).assign(method=None),
        costs=pd.concat(costs),
        metrics=pd.concat(metrics).dropna(subset="value"),
    )
