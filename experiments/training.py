"""Trains a learned attributor on some examples and judges it on others, from plain objects."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from attribot.attributors.at2 import AT2
from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.fw_shapley import FWShapley
from attribot.attributors.trained_for import TrainedFor
from attribot.content_cache import ContentCache
from attribot.context.partition import SentenceSplitter
from attribot.data.loading import LoadedExamples
from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.evaluation.ablation_curves import linear_datamodelling_score
from attribot.evaluation.statistics import Interval, mean_interval
from attribot.learned.effects import AblationSampler, Effects, Lesson, Training
from attribot.learned.saved import SavedEstimator, sha_of_ids
from attribot.models.generation import GenerationSettings
from attribot.models.language_model import LanguageModel
from attribot.pipeline import PosedExample, pose_example
from attribot.prompting import PromptTemplate
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import StoredScorer
from attribot.types import Example
from experiments.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """All that a training needs, instantiated.

    name: of the estimator.
    training: how it learns.
    settings: resolved and plain, for the file.
    scorers: by role, the target's among them.
    held_out_share: of the examples, in (0, 1).
    """

    name: str
    training: Training[AT2 | FWShapley]
    settings: Mapping[str, Any]
    scorers: Mapping[str, ModelScorer]
    dataset_name: str
    examples: LoadedExamples
    splitter: SentenceSplitter
    template: PromptTemplate
    generation: GenerationSettings
    sampler: AblationSampler
    cache: ContentCache
    held_out_share: float = 0.25
    progress: bool = True

    @property
    def target(self) -> LanguageModel:
        return self.scorers["target"].language_model

    @property
    def read_model(self) -> LanguageModel:
        """The model whose internals are read."""
        return self.scorers[self.training.role].language_model


@dataclass
class Collected:
    """What the examples gave: lessons, and effects to judge by.

    trained_on: ids of the examples behind `lessons`, in order.
    held_out: by id, the problem and its effects.
    """

    trained_on: list[str] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)
    held_out: dict[str, tuple[Problem, Effects]] = field(default_factory=dict)


def train(run: TrainingRun) -> SavedEstimator:
    """Learns from the training examples; the held-out ones say how well.

    Raises:
        InvalidInputError: too few examples, or nothing that varies.
    """
    collected = collect(run)
    trained_for = TrainedFor.of(run.read_model.name, run.read_model.fingerprint)
    attributor = run.training.fit(collected.lessons, trained_for)
    judged = {run.name: attributor, "attention": Attention(run.training.role)}
    correlations = {
        name: held_out_correlation(method, collected, run.scorers)
        for name, method in judged.items()
    }
    training = {
        "dataset": run.dataset_name,
        "num_examples": len(collected.trained_on),
        "example_ids_sha": sha_of_ids(collected.trained_on),
        "num_ablations": run.sampler.num_ablations,
        "seed": run.sampler.seed,
        "ablation": repr(run.sampler.ablation),
        "target": {"name": run.target.name, "fingerprint": run.target.fingerprint},
        "generation": asdict(run.generation),
        "estimator": dict(run.settings),
    }
    held_out = {
        "num_examples": len(collected.held_out),
        "example_ids_sha": sha_of_ids(collected.held_out),
        "correlation": {name: _plain(interval) for name, interval in correlations.items()},
    }
    return SavedEstimator.of(attributor, training, held_out)


def collect(run: TrainingRun) -> Collected:
    """One pass over the full prompt of every example to train on, and the ablations of all.

    Examples with an empty response are logged and left out.

    Raises:
        InvalidInputError: an empty side.
    """
    chosen = held_out_ids([e.example_id for e in run.examples.examples], run.held_out_share)
    collected = Collected()
    stored = StoredScorer(run.scorers["target"], run.cache)
    with Progress(len(run.examples.examples), run.progress) as progress:
        for index, example in enumerate(run.examples.examples):
            progress.show(index, example.example_id, "response")
            try:
                problem = _posed(run, example).problem
            except EmptyResponseError as error:
                logger.warning("left out %s: %s", example.example_id, error)
                continue
            progress.show(index, example.example_id, "ablations")
            # What an example shares between its ablations is forgotten with it.
            scorer = stored.opened()
            if example.example_id in chosen:
                effects = run.sampler.uniform_effects(example.example_id, problem, scorer)
                collected.held_out[example.example_id] = problem, effects
            else:
                collected.trained_on.append(example.example_id)
                collected.lessons.append(_lesson(run, example.example_id, problem, scorer))
    if not collected.lessons or not collected.held_out:
        raise InvalidInputError(
            f"of {len(run.examples.examples)} examples {len(collected.lessons)} are left to train "
            f"on and {len(collected.held_out)} to judge by: raise dataset.max_examples or choose "
            f"another held_out_share"
        )
    return collected


def _posed(run: TrainingRun, example: Example) -> PosedExample:
    return pose_example(example, run.target, run.splitter, run.template, run.generation, run.cache)


def _lesson(run: TrainingRun, example_id: str, problem: Problem, scorer: StoredScorer) -> Lesson:
    log_weights = run.training.log_weights(int(problem.candidates.sum()))
    effects = run.sampler.effects(example_id, problem, scorer, log_weights, run.training.is_paired)
    return Lesson(run.training.features(problem, run.scorers[run.training.role]), effects)


def held_out_ids(example_ids: Sequence[str], share: float) -> frozenset[str]:
    """The share of the examples whose ids hash lowest, at least one of them.

    So the order of the data set does not matter, and neither does a seed.

    Raises:
        InvalidInputError: the share is not strictly between 0 and 1, or leaves nothing to train on.
    """
    if not 0 < share < 1:
        raise InvalidInputError(f"held_out_share must lie strictly between 0 and 1; got {share}")
    by_hash = sorted(set(example_ids), key=lambda i: hashlib.sha256(i.encode()).hexdigest())
    count = max(1, round(share * len(by_hash)))
    if count >= len(by_hash):
        raise InvalidInputError(
            f"{len(by_hash)} example(s) leave none to train on beside {count} held out: raise "
            f"dataset.max_examples or lower held_out_share"
        )
    return frozenset(by_hash[:count])


def held_out_correlation(
    attributor: Attributor, collected: Collected, scorers: Mapping[str, ModelScorer]
) -> Interval:
    """Mean over held-out examples of `linear_datamodelling_score`, with its 95% interval.

    An example where either side is constant is missing: it has one source, say.
    """
    values = []
    for problem, effects in collected.held_out.values():
        scores = attributor.attribute(problem, scorers).scores[problem.candidates]
        values.append(linear_datamodelling_score(scores, effects.masks, effects.log_likelihoods))
    return mean_interval(np.array(values))


def _plain(interval: Interval) -> dict[str, float | None]:
    """As JSON holds it: what is not a number is missing."""
    return {name: None if math.isnan(value) else value for name, value in asdict(interval).items()}
