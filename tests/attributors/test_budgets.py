"""What all methods that choose their ablations share: a budget, one seed, any ablation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attribot.attributors.ablation import DELETION, Mask
from attribot.attributors.base import Attributor
from attribot.attributors.camab import CAMAB
from attribot.attributors.context_cite import ContextCite
from attribot.attributors.halving import Halving
from attribot.attributors.keep import TopK
from attribot.attributors.kernel_shap import KernelShap
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.leave_two_out import LeaveTwoOut
from attribot.attributors.ls_tree import LSTree
from attribot.attributors.permutation_shapley import PermutationShapley
from attribot.attributors.semivalue import Banzhaf, BetaShapley
from attribot.attributors.two_stage import TwoStage
from attribot.attributors.word_overlap import WordOverlap
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.scoring.scorer import ModelScorer
from attribot.types import FloatArray
from tests.attributors.fakes import AdditiveScorer, build_problem
from tests.attributors.games import banzhaf_share, random_game, semivalue_of
from tests.models.tiny import tiny_language_model

WEIGHTS = [1.5, -0.5, 0.25, 4.0, 0.0, 0.125, 2.0, -3.0, 0.75, 0.5]
Factory = Callable[..., Attributor]


def context_cite(budget: int, **settings: Any) -> ContextCite:
    # Next to no penalty: the fit is least squares.
    return ContextCite(
        num_ablations=budget,
        lasso_alpha=1e-5,
        regression_target="log_likelihood",
        **settings,
    )


def leave_two_out(budget: int, **settings: Any) -> LeaveTwoOut:
    return LeaveTwoOut(WordOverlap(), budget=budget, **settings)


DRAWN: dict[str, Factory] = {
    "context_cite": context_cite,
    "kernel_shap": KernelShap,
    "permutation_shapley": PermutationShapley,
    "banzhaf": Banzhaf,
    "beta_shapley": BetaShapley,
    "camab": CAMAB,
    "ls_tree": LSTree,
}
METHODS: dict[str, Factory] = {**DRAWN, "halving": Halving, "leave_two_out": leave_two_out}


@pytest.mark.parametrize("budget", [20, 29])
@pytest.mark.parametrize("name", METHODS)
def test_the_budget_holds_and_no_ablation_is_scored_twice(name: str, budget: int) -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, WEIGHTS)
    attribution = METHODS[name](budget=budget).attribute(problem, {"target": scorer})
    assert len(scorer.prompts) == len(set(scorer.prompts)) <= budget
    assert attribution.cost.forward_passes == len(scorer.prompts)


@pytest.mark.parametrize("name", DRAWN)
def test_one_seed_decides_what_is_asked(name: str) -> None:
    problem = build_problem()
    asked = []
    for seed in (3, 3, 4):
        scorer = AdditiveScorer.planted(problem, WEIGHTS)
        # Too little for LS-Tree to ask every sentence.
        budget = 9 if name == "ls_tree" else 24
        DRAWN[name](budget=budget, seed=seed).attribute(problem, {"target": scorer})
        asked.append(scorer.prompts)
    assert asked[0] == asked[1]
    assert set(asked[0]) != set(asked[2])


@pytest.fixture(scope="module")
def scorers() -> dict[str, ModelScorer]:
    return {"target": ModelScorer(tiny_language_model("llama", num_layers=2))}


@pytest.mark.parametrize("name", METHODS)
def test_a_mask_whose_window_is_all_that_follows_is_deletion(
    name: str, scorers: dict[str, ModelScorer]
) -> None:
    response = response_from_text(scorers["target"].language_model, "The king built it.")
    problem = build_problem((2, 3), response=response)
    deleted, masked = (
        METHODS[name](budget=16, ablation=ablation).attribute(problem, scorers)
        for ablation in (DELETION, Mask(10_000))
    )
    np.testing.assert_allclose(masked.stage_scores, deleted.stage_scores, atol=1e-3)
    assert np.ptp(deleted.scores[~deleted.is_pruned]) > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_it_may_rescore_what_a_masked_screen_keeps(
    name: str, scorers: dict[str, ModelScorer]
) -> None:
    response = response_from_text(scorers["target"].language_model, "The king built it.")
    problem = build_problem((2, 3, 2), response=response)
    screen = LeaveOneOut(level="paragraph", ablation=Mask("none"))
    rescore = METHODS[name](budget=16, ablation=Mask("paragraph"))
    attribution = TwoStage(screen, TopK(2, "paragraph"), rescore).attribute(problem, scorers)
    kept = screen.attribute(problem, scorers)
    is_last = kept.scores == kept.scores.min()
    assert np.isnan(attribution.scores[is_last]).all()
    assert np.isfinite(attribution.stage_scores[:, ~is_last]).any(axis=0).all()


def root_mean_squares(
    name: str, budgets: tuple[int, ...], is_additive: bool, **settings: Any
) -> list[float]:
    """Deviation of the scores from those of an unbounded budget, over five games, by budget."""
    errors = []
    for budget in budgets:
        squares: list[FloatArray] = []
        for seed in range(5):
            problem, game = random_game(8, seed)
            weights = np.random.default_rng(seed).normal(0.0, 3.0, 8)
            scorer = AdditiveScorer.planted(problem, weights.tolist()) if is_additive else game
            exact = weights if is_additive else semivalue_of(game.table, banzhaf_share)
            method = DRAWN[name](budget=budget, seed=seed, **settings)
            scores = method.attribute(problem, {"target": scorer}).scores
            squares.append((scores - exact) ** 2)
        errors.append(float(np.sqrt(np.mean(squares))))
    return errors


def test_context_cite_tends_to_the_banzhaf_value_without_a_penalty() -> None:
    # A linear fit to independent halves of the sources; sixteen times the draws.
    coarse, fine = root_mean_squares("context_cite", (60, 960), is_additive=False)
    assert fine < 0.35 * coarse


@pytest.mark.parametrize(
    ("name", "budgets", "settings"),
    [("camab", (4, 8, 40), {"noise_std": 1e-3, "round_size": 16}), ("ls_tree", (3, 5, 8, 10), {})],
)
def test_planted_weights_come_closer_with_the_budget(
    name: str, budgets: tuple[int, ...], settings: dict[str, Any]
) -> None:
    errors = root_mean_squares(name, budgets, is_additive=True, **settings)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * errors[0]


def test_a_problem_without_candidates_is_refused() -> None:
    nobody = np.zeros(10, dtype=bool)
    with pytest.raises(InvalidInputError, match="at least one candidate; got none of 10 sources"):
        build_problem().restrict(nobody)
