"""ARC-JSD: how far the model's predictions move without one unit of the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.scoring.base import DistributionScorer
from attribot.types import Attribution, Level


@dataclass(frozen=True)
class ArcJsd:
    """Jensen-Shannon divergence of next-token distributions with and without each unit, summed.

        score(s) = sum over response tokens j of
                   JSD( p(. | Q, C, r_1 .. r_{j-1}), p(. | Q, C without s, r_1 .. r_{j-1}) ) [nats]

    Whole distributions are compared, not only what they give to the response: a score says that a
    unit matters, not whether it helps, and none is below 0 or above log 2 per token. Units are
    deleted, whatever the ablation of other methods. At a level above sentences every source gets
    the score of its unit.

    Measures: necessity, for all that the model predicts, whatever was said.
    Use: where it matters that a source moves the model, not whether it supports the response.

    Cost: one forward pass per unit with a candidate source, plus one for the full context, as
    leave-one-out takes. Memory: one distribution per response token is kept. Source: Li et al.
    (arXiv 2505.16415).

    role: whose distributions.
    level: the units that are removed, one at a time.
    """

    role: str = "target"
    level: Level = "sentence"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates; see `Attributor`."""
        scorer = scorer_for(self.role, scorers, DistributionScorer)  # type: ignore[type-abstract]
        unit_of_source = problem.tree.unit_of_source(self.level)
        units, unit = np.unique(unit_of_source[problem.candidates], return_inverse=True)
        prompts = [problem.prompt(removed=[node]) for node in units]
        answer = scorer.divergences(problem.prompt(), prompts, problem.response)
        token_scores = np.full(
            (problem.tree.num_sources, answer.token_divergences.shape[1]), np.nan
        )
        token_scores[problem.candidates] = answer.token_divergences[unit]
        return Attribution(
            stage_scores=token_scores.sum(axis=1)[None],
            cost=answer.cost,
            level=self.level,
            token_scores=token_scores,
        )
