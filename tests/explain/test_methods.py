"""Methods by name, and the choice between them."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import Mask
from attribot.attributors.base import Problem
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.context.partition import NupunktSplitter
from attribot.errors import InvalidInputError
from attribot.explain.given import read_context
from attribot.explain.methods import (
    CANDIDATES,
    METHODS,
    Job,
    admitted,
    choose,
    least_plan_of_loo,
    named_method,
)
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.scoring.scorer import ModelScorer
from tests.attributors.fakes import SENTENCES, LetterCountEmbedder
from tests.explain.cases import DOCUMENTS, NUM_SOURCES, QUERY, RESPONSE, ask, tiny
from tests.models.tiny import tiny_language_model


def job_of(
    model: LanguageModel, context: Any = None, proxy: LanguageModel | None = None, **settings: Any
) -> Job:
    """The case under a model, with one part."""
    tree = read_context(context or DOCUMENTS, "sentence", NupunktSplitter()).tree
    problem = Problem.of(tree, QUERY, response_from_text(model, RESPONSE))
    models = {"target": model} | ({} if proxy is None else {"proxy": proxy})
    scorers = {role: ModelScorer(each, **settings) for role, each in models.items()}
    return Job(problem, ((0, 15),), scorers)


@pytest.mark.parametrize("name", METHODS)
def test_every_name_attributes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribot.explain.scorers.SentenceEmbedder", LetterCountEmbedder)
    spans = [(0, 15)] if METHODS[name].has_parts else None
    result = ask(method=name, proxy=tiny_language_model("qwen2", seed=2), spans=spans)
    assert result.method == name
    assert len(result.spans) == METHODS[name].has_parts
    assert sorted({source.rank for source in result.sources})[0] == 1
    assert np.isfinite(result.scores).any()
    assert result.unit == METHODS[name].unit


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown method 'loop'; known: auto, loo, hier"):
        ask(method="loop")
    with pytest.raises(InvalidInputError, match=r"method must be a name or an attributor; got 7"):
        ask(method=7)
    with pytest.raises(InvalidInputError, match=r"must be a name or an attributor; got <class"):
        named_method(LeaveOneOut, has_proxy=False)  # type: ignore[arg-type]


def test_methods_of_the_proxy_need_one() -> None:
    with pytest.raises(InvalidInputError, match=r"method='pruning' asks a proxy model: pass proxy"):
        ask(method="pruning")


def test_an_attributor_of_ones_own_is_taken() -> None:
    own = LeaveOneOut(ablation=Mask("none"))
    result = ask(method=own)
    assert (result.method, result.unit) == ("LeaveOneOut", "nats")
    expected = ask(method=own, scorer="cached")
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-5, rtol=0)


READINGS = [name for name, method in METHODS.items() if not method.has_parts]


@pytest.mark.parametrize("name", READINGS)
def test_what_is_read_off_a_model_refuses_parts_before_it_is_loaded(name: str) -> None:
    message = f"method='{name}' is read off .*: leave spans= out, or take one of auto, loo, hiera"
    with pytest.raises(InvalidInputError, match=message) as error:
        ask(model="./absent", method=name, spans="sentences")
    assert not set(READINGS) & set(str(error.value).split("one of ")[1].split(", "))
    # What the property says is so.
    with pytest.raises(InvalidInputError, match="which is read off the model for a whole response"):
        job_of(tiny()).plan(METHODS[name].attributor)


def test_an_attributor_of_ones_own_refuses_parts_before_any_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_language_model("llama", seed=1)
    monkeypatch.setattr(
        type(model.model), "forward", lambda *_, **__: pytest.fail("a pass was run")
    )
    own = TwoStage(GradientNorm(), TopK(2), LeaveOneOut())
    with pytest.raises(InvalidInputError, match="the attributor asks for gradient_norm, which is"):
        ask(model=model, method=own, spans="sentences")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_the_least_plan_of_leave_one_out_is_its_plan(architecture: Any) -> None:
    """No two ablations of this context share more than the full prompt holds."""
    job = job_of(tiny_language_model(architecture, seed=1))
    least, plan = least_plan_of_loo(job), job.plan(LeaveOneOut())
    assert least.num_prompts == plan.num_prompts == 1 + NUM_SOURCES
    for name in ("forward_passes", "computed_tokens", "reused_tokens", "flops"):
        assert getattr(least.cost, name) == getattr(plan.cost, name)


def test_plans_count_what_is_computed_then() -> None:
    plan = job_of(tiny()).plan(LeaveOneOut())
    cost = ask(method="loo", spans=[(0, 15)]).cost
    assert plan.cost.computed_tokens == cost.computed_tokens
    assert plan.cost.flops == cost.flops


def test_exact_scores_are_taken_where_they_can_be_paid() -> None:
    choice = choose(job_of(tiny()), 16.0)
    assert choice.name == "loo"
    assert choice.reason.startswith("exact leave-one-out (loo) costs ")
    assert choice.reason.endswith("prompts): the first within max_cost=16")
    assert choice.plan is not None
    assert choice.plan.num_prompts == 1 + NUM_SOURCES


LONG = [" ".join(SENTENCES), " ".join(reversed(SENTENCES)), " ".join(SENTENCES[::3])]


def test_the_first_candidate_within_the_bound_is_taken() -> None:
    job = job_of(tiny(), LONG)
    one_pass = job.one_pass().flops
    costs = {
        name: job.plan(METHODS[name].attributor).cost.flops / one_pass
        for name in ("loo", "mask_paragraph", "mask")
    }
    assert costs["loo"] > costs["mask_paragraph"] > costs["mask"]
    for name in ("mask_paragraph", "mask"):
        choice = choose(job, costs[name] * 1.001)
        assert choice.name == name
        assert choice.reason.startswith("exact leave-one-out (loo) costs ")
        assert f"({name}) costs {costs[name]:.1f} times one pass" in choice.reason


def test_where_nothing_is_cheap_enough_the_cheapest_is_taken() -> None:
    job = job_of(tiny(), LONG)
    choice = choose(job, 0.5)
    considered = ("loo", "mask_paragraph", "mask", "word_overlap_full")
    cheapest = min(considered, key=lambda name: job.plan(METHODS[name].attributor).cost.flops)
    assert choice.name == cheapest
    assert choice.reason.endswith(f"none is within max_cost=0.5, {cheapest} costs least")


def names_where(monkeypatch: pytest.MonkeyPatch, job: Job, hiding: set[str]) -> list[str]:
    """Candidates, in order, where only the models of some roles can hide sources."""
    monkeypatch.setattr(Job, "can_hide", lambda _, role: role in hiding)
    return admitted(job)


def test_candidates_depend_on_models_and_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, paired = job_of(tiny()), job_of(tiny(), proxy=tiny_language_model("qwen2", seed=2))
    both = {"target", "proxy"}
    assert names_where(monkeypatch, alone, {"target"}) == [
        "loo",
        "mask_paragraph",
        "mask",
        "word_overlap_full",
    ]
    assert names_where(monkeypatch, alone, set()) == [
        "loo",
        "hierarchical_full",
        "word_overlap_full",
    ]
    assert "proxy_mask" in names_where(monkeypatch, paired, both)
    assert "proxy_full" not in names_where(monkeypatch, paired, both)
    assert "proxy_full" in names_where(monkeypatch, paired, {"target"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "word_overlap_full" not in names_where(monkeypatch, alone, both)
    assert set(CANDIDATES) <= set(METHODS)


def test_a_model_that_cannot_hide_is_told_by_itself() -> None:
    job = job_of(tiny())
    assert job.can_hide("target")
    assert job_of(tiny_language_model("gemma3", seed=1)).can_hide("target")


def test_a_choice_is_reported_in_the_result() -> None:
    result = ask(context=LONG, max_cost=5.0)
    assert result.method in CANDIDATES
    assert "max_cost=5" in result.reason
