"""What scoring real text spends outside the model: rendering, tokenisation, planning."""

from __future__ import annotations

from typing import Any

from attribot.attributors.base import Problem
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.context.partition import NupunktSplitter, build_tree
from attribot.data.examples import BundledDataset
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.scorer import ModelScorer
from experiments.benchmark.ways import Way
from experiments.forward_clock import ForwardClock, read_clock


def measure_text(model: LanguageModel, repeats: int) -> dict[str, Any]:
    """Packed leave-one-out of the first bundled example, from text, timed `repeats` times.

    Returns "prompt_tokens", "sources", and by round "seconds" and "forward_seconds".
    """
    (example,) = BundledDataset(max_examples=1).load().examples
    assert example.answer is not None
    tree = build_tree(example, NupunktSplitter())
    problem = Problem.of(tree, example.query, response_from_text(model, example.answer))
    scorer = ModelScorer(model)
    assert isinstance(scorer.engine, LikelihoodEngine)
    module = Way(scorer.engine).module
    seconds, forward_seconds = [], []
    for _ in range(repeats):
        with ForwardClock(module, model.device) as clock:
            start = read_clock(model.device)
            LeaveOneOut().attribute(problem, {"target": scorer})
            seconds.append(read_clock(model.device) - start)
        forward_seconds.append(clock.seconds)
    return {
        "prompt_tokens": len(model.encode_prompt(problem.prompt()).token_ids),
        "sources": tree.num_sources,
        "seconds": seconds,
        "forward_seconds": forward_seconds,
    }
