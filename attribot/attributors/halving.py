"""Recursive halving: leave-one-out of groups, then of the halves of the best groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution, Cost, FloatArray, IntArray


@dataclass(frozen=True)
class Halving:
    """Leave-one-out of groups of consecutive sources; the best are halved, down to single sources.

        score(g) = log p(R | Q, C) - log p(R | Q, C without the sources of g) [nats]

    The first level cuts the candidates evenly into at most 2 * num_kept groups. As long as a group
    of the level holds several sources, the num_kept best go on to the next one, in halves; single
    sources go on as they are. A level is a stage of the attribution: a source has the score of its
    group, and groups that fell out are ranked behind those that went further. Where the budget does
    not last, the best groups are halved first, and the last level may hold groups.

    Group scores hide sources that cancel or stand in for one another; the context stays whole, so
    the score of a single source is its exact leave-one-out score.

    Measures: necessity, of ever smaller groups of sources.
    Use: to find the few best of many sources in fewer passes than leave-one-out takes.

    Cost: one forward pass, and at most 2 * num_kept for each of about log2(n / num_kept) levels of
    n candidates. Source: the search of TracLLM (arXiv 2506.04202), with leave-one-out as its score;
    there, groups that fall out leave the context as well, and have no rank.

    role: whose likelihood.
    num_kept: groups of a level that go on.
    budget: forward passes at most.
    ablation: how groups are removed; anything but deletion approximates.

    Raises:
        InvalidInputError: a setting lies outside its range.
    """

    role: str = "target"
    num_kept: int = 3
    budget: int = 64
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.num_kept < 1:
            raise InvalidInputError(f"num_kept must be at least 1; got {self.num_kept}")
        if self.budget < 1 + 2 * self.num_kept:
            raise InvalidInputError(
                f"the first level takes 1 + 2 * num_kept = {1 + 2 * self.num_kept} forward passes; "
                f"got budget={self.budget}: raise it, or keep fewer groups"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates, last level first; see `Attributor`."""
        scorer: Scorer = scorer_for(self.role, scorers)
        candidates = np.flatnonzero(problem.candidates)
        groups = np.array_split(candidates, min(2 * self.num_kept, len(candidates)))
        known: dict[tuple[int, ...], FloatArray] = {}
        levels: list[FloatArray] = []
        cost = Cost()
        while groups:
            cost += self._score(problem, [candidates[:0], *groups], scorer, known)
            full = known[()]
            spread = np.full((problem.tree.num_sources, len(full)), np.nan)
            for group in groups:
                spread[group] = known[tuple(group)]
            levels.insert(0, spread)
            drops = full.sum() - np.array([known[tuple(group)].sum() for group in groups])
            groups = self._next_level(groups, drops, self.budget - len(known))
        ablated = np.array(levels).sum(axis=2)
        return Attribution(
            stage_scores=full.sum() - ablated,
            cost=cost,
            base_log_likelihood=float(full.sum()),
            ablated_log_likelihoods=ablated[0],
            token_scores=full - levels[0],
        )

    def _score(
        self,
        problem: Problem,
        groups: Sequence[IntArray],
        scorer: Scorer,
        known: dict[tuple[int, ...], FloatArray],
    ) -> Cost:
        """Adds `[num_response_tokens]` log-likelihoods without each group that is not known yet."""
        fresh = [group for group in groups if tuple(group) not in known]
        if not fresh:
            return Cost()
        removals = [problem.tree.sources[group] for group in fresh]
        answer = self.ablation.score(problem, removals, scorer)
        for group, row in zip(fresh, answer.token_log_likelihoods, strict=True):
            known[tuple(group)] = row
        return answer.cost

    def _next_level(
        self, groups: Sequence[IntArray], drops: FloatArray, num_passes: int
    ) -> list[IntArray]:
        """Halves of the best groups, as many as `num_passes` can score; empty after the last level.

        drops: `[num_groups]` scores of the groups.
        """
        sizes = np.array([len(group) for group in groups])
        if sizes.max() == 1:
            return []
        best = np.argsort(-drops, kind="stable")[: self.num_kept]
        passes = np.cumsum(np.where(sizes[best] > 1, 2, 0))
        kept = [groups[index] for index in np.sort(best[passes <= num_passes])]
        return [half for group in kept for half in np.array_split(group, min(2, len(group)))]
