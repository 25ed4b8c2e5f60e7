"""What all methods of sampled subsets share: values scored once, draws, and their contract."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import DELETION
from attribot.attributors.base import Problem
from attribot.attributors.kernel_shap import KernelShap
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.permutation_shapley import PermutationShapley
from attribot.attributors.semivalue import Banzhaf, BetaShapley
from attribot.attributors.subsets import (
    DRAWS_PER_SUBSET,
    SubsetValues,
    all_masks,
    beta_log_weights,
    drawn_subsets,
)
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer, Scores
from attribot.types import IntArray
from tests.attributors.fakes import (
    SENTENCES,
    AdditiveScorer,
    RedundantScorer,
    build_problem,
)
from tests.attributors.games import (
    banzhaf_share,
    beta_share,
    random_game,
    semivalue_of,
    shapley_share,
)

WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 5.0, 0.0, 0.0, 1.0, -1.0, 7.0])
METHODS = [
    pytest.param(KernelShap, shapley_share, id="kernel_shap"),
    pytest.param(PermutationShapley, shapley_share, id="permutation_shapley"),
    pytest.param(Banzhaf, banzhaf_share, id="banzhaf"),
    pytest.param(BetaShapley, beta_share(1.0, 4.0), id="beta_shapley"),
]
Method = Callable[..., Any]
Share = Callable[[int, int], float]


def planted() -> AdditiveScorer:
    return AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))


@dataclass(frozen=True)
class RecordingAblation:
    """Deletion that writes down what it is asked to remove."""

    removals: list[list[int]] = field(default_factory=list)

    def score(self, problem: Problem, removals: Sequence[IntArray], scorer: Scorer) -> Scores:
        self.removals.extend(removal.tolist() for removal in removals)
        return DELETION.score(problem, removals, scorer)


def test_all_masks_are_the_binary_numbers() -> None:
    wanted = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1] * 3]
    np.testing.assert_array_equal(all_masks(3), np.array(wanted, dtype=bool))


def test_a_subset_is_scored_once_within_and_between_calls() -> None:
    problem, scorer = random_game(3)
    values = SubsetValues(problem, scorer, DELETION)
    np.testing.assert_allclose(
        values.of(all_masks(3)[[5, 1, 5]]), scorer.table[[5, 1, 5]], rtol=1e-14
    )
    np.testing.assert_allclose(values.of(all_masks(3)[[1, 7]]), scorer.table[[1, 7]], rtol=1e-14)
    values.of(all_masks(3)[[7, 5]])
    assert scorer.calls == [2, 1]
    assert values.cost.forward_passes == 3


@pytest.mark.parametrize("num_candidates", [2, 5])
def test_equal_parameters_of_one_are_the_weights_of_kernel_shap(num_candidates: int) -> None:
    n = num_candidates
    weights = np.exp(beta_log_weights(n, 1.0, 1.0))
    assert np.isinf(weights[[0, n]]).all()
    size = np.arange(1, n)
    binomial = np.array([len([m for m in all_masks(n) if m.sum() == s]) for s in size])
    kernel = (n - 1) / (binomial * size * (n - size))
    np.testing.assert_allclose(weights[1:n] / weights[1], kernel / kernel[0], rtol=1e-12)


@pytest.mark.parametrize("is_paired", [False, True])
def test_a_subset_is_drawn_in_proportion_to_its_weight(is_paired: bool) -> None:
    log_weights = np.array([np.inf, 2.0, 1.0, 1.0, 2.0, np.inf])
    total = np.zeros(2**5)
    for seed in range(100):
        generator = np.random.default_rng(seed)
        masks, counts = drawn_subsets(log_weights, 28, generator, is_paired)
        assert len(np.unique(masks, axis=0)) == len(masks)
        total[masks @ 2 ** np.arange(5)] += counts
    weights = np.exp(log_weights)[all_masks(5).sum(axis=1)]
    weights[[0, -1]] = 0.0
    wanted = weights / weights.sum() * total.sum()
    # Counts of independent draws scatter by the root of their mean.
    assert (np.abs(total - wanted) <= 5 * np.sqrt(wanted)).all()


@pytest.mark.parametrize(("is_paired", "wanted"), [(False, 41), (True, 40)])
def test_draws_go_on_until_enough_differ(is_paired: bool, wanted: int) -> None:
    log_weights = beta_log_weights(7, 1.0, 1.0)
    masks, counts = drawn_subsets(log_weights, 41, np.random.default_rng(0), is_paired)
    assert len(masks) == wanted < counts.sum()
    rows = {tuple(mask) for mask in masks.tolist()}
    assert (rows == {tuple(mask) for mask in (~masks).tolist()}) == is_paired


def test_draws_end_where_the_weight_lies_on_too_few_subsets() -> None:
    log_weights = np.array([-90.0, -90.0, -90.0, 0.0, np.inf])
    masks, counts = drawn_subsets(log_weights, 10, np.random.default_rng(0), is_paired=False)
    np.testing.assert_array_equal(masks, ~np.eye(4, dtype=bool))
    assert counts.sum() == 10 * DRAWS_PER_SUBSET


@pytest.mark.parametrize(("method", "share"), METHODS)
@pytest.mark.parametrize("num_sources", [1, 2, 3, 5, 6])
def test_all_subsets_give_the_value_as_defined(
    method: Method, share: Share, num_sources: int
) -> None:
    problem, scorer = random_game(num_sources)
    attribution = method(budget=2**num_sources).attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, semivalue_of(scorer.table, share), rtol=1e-9)
    assert len(scorer.prompts) == attribution.cost.forward_passes == 2**num_sources


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_samples_recover_planted_weights(method: Method, share: Share) -> None:  # noqa: ARG001
    scorer = planted()
    attribution = method(budget=97).attribute(build_problem(), {"target": scorer})
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-9)
    assert attribution.cost.forward_passes == len(scorer.prompts) == len(set(scorer.prompts))
    assert 75 < len(scorer.prompts) <= 97


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_the_error_shrinks_with_the_budget(method: Method, share: Share) -> None:
    errors = []
    for budget in (40, 640):
        deviations = []
        for seed in range(5):
            problem, scorer = random_game(10, seed)
            scores = method(budget=budget, seed=seed).attribute(problem, {"target": scorer}).scores
            wanted = semivalue_of(scorer.table, share)
            deviations.append(np.sqrt(((scores - wanted) ** 2).mean()))
            assert len(scorer.prompts) <= budget
        errors.append(np.median(deviations))
    # Sixteen times the draws: a quarter of the error.
    assert errors[1] < 0.35 * errors[0]


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_three_copies_of_a_fact_share_it_where_leave_one_out_is_blind(
    method: Method, share: Share
) -> None:
    problem = build_problem(sizes=[2, 3])
    scorer = RedundantScorer({SENTENCES[i]: 9.0 for i in (0, 1, 4)})
    scores = method(budget=32).attribute(problem, {"target": scorer}).scores
    # A copy brings the fact to the subsets without the other two.
    alone = sum(9.0 * share(k, 5) * (1, 2, 1)[k] for k in range(3))
    np.testing.assert_allclose(scores, [alone, alone, 0.0, 0.0, alone], atol=1e-9)
    left_out = LeaveOneOut().attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(left_out, 0.0, atol=1e-9)


def test_what_a_copy_is_worth_by_hand() -> None:
    problem = build_problem(sizes=[2, 3])
    scorer = RedundantScorer({SENTENCES[i]: 9.0 for i in (0, 1, 4)})
    methods = (KernelShap(), PermutationShapley(), Banzhaf(), BetaShapley(alpha=3.0, beta=2.0))
    found = [method.attribute(problem, {"target": scorer}).scores[0] for method in methods]
    # A third; both others away half the time each; E[(1 - t)^2] = 3 * 4 / (5 * 6), t ~ Beta(2, 3).
    np.testing.assert_allclose(found, [3.0, 3.0, 9 / 4, 9 * 12 / 30], rtol=1e-9)


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_sampled_pairs_of_copies_share_equally(method: Method, share: Share) -> None:
    scorer = RedundantScorer.planted(build_problem(), (0, 4), 8.0)
    scores = method(budget=700).attribute(build_problem(), {"target": scorer}).scores
    alone = 8.0 * (1 - sum(share(k, 10) * _with_the_other(k) for k in range(10)))
    np.testing.assert_allclose(scores[[0, 4]], [alone, alone], atol=0.4)
    np.testing.assert_allclose(np.delete(scores, [0, 4]), 0.0, atol=0.4)


def _with_the_other(size: int) -> int:
    """Subsets of that size of nine sources that hold one given source."""
    masks = all_masks(9)
    return int((masks[:, 0] & (masks.sum(axis=1) == size)).sum())


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_the_seed_decides(method: Method, share: Share) -> None:  # noqa: ARG001
    problem, scorer = random_game(10)
    first, again, other = (
        method(budget=60, seed=seed).attribute(problem, {"target": scorer}).scores
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("budget", [16, 10])
@pytest.mark.parametrize(("method", "share"), METHODS)
def test_other_kept_sources_stay_and_removed_ones_stay_away(
    method: Method,
    share: Share,  # noqa: ARG001
    budget: int,
) -> None:
    scorer, full = planted(), build_problem()
    tree = full.tree
    kept = tree.remove(tree.all_kept(), [tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 2, 5, 9])
    scores = (
        method(budget=budget, seed=2)
        .attribute(full.restrict(candidates, kept), {"target": scorer})
        .scores
    )
    np.testing.assert_allclose(scores, np.where(candidates, WEIGHTS, np.nan), atol=1e-9)
    assert all(SENTENCES[1] in prompt for prompt in scorer.prompts)
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_the_role_and_the_ablation_are_those_of_the_settings(
    method: Method,
    share: Share,  # noqa: ARG001
) -> None:
    problem, ablation = build_problem(sizes=[2]), RecordingAblation()
    scorer = AdditiveScorer.planted(problem, [2.0, -3.0])
    method(role="proxy", ablation=ablation).attribute(problem, {"proxy": scorer})
    nodes = problem.tree.sources.tolist()
    assert ablation.removals == [nodes, nodes[1:], nodes[:1], []]
    with pytest.raises(InvalidInputError, match="no model has the role 'target'"):
        method().attribute(problem, {"proxy": scorer})


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_equal_sentences_share_prompts_but_not_scores(
    method: Method,
    share: Share,  # noqa: ARG001
) -> None:
    scorer = AdditiveScorer({"Same.": 2.0})
    problem = build_problem(paragraphs=[["Same.", "Same."], []])
    attribution = method().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores, [2.0, 2.0], rtol=1e-9)
    assert attribution.cost.forward_passes == 3


@pytest.mark.parametrize(
    ("method", "minimum"),
    [
        (KernelShap, 20),
        (PermutationShapley, 20),
        (Banzhaf, 20),
        (BetaShapley, 11),
        (lambda budget: BetaShapley(alpha=3.0, beta=3.0, budget=budget), 20),
    ],
)
def test_too_small_a_budget_names_the_minimum(method: Method, minimum: int) -> None:
    scorer = planted()
    with pytest.raises(
        InvalidInputError,
        match=rf"10 candidate source\(s\) take a budget of at least {minimum} forward passes; "
        rf"got budget={minimum - 1}: raise it",
    ):
        method(budget=minimum - 1).attribute(build_problem(), {"target": scorer})
    assert not scorer.prompts
    scores = method(budget=minimum).attribute(build_problem(), {"target": scorer}).scores
    assert np.isfinite(scores).all()
    assert len(scorer.prompts) <= minimum


@pytest.mark.parametrize(("method", "share"), METHODS)
def test_a_budget_below_two_passes_is_refused_at_once(
    method: Method,
    share: Share,  # noqa: ARG001
) -> None:
    with pytest.raises(InvalidInputError, match="at least 2 forward passes; got budget=1"):
        method(budget=1)
