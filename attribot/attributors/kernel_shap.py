"""KernelSHAP: Shapley values by weighted least squares over sampled subsets."""

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
from attribot.scoring.base import Scorer
from attribot.types import Attribution


@dataclass(frozen=True)
class KernelShap:
    """The additive model closest to the log-likelihoods of subsets, exact at both ends.

        psi = argmin sum_S weight(|S|) (v(S) - v(0) - 1_S . psi)^2   with sum psi = v(N) - v(0)
        weight(s) = (n - 1) / (C(n, s) s (n - s)),  0 < s < n
        v(S) = log p(R | Q, candidates S) [nats],   N = all n candidates, 0 = none of them

    Over all subsets psi is the Shapley value. Where the budget does not reach all, subsets are
    drawn in proportion to their weight, each with its complement, until the budget is spent; one
    drawn again is scored once and weighs twice. What the draws leave open is shared equally.

    Measures: average effect, over contexts of every size alike.
    Use: for shares that sum to what the context brings, at a few passes per source.

    Cost: at most `budget` forward passes, v(N) and v(0) included; 2^n where that is fewer. At
    least 2n are needed. Source: Lundberg and Lee (arXiv 1705.07874), theorem 2; complements:
    Covert and Lee (arXiv 2012.01536).

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
        n = values.num_candidates
        scores = fitted_semivalue(
            values, shapley_log_weights(n), self.budget, self.seed, is_paired=True
        )
        full = values.of(np.ones((1, n), dtype=bool))
        return values.attribution(scores, float(full[0]))
