"""What a run would cost, without running it: every method asks scorers that only count.

python -m experiments.run experiment=... --dry-run
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attribot.attributors.base import Attributor, Problem
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.context.partition import build_tree
from attribot.models.generation import stored_response, without_end_token
from attribot.pipeline import attribute_example
from attribot.scoring.base import Embedder
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, FloatArray, Response
from experiments.rows import REFERENCE
from experiments.runner import Experiment


@dataclass(frozen=True)
class RunPlan:
    """Counted cost of a whole run.

    costs: by method, summed over examples; memory is the largest estimate of any example.
    num_examples: that the run takes.
    num_assumed: of them, those whose response is not written yet and was taken for as long as
        generation allows.
    flops_per_second: that a pass over the last example's prompt reached.
    """

    costs: Mapping[str, Cost]
    num_examples: int
    num_assumed: int
    flops_per_second: float

    def hours(self, name: str) -> float:
        return self.costs[name].flops / self.flops_per_second / 3600


class CountedEmbedder:
    """Stands in for an embedder: random unit vectors, at no cost."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), 8))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def plan_run(experiment: Experiment) -> RunPlan:
    """Counts every method on every example.

    Exact for methods whose ablations do not depend on scores. What `TwoStage` keeps and when
    `Racing` ends is decided by random scores: their cost is that of such a choice.
    """
    attributors: dict[str, tuple[Attributor, Mapping[str, Any]]] = {
        REFERENCE: (LeaveOneOut(), {"target": ModelScorer(experiment.models["target"])}),
        **{name: (m.attributor, m.scorers) for name, m in experiment.methods.items()},
    }
    counting = {
        name: (attributor, {role: _counting(scorer) for role, scorer in scorers.items()})
        for name, (attributor, scorers) in attributors.items()
    }
    costs = dict.fromkeys(counting, Cost())
    num_assumed = 0
    for example in experiment.examples.examples:
        tree = build_tree(example, experiment.splitter)
        prompt = experiment.template.render(tree.text, example.query)
        target = experiment.models["target"]
        response = stored_response(experiment.cache, target, prompt, experiment.generation)
        if response is None:
            num_assumed += 1
            ids = target.encode_prompt(prompt).token_ids * experiment.generation.max_new_tokens
            longest = ids[: experiment.generation.max_new_tokens]
            response = Response(example.query, longest, target.tokenizer_sha, False)
        if not experiment.score_end_token:
            response = without_end_token(response)
        problem = Problem.of(tree, example.query, response, experiment.template)
        for name, (attributor, scorers) in counting.items():
            costs[name] += attribute_example(problem, attributor, scorers).cost
    rate = measured_rate(experiment, prompt)
    return RunPlan(costs, len(experiment.examples.examples), num_assumed, rate)


def _counting(scorer: object) -> object:
    if isinstance(scorer, ModelScorer):
        return scorer.planning()
    return CountedEmbedder() if isinstance(scorer, Embedder) else scorer


def measured_rate(experiment: Experiment, prompt: str, repeats: int = 3) -> float:
    """FLOP/s of scoring a prompt on this machine: the median of a few passes."""
    target = experiment.models["target"]
    scorer = ModelScorer(target)
    ids = target.encode_prompt(prompt).token_ids[:16]
    response = Response("", ids, target.tokenizer_sha, False)
    # A first call holds what only first calls do.
    scorer.score([prompt[:100]], response)
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        cost = scorer.score([prompt], response).cost
        rates.append(cost.flops / (time.perf_counter() - start))
    return float(np.median(rates))


def print_plan(experiment: Experiment, plan: RunPlan, console: Console) -> None:
    """The plan as a table."""
    table = Table(title=f"plan: {plan.num_examples} examples", box=SIMPLE, title_justify="left")
    table.add_column("method")
    for heading in ("passes", "tokens", "TFLOP", "hours", "GB at most"):
        table.add_column(heading, justify="right", no_wrap=True)
    labels = {REFERENCE: "exact LOO (reference)"}
    labels |= {name: method.label for name, method in experiment.methods.items()}
    for name, cost in plan.costs.items():
        table.add_row(
            escape(labels[name]),
            f"{cost.forward_passes:,}",
            f"{cost.computed_tokens:,}",
            f"{cost.flops / 1e12:,.1f}",
            f"{plan.hours(name):.2f}",
            f"{cost.peak_memory_bytes / 1e9:.2f}" if cost.peak_memory_bytes else "–",
        )
    console.print(table)
    total = math.fsum(map(plan.hours, plan.costs))
    console.print(
        f"about {total:.2f} hours in all at {plan.flops_per_second / 1e9:.0f} GFLOP/s, measured by "
        f"a pass over one prompt on {experiment.models['target'].device}; generation and metrics "
        "that ablate again come on top"
    )
    if experiment.shares_ablations:
        console.print("share_ablations=true computes what methods have in common once: less")
    if plan.num_assumed:
        console.print(
            f"{plan.num_assumed} responses are not written yet: taken for "
            f"{experiment.generation.max_new_tokens} tokens, the longest that generation allows"
        )
