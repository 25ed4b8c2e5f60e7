"""KernelSHAP's own: both ends hold exactly, and every draw brings its complement."""

import numpy as np
import pytest

from attribot.attributors.kernel_shap import KernelShap
from attribot.attributors.semivalue import BetaShapley
from tests.attributors.fakes import AdditiveScorer, build_problem
from tests.attributors.games import GameScorer, random_game


def masks_of(scorer: GameScorer) -> set[tuple[bool, ...]]:
    return {tuple(text in prompt for text in scorer.texts) for prompt in scorer.prompts}


@pytest.mark.parametrize("budget", [20, 33, 300])
def test_scores_sum_to_what_the_context_brings(budget: int) -> None:
    problem, scorer = random_game(10)
    attribution = KernelShap(budget=budget).attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores.sum(), scorer.table[-1] - scorer.table[0])
    assert attribution.base_log_likelihood == pytest.approx(scorer.table[-1], rel=1e-14)


def test_every_subset_comes_with_its_complement() -> None:
    problem, scorer = random_game(10)
    KernelShap(budget=55).attribute(problem, {"target": scorer})
    masks = masks_of(scorer)
    assert masks == {tuple(not kept for kept in mask) for mask in masks}
    assert {(False,) * 10, (True,) * 10} <= masks


def test_even_interactions_cancel_between_a_draw_and_its_complement() -> None:
    # A fact that takes both of two sources: Shapley's half each, from any draws of full rank.
    problem, scorer = random_game(10)
    table = np.array([6.0 if i & 1 and i & 16 else 0.0 for i in range(2**10)]) - 40.0
    pair = GameScorer(scorer.texts, table)
    scores = KernelShap(budget=80).attribute(problem, {"target": pair}).scores
    np.testing.assert_allclose(scores, [3.0, 0, 0, 0, 3.0, 0, 0, 0, 0, 0], atol=1e-9)


def test_what_the_draws_leave_open_is_shared_equally() -> None:
    # Eight passes leave three pairs. Two sources alone and the two together tell nothing of the
    # other two but their sum.
    problem, weights = build_problem(sizes=[4]), np.array([6.0, 1.0, 2.0, 4.0])
    outcomes = set()
    for seed in range(40):
        scorer = AdditiveScorer.planted(problem, weights.tolist())
        texts = tuple(scorer.weights)
        scores = KernelShap(budget=8, seed=seed).attribute(problem, {"target": scorer}).scores
        masks = np.array([[text in prompt for text in texts] for prompt in scorer.prompts])
        is_open = masks.shape == (8, 4) and np.linalg.matrix_rank(masks) == 3
        wanted = weights.copy()
        if is_open:
            alone = masks[masks.sum(axis=1) == 1].any(axis=0)
            wanted[~alone] = weights[~alone].mean()
        np.testing.assert_allclose(scores, wanted, rtol=1e-9)
        outcomes.add(is_open)
    assert outcomes == {False, True}


def test_it_is_beta_shapley_of_one_and_one() -> None:
    problem, scorer = random_game(8)
    kernel = KernelShap(budget=70, seed=5).attribute(problem, {"target": scorer}).scores
    weighted = BetaShapley(alpha=1, beta=1, budget=70, seed=5)
    np.testing.assert_array_equal(weighted.attribute(problem, {"target": scorer}).scores, kernel)
