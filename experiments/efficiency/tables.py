"""Rows and tables of predicted against counted cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from attribot.scoring.cost import ModelGeometry
from attribot.scoring.planning import Work
from experiments.efficiency.compositions import (
    Composition,
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

PROMPTS = (
    SyntheticPrompt("HotpotQA", 41, 10, 33),
    SyntheticPrompt("SQuAD", 50, 10, 33),
    SyntheticPrompt("QASPER", 45, 12, 110),
)
PAIRS: Mapping[str, tuple[str, ...]] = {
    "llama-3.1-70b": ("llama-3.1-8b", "llama-3.2-3b", "llama-3.2-1b"),
    "qwen2.5-72b": (
        "qwen2.5-32b",
        "qwen2.5-14b",
        "qwen2.5-7b",
        "qwen2.5-3b",
        "qwen2.5-1.5b",
        "qwen2.5-0.5b",
    ),
}
GOAL = 300.0
FLOOR = "(floor) the target reads the prompt once"


@dataclass(frozen=True)
class Machine:
    """What bounds a pass: arithmetic, or reading the weights."""

    name: str
    flops_per_second: float
    bytes_per_second: float

    def generation_seconds(self, geometry: ModelGeometry, prompt: SyntheticPrompt) -> float:
        """Lower bound at batch 1: the prompt at peak arithmetic, then a pass per further token,
        each of which reads all weights."""
        seconds = geometry.pass_flops(prompt.prompt_tokens, 0, 1) / self.flops_per_second
        per_token = max(
            geometry.weight_bytes / self.bytes_per_second,
            geometry.pass_flops(1, prompt.prompt_tokens, 1) / self.flops_per_second,
        )
        return seconds + (prompt.response_tokens - 1) * per_token


# Data sheet of the H200 SXM: dense bfloat16 arithmetic and memory bandwidth.
H200 = Machine("H200", 989e12, 4.8e12)


def efficiency_rows(
    prompts: Sequence[SyntheticPrompt] = PROMPTS, pairs: Mapping[str, Sequence[str]] = PAIRS
) -> pd.DataFrame:
    """One row per prompt, composition and models: predicted and counted cost relative to naive
    leave-one-out, what the largest part of it is, and its ratio to generating the response.

    Compositions of the target alone have one row per target, whose `proxy` is empty.
    """
    geometries = {name: named_geometry(name) for name in {*pairs, *_flat(pairs.values())}}
    rows = []
    for prompt in prompts:
        model = word_model(prompt)
        problem = prompt.problem(model)
        counted = {
            way: count_calls(problem, model, way.attributor, way.strategy, way.is_after_generation)
            for way in compositions()
        }
        for target, proxies in pairs.items():
            alone = {"target": geometries[target]}
            rows.append({"target": target, "proxy": "", **_floor_row(prompt, alone, counted)})
            for proxy in ("", *proxies):
                taken = alone | ({"proxy": geometries[proxy]} if proxy else {})
                rows += [
                    {"target": target, "proxy": proxy, **_row(prompt, taken, way, counted)}
                    for way in counted
                    if way.uses_proxy == bool(proxy)
                ]
    return pd.DataFrame(rows)


def _flat(groups: Iterable[Sequence[str]]) -> list[str]:
    return [name for group in groups for name in group]


def _row(
    prompt: SyntheticPrompt,
    geometries: Mapping[str, ModelGeometry],
    way: Composition,
    counted: Mapping[Composition, Sequence[Call]],
) -> dict[str, object]:
    calls, shape = counted[way], prompt.shape
    shares = {
        role: geometry.num_parameters / geometries["target"].num_parameters
        for role, geometry in geometries.items()
    }
    parts = cost_parts(way, calls, prompt, geometries)
    bound = max(parts, key=lambda part: parts[part])
    total = math.fsum(parts.values())
    relative = total / _naive_flops(geometries, counted)
    predicted = papers_cost(way, shape, shares)
    return {
        "dataset": prompt.name,
        "composition": way.name,
        "source": "paper" if way.is_papers else "ours",
        "predicted": predicted,
        "predicted_in_tokens": token_cost(way, shape, shares),
        "counted": relative,
        "predicted_over_counted": predicted / relative,
        "computed_tokens": sum(work.computed for call in calls for work in call.work),
        **_judged(prompt, geometries["target"], total, relative),
        "bound_by": bound,
        "bound_share": parts[bound] / total,
    }


def _floor_row(
    prompt: SyntheticPrompt,
    geometries: Mapping[str, ModelGeometry],
    counted: Mapping[Composition, Sequence[Call]],
) -> dict[str, object]:
    """One pass of the target over prompt and response: less no method can cost that asks it about
    the whole context."""
    num_tokens = prompt.prompt_tokens + prompt.response_tokens - 1
    total = flops(geometries["target"], [Work(num_tokens, 0, prompt.response_tokens)])
    naive = next(iter(counted.values()))
    num_naive = sum(work.computed for call in naive for work in call.work)
    relative = total / _naive_flops(geometries, counted)
    return {
        "dataset": prompt.name,
        "composition": FLOOR,
        "source": "ours",
        "predicted": math.nan,
        "predicted_in_tokens": num_tokens / num_naive,
        "counted": relative,
        "predicted_over_counted": math.nan,
        "computed_tokens": num_tokens,
        **_judged(prompt, geometries["target"], total, relative),
        "bound_by": "target, reading the whole prompt",
        "bound_share": 1.0,
    }


def _judged(
    prompt: SyntheticPrompt, target: ModelGeometry, total: float, relative: float
) -> dict[str, object]:
    """A total [FLOP] against the goal and against generating the response.

    Generating is one pass over prompt and response, token by token from the second on; the seconds
    compare lower bounds, that of the attribution being arithmetic alone.
    """
    num_tokens = prompt.prompt_tokens + prompt.response_tokens - 1
    generation = flops(target, [Work(num_tokens, 0, prompt.response_tokens)])
    seconds = H200.generation_seconds(target, prompt)
    return {
        "tflop": total / 1e12,
        "speedup": 1 / relative,
        "reaches_300": 1 / relative >= GOAL,
        "over_generation_flops": total / generation,
        "over_generation_seconds": total / H200.flops_per_second / seconds,
    }


def _naive_flops(
    geometries: Mapping[str, ModelGeometry], counted: Mapping[Composition, Sequence[Call]]
) -> float:
    """Of the first composition, by the target."""
    (call,) = next(iter(counted.values()))
    return flops(geometries["target"], call.work)


def cost_parts(
    way: Composition,
    calls: Sequence[Call],
    prompt: SyntheticPrompt,
    geometries: Mapping[str, ModelGeometry],
) -> dict[str, float]:
    """FLOPs by role and stage; a stage's first pass over its prompt stands on its own, unless
    every pass is one."""
    parts: dict[str, float] = {}
    for stage, call in zip(way.stages(prompt.shape), calls, strict=True):
        num_reading = 0 if stage.is_read or way.strategy == "naive" else 1
        for label, work in (
            (stage.reading_label, call.work[:num_reading]),
            (stage.label, call.work[num_reading:]),
        ):
            parts[label] = parts.get(label, 0.0) + flops(geometries[call.role], work)
    return parts


def size_of(name: str) -> str:
    """ "70B" of "llama-3.1-70b"."""
    return name.rsplit("-", 1)[-1].upper()


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Of texts; every row has the same keys."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return tabulate(columns, headers="keys", tablefmt="github", disable_numparse=True)
