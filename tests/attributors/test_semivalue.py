"""Which semivalues least squares finds, and which weights find others."""

from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import DELETION
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.semivalue import Banzhaf, BetaShapley
from attribot.attributors.subsets import SubsetValues, fitted_semivalue
from attribot.errors import InvalidInputError
from attribot.types import FloatArray
from tests.attributors.games import GameScorer, beta_share, random_game, semivalue_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("num_sources", [1, 2, 5])
@pytest.mark.parametrize(
    ("alpha", "beta"), [(1, 1), (1, 16), (16, 1), (4, 1), (2, 3), (1.25, 1.75), (7, 7)]
)
def test_beta_weights_give_the_value_as_defined(
    num_sources: int, alpha: float, beta: float
) -> None:
    problem, scorer = random_game(num_sources)
    scores = BetaShapley(alpha=alpha, beta=beta).attribute(problem, {"target": scorer}).scores
    wanted = semivalue_of(scorer.table, beta_share(alpha, beta))
    np.testing.assert_allclose(scores, wanted, rtol=1e-8)


def test_a_large_beta_ends_at_leave_one_out() -> None:
    problem, scorer = random_game(4)
    scores = BetaShapley(alpha=1, beta=1e7).attribute(problem, {"target": scorer}).scores
    left_out = LeaveOneOut().attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, left_out, atol=1e-4)


def test_a_large_alpha_ends_at_each_source_alone() -> None:
    problem, scorer = random_game(4)
    scores = BetaShapley(alpha=1e7, beta=1).attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, scorer.table[[1, 2, 4, 8]] - scorer.table[0], atol=1e-4)


def test_large_equal_parameters_end_at_banzhaf() -> None:
    problem, scorer = random_game(5)
    scores = BetaShapley(alpha=1e7, beta=1e7).attribute(problem, {"target": scorer}).scores
    banzhaf = Banzhaf().attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, banzhaf, atol=1e-4)


def marginal_log_weights(n: int, alpha: float, beta: float) -> FloatArray:
    """w(j) / (j (n - j)) shared among the subsets of size j, both ends pinned; up to a factor."""
    size = np.arange(1, n)
    share = np.array([beta_share(alpha, beta)(j - 1, n) for j in range(1, n)])
    # C(n - 1, j - 1) / C(n, j) = j / n
    return np.array([np.inf, *np.log(share / (n - size)), np.inf])


@pytest.mark.parametrize(
    ("alpha", "beta", "is_equal", "is_shifted"),
    [(1, 1, True, True), (1, 4, False, True), (4, 1, False, False), (3, 3, False, False)],
)
def test_the_weights_of_marginal_contributions_give_other_values(
    alpha: float, beta: float, is_equal: bool, is_shifted: bool
) -> None:
    problem, scorer = random_game(5)
    values = SubsetValues(problem, scorer, DELETION)
    weights = marginal_log_weights(5, alpha, beta)
    fitted = fitted_semivalue(values, weights, budget=32, seed=0, is_paired=False)
    deviation = fitted - semivalue_of(scorer.table, beta_share(alpha, beta))
    assert (np.abs(deviation).max() < 1e-9) == is_equal
    assert (np.ptp(deviation) < 1e-9) == is_shifted


def test_a_source_that_no_draw_removes_gets_none_of_the_base() -> None:
    # Five passes on four sources: some seeds draw no subset without one of them.
    for seed in range(20):
        problem, scorer = random_game(4, seed)
        lower = GameScorer(scorer.texts, scorer.table - 300.0)
        scores, shifted = (
            BetaShapley(budget=5, seed=seed).attribute(problem, {"target": game}).scores
            for game in (scorer, lower)
        )
        np.testing.assert_allclose(shifted, scores, atol=1e-9)


def sizes_of(prompts: list[str], texts: list[str]) -> FloatArray:
    return np.array([sum(text in prompt for text in texts) for prompt in prompts])


def test_banzhaf_draws_halves_and_their_complements() -> None:
    problem, scorer = random_game(10)
    Banzhaf(budget=401).attribute(problem, {"target": scorer})
    sizes = sizes_of(scorer.prompts, list(scorer.texts))
    assert abs(sizes.mean() - 5) < 1e-12
    # Of a binomial of ten halves the standard deviation is sqrt(10) / 2.
    assert abs(sizes.std() - np.sqrt(10) / 2) < 0.15


@pytest.mark.parametrize(("alpha", "beta", "low", "high"), [(1, 4, 7.0, 9.0), (4, 1, 1.0, 3.0)])
def test_beta_leans_to_full_contexts_and_alpha_to_empty_ones(
    alpha: float, beta: float, low: float, high: float
) -> None:
    problem, scorer = random_game(10)
    BetaShapley(alpha=alpha, beta=beta, budget=50).attribute(problem, {"target": scorer})
    sizes = sizes_of(scorer.prompts, list(scorer.texts))
    assert low < sizes.mean() < high
    # The end of infinite weight is always scored.
    assert (10 if alpha == 1 else 0) in sizes


@pytest.mark.parametrize(
    "setting",
    [{"alpha": 0.5}, {"beta": 0.999}, {"alpha": float("inf")}, {"beta": float("nan")}],
)
def test_parameters_without_least_squares_weights(setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="finite and at least 1; got alpha="):
        BetaShapley(**setting)
