"""Leave-two-out: leave-one-out that sees pairs of sources that stand in for one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isqrt
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Attributor, Problem, scorer_for
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution, Cost, IntArray


@dataclass(frozen=True)
class LeaveTwoOut:
    """Leave-one-out scores, plus half of what each source hides jointly with another.

        LOO(i)   = v(N) - v(N without i)                 v = log p(R | Q, .) [nats], N = the context
        I(i, j)  = v(N) - v(N without i and j) - LOO(i) - LOO(j)
        score(i) = LOO(i) + 1/2 sum_j max(0, I(i, j))

    I is positive where either source makes up for the loss of the other: two copies of a fact have
    LOO 0 each, and I is all that the fact is worth, which their scores share. In a context of two
    candidates with I >= 0, the scores are the Shapley values. Three copies still hide one another.

    All pairs of candidates are looked at where the budget allows; otherwise those of as many
    candidates as it allows, the ones with the highest priority under the screen, which only then is
    asked. Pairs not looked at count as I = 0.

    Measures: necessity, of each source by itself and together with one other.
    Use: where two sources may say the same, so that leave-one-out gives neither a score.

    Cost: 1 + n forward passes for n candidates, one per pair, and what the screen takes.
    Source: ours; I is the interaction of the game v at the full context with its sign turned.

    screen: any attributor; leave-one-out is a poor one, as it is blind to what is sought.
    role: whose likelihood.
    budget: forward passes at most, those of the screen aside.
    ablation: how sources are removed; anything but deletion approximates.

    Raises:
        InvalidInputError: the budget is too small.
    """

    screen: Attributor
    role: str = "target"
    budget: int = 256
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.budget < 2:
            raise InvalidInputError(f"budget must be at least 2 passes; got {self.budget}")

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates; see `Attributor`."""
        scorer: Scorer = scorer_for(self.role, scorers)
        paired, screen_cost = self._paired(problem, scorers)
        candidates, nodes = np.flatnonzero(problem.candidates), problem.tree.sources
        pairs = np.array(list(combinations(paired, 2)), dtype=np.int64).reshape(-1, 2)
        removals = [nodes[:0], *nodes[candidates][:, None], *nodes[pairs]]
        answer = self.ablation.score(problem, removals, scorer)
        full, *_ = log_likelihoods = answer.log_likelihoods
        ablated = np.full(problem.tree.num_sources, np.nan)
        ablated[candidates], without_both = np.split(log_likelihoods[1:], [len(candidates)])
        scores = full - ablated
        interactions = full - without_both - scores[pairs].sum(axis=1)
        np.add.at(scores, pairs, np.maximum(interactions, 0.0)[:, None] / 2)
        return Attribution(
            stage_scores=scores[None],
            cost=screen_cost + answer.cost,
            base_log_likelihood=float(full),
            ablated_log_likelihoods=ablated,
        )

    def _paired(self, problem: Problem, scorers: Mapping[str, Any]) -> tuple[IntArray, Cost]:
        """`[num_paired]` sources whose pairs are removed, ascending, and the cost of the choice."""
        candidates = np.flatnonzero(problem.candidates)
        num_pairs = self.budget - 1 - len(candidates)
        if num_pairs < min(1, len(candidates) - 1):
            raise InvalidInputError(
                f"leave-one-out of {len(candidates)} candidates and one pair take "
                f"{len(candidates) + 2} forward passes; got budget={self.budget}: raise it, or "
                f"leave fewer candidates by pruning first"
            )
        # The largest k with k (k - 1) / 2 <= num_pairs.
        num_paired = (1 + isqrt(1 + 8 * num_pairs)) // 2
        if len(candidates) <= num_paired:
            return candidates, Cost()
        screened = self.screen.attribute(problem, scorers)
        order = np.argsort(-screened.priority[candidates], kind="stable")
        return np.sort(candidates[order[:num_paired]]), screened.cost
