"""A plan against the run that it plans."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from attribot.content_cache import ContentCache
from attribot.data.loading import LoadedExamples
from attribot.models.generation import generate_response
from attribot.pipeline import pose_example
from attribot.records import read_records
from experiments.dry_run import plan_run, print_plan
from experiments.runner import Experiment, run
from tests.experiments.tiny_experiment import (
    CONTEXTS,
    full_prompt,
    tiny_example,
    tiny_experiment,
    tiny_models,
)

COUNTERS = ["forward_passes", "computed_tokens", "reused_tokens", "flops"]
# Methods whose ablations do not depend on scores: their plans are exact.
FIXED = ["loo_naive", "loo", "keep_all", "word_overlap", "random"]


def answer_all(experiment: Experiment) -> None:
    """Write the responses, as an earlier run would have."""
    for example in experiment.examples.examples:
        pose_example(
            example,
            experiment.models["target"],
            experiment.splitter,
            experiment.template,
            experiment.generation,
            experiment.cache,
        )


@pytest.fixture(scope="module")
def cache() -> ContentCache:
    return ContentCache()


@pytest.mark.slow
def test_the_plan_counts_what_the_run_counts(tmp_path: Path, cache: ContentCache) -> None:
    experiment = tiny_experiment(tmp_path / "run", cache=cache)
    answer_all(experiment)
    plan = plan_run(experiment)
    assert (plan.num_examples, plan.num_assumed) == (len(CONTEXTS), 0)
    assert plan.flops_per_second > 0
    run(experiment)
    counted = read_records(tmp_path / "run").costs.groupby("method")[COUNTERS].sum()
    for name in FIXED:
        planned = [getattr(plan.costs[name], counter) for counter in COUNTERS]
        assert planned == pytest.approx(counted.loc[name].tolist(), rel=1e-12), name
    assert set(plan.costs) == set(counted.index)
    for counter in COUNTERS:
        assert getattr(plan.costs["reference"], counter) == getattr(plan.costs["loo"], counter)


def test_pruning_is_planned_with_an_arbitrary_choice(tmp_path: Path, cache: ContentCache) -> None:
    """The screen's passes are certain, the survivors' are between one and all of them."""
    experiment = tiny_experiment(tmp_path / "run", cache=cache)
    answer_all(experiment)
    costs = plan_run(experiment).costs
    screened = costs["loo_naive"].forward_passes
    assert screened < costs["proxy_pruning"].forward_passes <= 2 * screened
    assert costs["hierarchical"].forward_passes < costs["keep_all"].forward_passes


def test_an_end_token_that_is_not_scored_is_not_counted(tmp_path: Path) -> None:
    models = tiny_models()
    example = tiny_example("castle")
    written = generate_response(models["target"], full_prompt("castle"), max_new_tokens=7)
    models["target"].model.generation_config.eos_token_id = written.token_ids[-1]
    num_tokens = written.token_ids.index(written.token_ids[-1]) + 1
    whole = tiny_experiment(
        tmp_path / "run",
        models=models,
        methods=["loo_naive"],
        examples=LoadedExamples((example,), 1, {}),
    )
    answer_all(whole)
    counted = [
        plan_run(replace(whole, score_end_token=scored)).costs["loo_naive"]
        for scored in (True, False)
    ]
    assert num_tokens > 1
    assert counted[0].forward_passes == counted[1].forward_passes
    # Every pass computes the prompt and all of the response but its last token.
    saved = counted[0].computed_tokens - counted[1].computed_tokens
    assert saved == counted[0].forward_passes


def test_responses_that_are_not_written_are_taken_for_the_longest(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path / "run", methods=["loo"])
    plan = plan_run(experiment)
    assert plan.num_assumed == len(CONTEXTS)
    assert not (tmp_path / "run").exists()
    console = Console(record=True, width=120)
    print_plan(experiment, plan, console)
    printed = console.export_text()
    tokens = plan.costs["loo"].computed_tokens
    assert re.search(rf"LOO +{plan.costs['loo'].forward_passes} +{tokens:,} ", printed)
    assert f"{len(CONTEXTS)} responses are not written yet" in printed
