"""Leave-one-out: how much less likely the response becomes without one unit of the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.scoring.base import Scorer
from attribot.types import Attribution, Level


@dataclass(frozen=True)
class LeaveOneOut:
    """Log-likelihood of the response that is lost without each unit.

        LOO(s) = log p(R | Q, C) - log p(R | Q, C without s) [nats]

    Exact under the role "target"; under "proxy" it is the paper's proxy modelling. At a level above
    sentences every source gets the score of its unit.

    Measures: necessity, of each unit by itself.
    Use: as the reference for all others, and wherever a pass per source can be afforded.

    Cost: one forward pass per unit with a candidate source, plus one for the full context; prefix
    reuse, a setting of the scorer, computes about half their tokens.
    Source: AttriBoT (arXiv 2411.15102), section 2.

    role: whose likelihood.
    level: the units that are removed, one at a time.
    ablation: how they are removed; anything but deletion approximates.
    """

    role: str = "target"
    level: Level = "sentence"
    ablation: Ablation = DELETION

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates; see `Attributor`."""
        scorer: Scorer = scorer_for(self.role, scorers)
        unit_of_source = problem.tree.unit_of_source(self.level)
        units = np.unique(unit_of_source[problem.candidates])
        removals = [units[:0], *units[:, None]]
        answer = self.ablation.score(problem, removals, scorer)
        full, ablated = answer.token_log_likelihoods[0], answer.token_log_likelihoods[1:]
        spread = np.full((problem.tree.num_sources, len(full)), np.nan)
        spread[problem.candidates] = ablated[
            np.searchsorted(units, unit_of_source[problem.candidates])
        ]
        return Attribution(
            stage_scores=(full.sum() - spread.sum(axis=1))[None],
            cost=answer.cost,
            level=self.level,
            base_log_likelihood=float(full.sum()),
            ablated_log_likelihoods=spread.sum(axis=1),
            token_scores=full - spread,
        )
