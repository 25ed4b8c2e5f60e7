"""Runs named methods over a data set and writes records. Plain objects in, a run folder out."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from attribot.attributors.base import Attributor
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.content_cache import ContentCache
from attribot.context.partition import SentenceSplitter
from attribot.data.loading import LoadedExamples
from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.manifest import MethodKind
from attribot.models.generation import GenerationSettings
from attribot.models.language_model import LanguageModel
from attribot.pipeline import (
    PosedExample,
    assess_attribution,
    attribute_example,
    pose_example,
)
from attribot.prompting import PromptTemplate
from attribot.recording import RecordWriter
from attribot.records import read_records
from attribot.report.build import build_report
from attribot.report.summary import summarise
from attribot.scoring.base import Embedder
from attribot.scoring.noise import in_float32
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import SharedScorer, StoredScorer
from attribot.tracking import TrackedRun, Tracker
from attribot.types import Cost, Response
from experiments.progress import Progress
from experiments.rows import (
    REFERENCE,
    cost_row,
    example_row,
    manifest_of,
    metric_rows,
    source_rows,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """A named method of a run: an attributor and the scorers it sees, by role.

    family: see `MethodInfo`.
    """

    label: str
    kind: MethodKind
    attributor: Attributor
    scorers: Mapping[str, Any]
    family: str = ""


@dataclass(frozen=True)
class Experiment:
    """All that a run needs, instantiated.

    models: language models by role, "target" among them.
    score_end_token: see `pose_example`.
    shares_ablations: what two methods ask is computed once. Costs are then counted as if each
        method stood alone, and nobody's seconds are recorded.
    methods: by name, in the order of tables.
    config: resolved and plain, for the manifest.
    """

    run_id: str
    run_dir: Path
    config: Mapping[str, Any]
    models: Mapping[str, LanguageModel]
    methods: Mapping[str, Method]
    naive: str | None
    dataset_name: str
    examples: LoadedExamples
    splitter: SentenceSplitter
    template: PromptTemplate
    generation: GenerationSettings
    evaluation: FaithfulnessEvaluation
    cache: ContentCache
    tracker: Tracker
    seed: int
    progress: bool = True
    shares_ablations: bool = False
    score_end_token: bool = True

    @cached_property
    def reference_model(self) -> LanguageModel:
        """The target; in float32 where it runs in bfloat16, whose noise outweighs small scores.

        Raises:
            InvalidInputError: see `in_float32`.
        """
        target = self.models["target"]
        return in_float32(target) if target.dtype == "bfloat16" else target

    @cached_property
    def reference_scorer(self) -> StoredScorer:
        if self.reference_model is self.models["target"]:
            return self.stored_scorers["target"]
        return StoredScorer(ModelScorer(self.reference_model), self.cache)

    @cached_property
    def stored_scorers(self) -> Mapping[str, StoredScorer]:
        """By role, answers kept on disk: what methods share."""
        return {
            role: StoredScorer(ModelScorer(model), self.cache)
            for role, model in self.models.items()
        }


def run(experiment: Experiment) -> pd.DataFrame:
    """Every method on every example, records, report and tracking; returns the summary.

    An interrupted run continues where it stopped: what is done is neither scored nor written
    again. A finished one only has its report rebuilt.
    """
    with RecordWriter(experiment.run_dir, manifest_of(experiment)) as writer:
        if writer.is_finished:
            logger.info("%s is complete: only its report is rebuilt", experiment.run_dir)
            build_report([experiment.run_dir], experiment.run_dir)
            return summarise(read_records(experiment.run_dir))
        tracking = experiment.tracker.start(experiment.config, writer.manifest, experiment.run_dir)
        with tracking as tracked:
            if not experiment.shares_ablations:
                warm_up(experiment)
            run_examples(experiment, writer, tracked)
            build_report([experiment.run_dir], experiment.run_dir)
            summary = summarise(read_records(experiment.run_dir))
            tracked.finish(summary, experiment.run_dir)
    return summary


def run_examples(experiment: Experiment, writer: RecordWriter, tracked: TrackedRun) -> None:
    """All examples; those with an empty response are counted, reported and left out."""
    dropped = dict(experiment.examples.dropped)
    with Progress(len(experiment.examples.examples), experiment.progress) as progress:
        for index, example in enumerate(experiment.examples.examples):
            progress.show(index, example.example_id, "response")
            try:
                posed = pose_example(
                    example,
                    experiment.models["target"],
                    experiment.splitter,
                    experiment.template,
                    experiment.generation,
                    experiment.cache,
                    experiment.score_end_token,
                )
            except EmptyResponseError as error:
                logger.warning("left out %s: %s", example.example_id, error)
                dropped["empty response"] = dropped.get("empty response", 0) + 1
                continue
            run_example(experiment, posed, index, writer, tracked, progress)
    if dropped.get("empty response", 0) == len(experiment.examples.examples):
        raise InvalidInputError(
            f"the target model gave an empty response to all {len(experiment.examples.examples)} "
            f"examples: check its chat template, or choose an instruction-tuned model"
        )
    writer.finish(replace(writer.manifest.dataset, dropped=dropped))


def run_example(
    experiment: Experiment,
    posed: PosedExample,
    index: int,
    writer: RecordWriter,
    tracked: TrackedRun,
    progress: Progress,
) -> None:
    """The exact reference, then every method that is not done yet.

    The reference may come from disk, where its cost is unknown: it is recorded as zero, and exact
    methods of the run are timed like any other.
    """
    example_id = posed.example.example_id
    progress.show(index, example_id, REFERENCE)
    stored = {role: scorer.opened() for role, scorer in experiment.stored_scorers.items()}
    is_own = experiment.reference_scorer is experiment.stored_scorers["target"]
    reference = stored["target"] if is_own else experiment.reference_scorer.opened()
    exact = LeaveOneOut().attribute(posed.problem, {"target": reference})
    writer.write_example(example_row(experiment, posed, exact))
    if not writer.is_done(example_id, REFERENCE):
        writer.write_method(
            list(source_rows(experiment.run_id, posed, REFERENCE, exact)),
            cost_row(experiment, posed, REFERENCE, Cost(), ("target",)),
            [],
        )
    for name, method in experiment.methods.items():
        if writer.is_done(example_id, name):
            continue
        progress.show(index, example_id, name)
        scorers = dict(method.scorers)
        if experiment.shares_ablations:
            scorers |= {
                role: SharedScorer(answers, method.scorers[role].planning())
                for role, answers in stored.items()
                if role in method.scorers
            }
        attribution = attribute_example(posed.problem, method.attributor, scorers)
        if experiment.shares_ablations:
            attribution = attribution.with_wall_seconds(math.nan)
        metrics = dict(
            assess_attribution(
                posed,
                attribution,
                exact.scores,
                experiment.evaluation,
                reference,
                experiment.seed,
            )
        )
        cost = cost_row(experiment, posed, name, attribution.cost, roles(method.attributor))
        measured = list(metric_rows(experiment.run_id, posed, name, metrics))
        writer.write_method(
            list(source_rows(experiment.run_id, posed, name, attribution)),
            cost,
            measured,
        )
        tracked.log_progress(index, cost, measured)


def warm_up(experiment: Experiment) -> None:
    """One short scoring per scorer, so that no method's time holds first-call work."""
    scorers = {
        id(scorer): scorer
        for method in experiment.methods.values()
        for scorer in method.scorers.values()
    }
    for scorer in scorers.values():
        if isinstance(scorer, ModelScorer):
            ids = scorer.language_model.encode_prompt("warm-up").token_ids
            response = Response("", ids[-2:], scorer.language_model.tokenizer_sha, False)
            scorer.score(["warm-up", "warm-up twice"], response)
        elif isinstance(scorer, Embedder):
            scorer.embed(["warm-up"])


def roles(attributor: object) -> tuple[str, ...]:
    """Roles that an attributor and its parts ask for, sorted."""
    found = set()
    if is_dataclass(attributor):
        for field in fields(attributor):
            value = getattr(attributor, field.name)
            found |= {value} if field.name == "role" else set(roles(value))
    return tuple(sorted(found))


def check_roles(attributors: Mapping[str, Attributor], filled: Collection[str]) -> None:
    """Raises InvalidInputError when a method asks for a role that is not among those `filled`."""
    for name, attributor in attributors.items():
        if missing := set(roles(attributor)) - set(filled):
            raise InvalidInputError(
                f"the method {name!r} asks for the role(s) {sorted(missing)}, but only "
                f"{sorted(filled)} are filled: choose a model@<role>= or an embedder="
            )
