"""Semivalues by least squares over sampled subsets: Banzhaf, and Beta-weighted Shapley."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.subsets import (
    SubsetValues,
    beta_log_weights,
    check_budget,
    fitted_semivalue,
)
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution


@dataclass(frozen=True)
class Banzhaf:
    """Mean change of the log-likelihood that a source brings to a random half of the others.

        psi(s) = 2^-(n-1) sum over S without s of  v(S + s) - v(S)
        v(S) = log p(R | Q, candidates S) [nats],  n candidates

    It is computed as the linear model of v, with an intercept, that fits best over subsets drawn
    uniformly, each with its complement, until the budget is spent; over all subsets the two are
    equal. A subset drawn again is scored once and weighs twice. What the draws leave open is
    settled by the least norm.

    Measures: average effect, over contexts with half of the sources.
    Use: for a ranking that noise of the likelihoods disturbs least.

    Cost: at most `budget` forward passes; 2^n where that is fewer. At least 2n are needed. The
    full context is not among them unless drawn. Source: Wang and Jia (arXiv 2205.15466) for the
    value, Liu et al. (arXiv 2410.08336) for paired least squares.

    role: whose likelihood.
    budget: forward passes, at most.
    seed: of the subsets.
    ablation: how the sources outside a subset are removed.

    Raises:
        InvalidInputError: the budget is below 2.
    """

    role: str = "target"
    budget: int = 256
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        check_budget(self.budget)

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN.

        Raises:
            InvalidInputError: the budget is below two passes per candidate.
        """
        scorer: Scorer = scorer_for(self.role, scorers)
        values = SubsetValues(problem, scorer, self.ablation)
        uniform = np.zeros(values.num_candidates + 1)
        scores = fitted_semivalue(values, uniform, self.budget, self.seed, is_paired=True)
        return values.attribution(scores, base_log_likelihood=None)


@dataclass(frozen=True)
class BetaShapley:
    """The Shapley value, with contexts weighted by how much of the context they hold.

        psi(s) = sum over S without s of  p(|S|) (v(S + s) - v(S))
        p(k) = B(k + beta, n - 1 - k + alpha) / B(alpha, beta),   B the Beta function
        v(S) = log p(R | Q, candidates S) [nats],  n candidates

    So psi(s) is the mean change that s brings when each other candidate is there with probability
    t, and t ~ Beta(beta, alpha). alpha = beta = 1 is the Shapley value; alpha = beta -> infinity
    the Banzhaf value; a growing beta leans to full contexts and ends at leave-one-out, a growing
    alpha to empty ones.

    It is computed by least squares, with weights B(j + beta - 1, n - j + alpha - 1) for subsets of
    size j and a free intercept, where an infinite weight (full subset for alpha = 1, empty one for
    beta = 1) makes an equation: over all subsets this is psi exactly. It is not so for weights
    w(j) / (j (n - j)) on all subsets of size j together, where w(j) = C(n - 1, j - 1) p(j - 1) and
    both ends are pinned (that form: arXiv 2503.06602): these give psi for alpha = beta = 1, psi up
    to a constant for alpha = 1, and else neither.

    Subsets are drawn in proportion to their weight, for alpha = beta each with its complement,
    until the budget is spent; one drawn again is scored once and weighs twice. What the draws leave
    open is settled by the least norm.

    Measures: average effect, over contexts weighted by their size.
    Use: to stand between leave-one-out (large beta) and each source alone (large alpha).

    Cost: at most `budget` forward passes, ends of infinite weight included; 2^n where that is
    fewer. At least n + 1 are needed, 2n for alpha = beta. Source: Kwon and Zou (arXiv 2110.14049),
    equation 5, for the value; the least squares weights are ours.

    role: whose likelihood.
    alpha, beta: at least 1; below, no least squares weights exist.
    budget: forward passes, at most.
    seed: of the subsets.
    ablation: how the sources outside a subset are removed.

    Raises:
        InvalidInputError: alpha or beta is below 1 or infinite, or the budget below 2.
    """

    role: str = "target"
    alpha: float = 1.0
    beta: float = 4.0
    budget: int = 256
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if not (1 <= self.alpha < np.inf and 1 <= self.beta < np.inf):
            raise InvalidInputError(
                f"alpha and beta must be finite and at least 1; got alpha={self.alpha}, "
                f"beta={self.beta}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN.

        Raises:
            InvalidInputError: the budget is below what n candidates take.
        """
        scorer: Scorer = scorer_for(self.role, scorers)
        values = SubsetValues(problem, scorer, self.ablation)
        log_weights = beta_log_weights(values.num_candidates, self.alpha, self.beta)
        scores = fitted_semivalue(
            values, log_weights, self.budget, self.seed, is_paired=self.alpha == self.beta
        )
        return values.attribution(scores, base_log_likelihood=None)
