"""What every attributor and every pruning of conf/ must do, whatever its arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.types import LEVELS
from experiments.dry_run import CountedEmbedder
from tests.contract.options import ATTRIBUTORS, PRUNINGS, budget_of, is_seeded, settings_of
from tests.contract.tiny_runs import CONTEXTS, STRATEGIES, VARIANTS, problem_of, run, scorer_of

# They stand for all others when in haste.
IN_HASTE = {f"attributor/{name}" for name in ("loo", "context_cite", "attention", "word_overlap")}
IN_HASTE |= {"pruning/proxy"}


def each(options):
    marked = [
        pytest.param(option, marks=[] if option in IN_HASTE else [pytest.mark.slow])
        for option in options
    ]
    return pytest.mark.parametrize("option", marked)


def check_shapes(attribution, problem):
    """Candidates, and only they, have a finite score of some stage; the rest fits the scores."""
    stages, num_sources = attribution.stage_scores, problem.tree.num_sources
    assert stages.ndim == 2
    assert stages.shape[1] == num_sources
    assert stages.dtype == np.float64
    assert not np.isinf(stages).any()
    np.testing.assert_array_equal(~np.isnan(stages).all(axis=0), problem.candidates)
    assert attribution.level in LEVELS
    if attribution.base_log_likelihood is not None:
        assert -np.inf < attribution.base_log_likelihood < 0
    if attribution.ablated_log_likelihoods is not None:
        assert attribution.ablated_log_likelihoods.shape == (num_sources,)
        assert np.nanmax(attribution.ablated_log_likelihoods) < 0
    if attribution.token_scores is not None:
        assert attribution.token_scores.shape == (num_sources, len(problem.response.token_ids))
        sums = attribution.token_scores.sum(axis=1)
        np.testing.assert_allclose(sums, attribution.scores, atol=1e-9)


def without_memory(cost):
    """The peak of memory is that of the whole process."""
    return replace(cost, peak_memory_bytes=0)


def test_options_were_found():
    assert {"attributor/loo", "attributor/context_cite"} <= set(ATTRIBUTORS)
    assert {"pruning/proxy", "pruning/none"} <= set(PRUNINGS)


@each(ATTRIBUTORS + PRUNINGS)
def test_every_candidate_gets_a_score(option, plain_run):
    check_shapes(plain_run(option).attribution, problem_of("plain"))


@each(ATTRIBUTORS)
def test_an_attributor_prunes_nothing(option, plain_run):
    assert not plain_run(option).attribution.is_pruned.any()


@each(ATTRIBUTORS + PRUNINGS)
@pytest.mark.parametrize("problem", [name for name in (*CONTEXTS, *VARIANTS) if name != "plain"])
def test_it_copes_with(problem, option, attributor_of):
    check_shapes(run(attributor_of(option), problem).attribution, problem_of(problem))


@each(ATTRIBUTORS + PRUNINGS)
def test_two_runs_are_equal(option, attributor_of, plain_run):
    """Global generators have no say."""
    first = plain_run(option)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = run(attributor_of(option), "plain")
    np.testing.assert_array_equal(again.attribution.stage_scores, first.attribution.stage_scores)
    assert without_memory(again.attribution.cost) == without_memory(first.attribution.cost)


@each([option for option in ATTRIBUTORS + PRUNINGS if is_seeded(option)])
def test_another_seed_is_as_good(option, attributor_of):
    check_shapes(run(attributor_of(option, seed=5), "plain").attribution, problem_of("plain"))


@each(ATTRIBUTORS + PRUNINGS)
def test_the_cost_is_that_of_all_that_was_computed(option, plain_run):
    cost, counted = plain_run(option).attribution.cost, plain_run(option).counted
    assert cost.flops == pytest.approx(counted.flops, rel=1e-9)
    # Parts may be added up in another order.
    assert replace(cost, flops=0.0) == replace(counted, flops=0.0)
    if (budget := budget_of(option)) is not None:
        assert 0 < cost.forward_passes <= budget


@each(ATTRIBUTORS + PRUNINGS)
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "packed"])
def test_the_way_of_scoring_does_not_matter(strategy, option, attributor_of, plain_run):
    attribution = run(attributor_of(option), "plain", strategy).attribution
    expected = plain_run(option).attribution.stage_scores
    np.testing.assert_allclose(attribution.stage_scores, expected, rtol=1e-3, atol=1e-3)


@each(ATTRIBUTORS + PRUNINGS)
def test_its_cost_can_be_planned(option, attributor_of):
    planning = {role: scorer_of(role, "packed").planning() for role in ("target", "proxy")}
    scorers = planning | {"embedder": CountedEmbedder()}
    attribution = attributor_of(option).attribute(problem_of("plain"), scorers)
    check_shapes(attribution, problem_of("plain"))


@each(ATTRIBUTORS + PRUNINGS)
def test_it_compares_and_hashes_as_its_settings(option, attributor_of):
    attributor, twin = attributor_of(option), attributor_of(option, **settings_of(option))
    assert attributor is not twin
    assert (attributor, hash(attributor), repr(attributor)) == (twin, hash(twin), repr(twin))


@each(ATTRIBUTORS)
def test_it_can_screen(option, attributor_of, plain_run):
    """Its best two sources survive, and are scored exactly in the context that they make up."""
    screened = plain_run(option).attribution
    method = TwoStage(attributor_of(option), TopK(2, "sentence"), LeaveOneOut())
    attribution = run(method, "plain").attribution
    problem = problem_of("plain")
    check_shapes(attribution, problem)
    survivors = ~attribution.is_pruned
    best = np.sort(np.argsort(-screened.priority, kind="stable")[:2])
    np.testing.assert_array_equal(np.flatnonzero(survivors), best)
    inside = problem.tree.remove(problem.kept, problem.tree.sources[~survivors])
    scorers = {"target": scorer_of("target", "naive")}
    expected = LeaveOneOut().attribute(problem.restrict(survivors, inside), scorers)
    np.testing.assert_allclose(attribution.scores, expected.scores, atol=1e-4)


@each(ATTRIBUTORS)
def test_as_a_screen_that_keeps_all_it_changes_nothing(option, attributor_of, plain_run):
    method = TwoStage(attributor_of(option), TopK(99, "sentence"), LeaveOneOut())
    exact = plain_run("attributor/loo").attribution
    np.testing.assert_allclose(run(method, "plain").attribution.scores, exact.scores, atol=1e-4)
