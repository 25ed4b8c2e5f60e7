"""Shapley values by sampled permutations, truncated where nothing is left to gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.subsets import (
    SubsetValues,
    check_budget,
    fitted_semivalue,
    shapley_log_weights,
)
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution, FloatArray, IntArray


@dataclass(frozen=True)
class PermutationShapley:
    """Mean change of the log-likelihood that a source brings to those before it in a random order.

        psi(s) = mean over orders of  v(before s, and s) - v(before s)
        v(S) = log p(R | Q, candidates S) [nats],  n candidates

    Every order is drawn together with its reverse. An order is truncated at the first prefix with
    |v(all) - v(prefix)| < truncation_tolerance: the sources behind it count as bringing nothing
    there. Without truncation the scores are unbiased, sum to v(all) - v(none), and are exact where
    the log-likelihood is additive. Where 2^n subsets fit the budget, all are scored, and give the
    exact value.

    The number of orders is what the budget pays for in full. What truncation and repeated subsets
    save is left unspent: to spend it on more orders would tie their number to what was found.

    Measures: average effect, over contexts of every size alike.
    Use: for unbiased Shapley values, and where orders can be truncated early.

    Cost: at most `budget` forward passes, v(all) and v(none) included, n - 1 per order; 2^n where
    that is fewer. At least 2n are needed. Source: Castro et al. (2009); truncation: Ghorbani and
    Zou (arXiv 1904.02868), algorithm 1; reverses: Mitchell et al. (arXiv 2104.12199).

    role: whose likelihood.
    budget: forward passes, at most.
    truncation_tolerance: [nats]; 0 truncates nothing.
    chunk: with truncation, prefixes of each order that are scored in one call; at most chunk - 1
        of them lie behind the truncation, and the scores do not depend on it.
    seed: of the orders.
    ablation: how the sources outside a subset are removed.

    Raises:
        InvalidInputError: a setting lies outside its range.
    """

    role: str = "target"
    budget: int = 256
    truncation_tolerance: float = 0.0
    chunk: int = 8
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if self.truncation_tolerance < 0 or self.chunk < 1:
            raise InvalidInputError(
                f"truncation_tolerance must be at least 0 and chunk at least 1; got "
                f"truncation_tolerance={self.truncation_tolerance}, chunk={self.chunk}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN.

        Raises:
            InvalidInputError: the budget is below two passes per candidate.
        """
        scorer: Scorer = scorer_for(self.role, scorers)
        values = SubsetValues(problem, scorer, self.ablation)
        n = values.num_candidates
        check_budget(self.budget, n, 2 * n)
        if 2**n <= self.budget:
            weights = shapley_log_weights(n)
            scores = fitted_semivalue(values, weights, self.budget, self.seed, is_paired=True)
        else:
            scores = self._mean_change(values, self._orders(n))
        full = values.of(np.ones((1, n), dtype=bool))
        return values.attribution(scores, float(full[0]))

    def _orders(self, num_candidates: int) -> IntArray:
        """`[num_orders, num_candidates]` candidates in the order in which they enter."""
        num_pairs = (self.budget - 2) // (2 * (num_candidates - 1))
        generator = np.random.default_rng(self.seed)
        sorted_orders = np.tile(np.arange(num_candidates), (num_pairs, 1))
        orders = generator.permuted(sorted_orders, axis=1)
        return np.concatenate([orders, orders[:, ::-1]])

    def _mean_change(self, values: SubsetValues, orders: IntArray) -> FloatArray:
        """`[num_candidates]`"""
        num_orders, n = orders.shape
        position = orders.argsort(axis=1)
        ends = values.of(np.array([[False] * n, [True] * n]))
        # Column k: the value of the first k sources of each order; NaN once it is truncated.
        walk = np.full((num_orders, n + 1), np.nan)
        walk[:, [0, n]] = ends
        chunk = self.chunk if self.truncation_tolerance else n
        for start in range(1, n, chunk):
            lengths = np.arange(start, min(start + chunk, n))
            is_close = np.abs(ends[1] - walk[:, :start]) < self.truncation_tolerance
            open_orders = np.flatnonzero(~is_close.any(axis=1))
            masks = position[open_orders, None, :] < lengths[:, None]
            walk[np.ix_(open_orders, lengths)] = values.of(masks.reshape(-1, n)).reshape(
                len(open_orders), len(lengths)
            )
        is_close = np.abs(ends[1] - walk) < self.truncation_tolerance
        is_truncated = np.logical_or.accumulate(is_close, axis=1)[:, :-1]
        change = np.where(is_truncated, 0.0, np.diff(walk, axis=1))
        return np.asarray(np.take_along_axis(change, position, axis=1).mean(axis=0))
