"""The whole flow for one example; the file to read first.

Example ── build_tree ──> ContextTree ── template ──> prompt ── target model ──> Response
    └────────────────────────> Problem ── attributor, scorers by role ──> Attribution
                                  └── evaluation, exact scores, gold ──> metric values
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribot.attributors.base import Attributor, Problem
from attribot.content_cache import ContentCache
from attribot.context.partition import SentenceSplitter, build_tree, gold_sources
from attribot.evaluation.ablation_curves import linear_datamodelling_score, random_masks
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.models.generation import (
    GenerationSettings,
    cached_response,
    without_end_token,
)
from attribot.models.language_model import LanguageModel
from attribot.models.memory import reset_peak_memory
from attribot.prompting import PromptTemplate
from attribot.scoring.base import Openable, Scorer
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, BoolArray, Example, FloatArray, Response


@dataclass(frozen=True, eq=False)
class PosedExample:
    """An example, split and answered: the problem to solve and the evidence to judge it by.

    gold: `[num_sources]` True where annotated evidence lies; None where nothing is annotated.
    """

    example: Example
    problem: Problem
    gold: BoolArray | None


def pose_example(
    example: Example,
    target: LanguageModel,
    splitter: SentenceSplitter,
    template: PromptTemplate,
    generation: GenerationSettings,
    cache: ContentCache,
    score_end_token: bool = True,
) -> PosedExample:
    """Split the context and let the target model answer, unless its response is cached.

    score_end_token: the end-of-turn token that the model wrote is part of what is attributed, as in
        the paper; False attributes the text alone.
    """
    tree = build_tree(example, splitter)
    prompt = template.render(tree.text, example.query)
    response = cached_response(cache, target, prompt, generation)
    if not score_end_token:
        response = without_end_token(response)
    gold = None
    if example.gold:
        gold = np.zeros(tree.num_sources, dtype=bool)
        gold[list(gold_sources(tree, example))] = True
    return PosedExample(example, Problem.of(tree, example.query, response, template), gold)


def attribute_example(
    problem: Problem, attributor: Attributor, scorers: Mapping[str, Any]
) -> Attribution:
    """One method on one example, timed: tokenisation counts, loading and generating do not.

    Scorers begin with an empty memory: within the method nothing is computed twice, and no method
    profits from another. The peak of memory is that since the start, where the system tells.
    """
    for scorer in scorers.values():
        if isinstance(scorer, ModelScorer):
            reset_peak_memory(scorer.language_model.device, hands_back=False)
    start = time.perf_counter()
    opened = {
        role: scorer.opened() if isinstance(scorer, Openable) else scorer
        for role, scorer in scorers.items()
    }
    attribution = attributor.attribute(problem, opened)
    return attribution.with_wall_seconds(time.perf_counter() - start)


def attribute_responses(
    problem: Problem,
    responses: Sequence[Response],
    attributor: Attributor,
    scorers: Mapping[str, Any],
) -> list[Attribution]:
    """One method on several responses of the same prompt, sharing the passes over it.

    Whatever the method asks about one response is scored for all of them at once. The first
    attribution bears the cost of what is shared. Methods that choose their ablations by the scores,
    such as `TwoStage`, so compute more than each response needs.
    """
    opened = {
        role: scorer.opened_for(responses) if isinstance(scorer, ModelScorer) else scorer
        for role, scorer in scorers.items()
    }
    return [
        attributor.attribute(replace(problem, response=response), opened) for response in responses
    ]


def assess_attribution(
    posed: PosedExample,
    attribution: Attribution,
    reference: FloatArray,
    evaluation: FaithfulnessEvaluation,
    scorer: Scorer,
    seed: int,
) -> Iterator[tuple[str, float]]:
    """(metric name, value) of one method on one example.

    reference: `[num_sources]` the target's exact LOO scores [nats].
    scorer: of the target, for the metrics that ablate the context again.
    """
    yield from evaluation.evaluate(attribution, reference, posed.gold)
    problem, num_sources = posed.problem, attribution.num_sources
    ablations = evaluation.top_ablations(num_sources)
    if len(masks := ablations.masks(attribution.priority)):
        values = _kept_log_likelihoods(problem, masks, scorer)
        yield from ablations.metrics(values, len(problem.response.token_ids))
    if evaluation.num_lds_ablations:
        # Every method is judged by the same ablations of an example.
        rng = np.random.default_rng([seed, zlib.crc32(posed.example.example_id.encode())])
        masks = random_masks(evaluation.num_lds_ablations, num_sources, 0.5, rng)
        values = _kept_log_likelihoods(problem, masks, scorer)
        yield "lds", linear_datamodelling_score(attribution.scores, masks, values)


def _kept_log_likelihoods(problem: Problem, masks: BoolArray, scorer: Scorer) -> FloatArray:
    """`[num_masks]` log-likelihoods of the response under masks `[num_masks, n]` [nats]."""
    sources = problem.tree.sources
    prompts = [problem.prompt(removed=sources[~mask]) for mask in masks]
    return scorer.score(prompts, problem.response).log_likelihoods
