"""Permutation Shapley's own: identities of whole orders, truncation, and what a call asks."""

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest

from attribot.attributors.permutation_shapley import PermutationShapley
from attribot.errors import InvalidInputError
from attribot.types import FloatArray
from tests.attributors.fakes import SENTENCES, AdditiveScorer, build_problem
from tests.attributors.games import GameScorer, random_game

pytestmark = pytest.mark.slow

WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 5.0, 0.0, 0.0, 1.0, -1.0, 7.0])


def planted() -> AdditiveScorer:
    return AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)))


def walked(table: FloatArray, orders: list[list[int]], tolerance: float) -> FloatArray:
    """Mean change along the orders, one source at a time: algorithm 1 of TMC-Shapley."""
    scores = np.zeros(len(orders[0]))
    for order in orders:
        subset = 0
        for source in order:
            if abs(table[-1] - table[subset]) < tolerance:
                break
            scores[source] += table[subset | 1 << source] - table[subset]
            subset |= 1 << source
    return scores / len(orders)


def orders_of(budget: int, seed: int, num_sources: int) -> list[list[int]]:
    """The orders that a budget pays for in full."""
    num_pairs = (budget - 2) // (2 * (num_sources - 1))
    drawn = np.random.default_rng(seed).permuted(
        np.tile(np.arange(num_sources), (num_pairs, 1)), axis=1
    )
    return [*drawn.tolist(), *drawn[:, ::-1].tolist()]


@pytest.mark.parametrize("tolerance", [0.0, 0.7, 2.5, 1e3])
@pytest.mark.parametrize("chunk", [1, 2, 7, 50])
def test_agrees_with_walking_one_source_at_a_time(tolerance: float, chunk: int) -> None:
    problem, scorer = random_game(7)
    method = PermutationShapley(budget=91, truncation_tolerance=tolerance, chunk=chunk, seed=3)
    scores = method.attribute(problem, {"target": scorer}).scores
    wanted = walked(scorer.table, orders_of(91, 3, 7), tolerance)
    np.testing.assert_allclose(scores, wanted, rtol=1e-9, atol=1e-12)
    assert len(scorer.prompts) <= 91


def test_all_orders_are_the_shapley_value() -> None:
    # What `walked` above is worth as an oracle.
    problem, scorer = random_game(5)
    wanted = walked(scorer.table, [list(order) for order in permutations(range(5))], 0.0)
    scores = PermutationShapley(budget=32).attribute(problem, {"target": scorer}).scores
    np.testing.assert_allclose(scores, wanted, rtol=1e-9)


@pytest.mark.parametrize("budget", [20, 21, 37, 100])
def test_additive_likelihoods_are_exact_from_any_orders(budget: int) -> None:
    method = PermutationShapley(budget=budget)
    scores = method.attribute(build_problem(), {"target": planted()}).scores
    np.testing.assert_allclose(scores, WEIGHTS, atol=1e-9)


def test_scores_sum_to_what_the_context_brings() -> None:
    problem, scorer = random_game(10)
    attribution = PermutationShapley(budget=64).attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.scores.sum(), scorer.table[-1] - scorer.table[0])
    assert attribution.base_log_likelihood == pytest.approx(scorer.table[-1], rel=1e-14)


def test_even_interactions_cancel_between_an_order_and_its_reverse() -> None:
    problem, scorer = random_game(10)
    table = np.array([6.0 if i & 1 and i & 16 else 0.0 for i in range(2**10)]) - 40.0
    pair = GameScorer(scorer.texts, table)
    scores = PermutationShapley(budget=20).attribute(problem, {"target": pair}).scores
    np.testing.assert_allclose(scores, [3.0, 0, 0, 0, 3.0, 0, 0, 0, 0, 0], atol=1e-9)


def test_a_smaller_chunk_asks_less_behind_the_truncation() -> None:
    # One source brings everything: each order is done once it is in.
    problem, scorer = random_game(10)
    table = np.array([5.0 if i & 8 else 0.0 for i in range(2**10)]) - 40.0
    asked = []
    for chunk in (1, 3, 9):
        single = GameScorer(scorer.texts, table)
        method = PermutationShapley(budget=128, truncation_tolerance=0.1, chunk=chunk)
        scores = method.attribute(problem, {"target": single}).scores
        np.testing.assert_allclose(scores, np.eye(10)[3] * 5.0, atol=1e-9)
        asked.append(len(single.prompts))
    assert all(less < more for less, more in pairwise(asked))
    untruncated = GameScorer(scorer.texts, table)
    PermutationShapley(budget=128).attribute(problem, {"target": untruncated})
    assert asked[-1] == len(untruncated.prompts)


def test_orders_are_walked_side_by_side() -> None:
    # Seven pairs of orders: one call for both ends, then one per chunk of four prefixes of all.
    problem, scorer = random_game(10)
    PermutationShapley(budget=128, truncation_tolerance=1e-9, chunk=4).attribute(
        problem, {"target": scorer}
    )
    assert len(scorer.calls) == 4
    assert scorer.calls[0] == 2
    scorer.calls.clear()
    PermutationShapley(budget=128, chunk=4).attribute(problem, {"target": scorer})
    assert len(scorer.calls) == 2


def test_a_context_that_brings_nothing_is_truncated_at_once() -> None:
    problem = build_problem()
    scorer = AdditiveScorer.planted(problem, [0.01] * 10)
    method = PermutationShapley(truncation_tolerance=0.2)
    attribution = method.attribute(problem, {"target": scorer})
    np.testing.assert_array_equal(attribution.scores, np.zeros(10))
    assert attribution.cost.forward_passes == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"truncation_tolerance": -0.1}, "at least 0 and chunk at least 1; got truncation_toleran"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_settings_outside_their_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PermutationShapley(**setting)
