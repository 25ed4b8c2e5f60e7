"""From the objects of a run to the rows of its records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.manifest import (
    DatasetSummary,
    Manifest,
    MethodInfo,
    ModelInfo,
    git_state,
    hardware,
    package_versions,
)
from attribot.models.language_model import LanguageModel
from attribot.pipeline import PosedExample
from attribot.records import CostRow, ExampleRow, MetricRow, SourceRow
from attribot.types import Attribution, Cost

if TYPE_CHECKING:
    from experiments.runner import Experiment

REFERENCE = "reference"
VERSIONED_PACKAGES = ("attribot", "torch", "transformers", "tokenizers", "numpy", "scipy")


def manifest_of(experiment: Experiment) -> Manifest:
    """What this run is; see `Manifest`."""
    methods = {
        REFERENCE: MethodInfo("exact LOO", "exact", _sha(repr(LeaveOneOut()))),
        **{
            name: MethodInfo(
                method.label, method.kind, _sha(repr(method.attributor)), method.family
            )
            for name, method in experiment.methods.items()
        },
    }
    commit, is_dirty = git_state(Path(__file__).parent)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Manifest(
        run_id=experiment.run_id,
        config=experiment.config,
        methods=methods,
        models={role: model_info(model) for role, model in experiment.models.items()},
        dataset=DatasetSummary(
            experiment.dataset_name,
            experiment.examples.num_read,
            dict(experiment.examples.dropped),
        ),
        reference=REFERENCE,
        naive=experiment.naive,
        seed=experiment.seed,
        git_commit=commit,
        is_dirty=is_dirty,
        versions=package_versions(VERSIONED_PACKAGES),
        hardware={**hardware(gpu), "torch_threads": torch.get_num_threads()},
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def model_info(model: LanguageModel) -> ModelInfo:
    """What filled a role."""
    return ModelInfo(
        name=model.name,
        revision=model.revision or None,
        weights_sha=model.weights_sha,
        dtype=model.dtype,
        attn_implementation=model.model.config._attn_implementation,
        chat_template_sha=model.chat_template_sha,
        num_parameters=sum(p.numel() for p in model.model.parameters()),
        device=str(model.device),
    )


def example_row(experiment: Experiment, posed: PosedExample, exact: Attribution) -> ExampleRow:
    """The example as it was posed."""
    example, problem = posed.example, posed.problem
    encoded = experiment.models["target"].encode_prompt(problem.prompt())
    return ExampleRow(
        run_id=experiment.run_id,
        example_id=example.example_id,
        dataset=example.dataset,
        split=example.split,
        query=example.query,
        context=problem.tree.text,
        response=problem.response.text,
        answer=example.answer,
        num_sources=problem.tree.num_sources,
        num_prompt_tokens=len(encoded.token_ids),
        num_response_tokens=len(problem.response.token_ids),
        prompt_sha=_sha(problem.prompt()),
        response_sha=_sha(json.dumps(problem.response.token_ids)),
        gold_sources=tuple(posed.gold.nonzero()[0].tolist()) if posed.gold is not None else (),
        base_log_likelihood=exact.base_log_likelihood,
    )


def source_rows(
    run_id: str, posed: PosedExample, method: str, attribution: Attribution
) -> Iterator[SourceRow]:
    """One row per source."""
    tree = posed.problem.tree
    paragraphs = {node: i for i, node in enumerate(tree.units("paragraph").tolist())}
    documents = {node: i for i, node in enumerate(tree.units("document").tolist())}
    ablated = attribution.ablated_log_likelihoods
    for source, node in enumerate(tree.sources.tolist()):
        paragraph = int(tree.unit_of_source("paragraph")[source])
        document = int(tree.unit_of_source("document")[source])
        yield SourceRow(
            run_id=run_id,
            example_id=posed.example.example_id,
            dataset=posed.example.dataset,
            method=method,
            source_id=source,
            document_id=tree.document_ids[documents[document]],
            parent_id=paragraphs[paragraph],
            char_start=int(tree.content_start[node]),
            char_end=int(tree.content_end[node]),
            score=_number(attribution.scores[source]),
            priority=float(attribution.priority[source]),
            is_pruned=bool(attribution.is_pruned[source]),
            base_log_likelihood=attribution.base_log_likelihood,
            ablated_log_likelihood=None if ablated is None else _number(ablated[source]),
        )


def cost_row(
    experiment: Experiment,
    posed: PosedExample,
    method: str,
    cost: Cost,
    used_roles: tuple[str, ...],
) -> CostRow:
    """What the method cost on this example."""
    models = [experiment.models[role] for role in used_roles if role in experiment.models]
    return CostRow(
        run_id=experiment.run_id,
        example_id=posed.example.example_id,
        dataset=posed.example.dataset,
        method=method,
        forward_passes=cost.forward_passes,
        computed_tokens=cost.computed_tokens,
        reused_tokens=cost.reused_tokens,
        flops=cost.flops,
        wall_seconds=_number(cost.wall_seconds),
        peak_memory_bytes=cost.peak_memory_bytes,
        is_response_reencoded=any(
            not model.shares_tokenizer(posed.problem.response) for model in models
        ),
    )


def metric_rows(
    run_id: str, posed: PosedExample, method: str, metrics: Mapping[str, float]
) -> Iterator[MetricRow]:
    """One row per metric."""
    example = posed.example
    for metric, value in metrics.items():
        yield MetricRow(run_id, example.example_id, example.dataset, method, metric, _number(value))


def _number(value: float) -> float | None:
    """None for NaN, as records store what is missing."""
    return None if value != value else float(value)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
