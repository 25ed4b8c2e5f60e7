"""LS-Tree: a linear model of the response's likelihood over the subtrees of the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.scoring.base import Scorer
from attribot.types import LEVELS, Attribution, BoolArray


@dataclass(frozen=True)
class LSTree:
    """Effects of the candidates in a least-squares fit to the subtrees of the context, each alone.

        v(S)     = log p(R | Q, C with S alone) - log p(R | Q, C with none) [nats]
        score(s) = w_s of argmin_w sum_S (v(S) - sum_{s in S} w_s)^2

    S runs over the sets of candidates below a node: every sentence, paragraph and document, equal
    sets once. "S alone" takes the other candidates away source by source, so that a value depends
    on S only; sources that are no candidates stay, and so do headers and separators.

    Subtrees are kept, not removed, as in the paper: a score says what a source brings by itself,
    where leave-one-out says what is lost without it. Of two sources with the same fact both score
    high. The whole context is only looked at where it is one document.

    Cost: one forward pass per distinct set, at most one per node, plus one without candidates; all
    but those of large units are short. Source: Chen and Jordan (arXiv 1902.04187), with
    the context tree in place of a parse tree.

    role: whose likelihood.
    ablation: how the other candidates are removed; anything but deletion approximates.
    """

    role: str = "target"
    ablation: Ablation = DELETION

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates; see `Attributor`."""
        scorer: Scorer = scorer_for(self.role, scorers)
        nodes = problem.tree.sources[problem.candidates]
        subtrees = self._subtrees(problem)
        removals = [nodes, *(nodes[~subtree] for subtree in subtrees)]
        answer = self.ablation.score(problem, removals, scorer)
        values = answer.token_log_likelihoods[1:] - answer.token_log_likelihoods[0]
        effects, *_ = np.linalg.lstsq(subtrees.astype(np.float64), values, rcond=None)
        token_scores = np.full((problem.tree.num_sources, values.shape[1]), np.nan)
        token_scores[problem.candidates] = effects
        return Attribution(token_scores.sum(axis=1)[None], answer.cost, token_scores=token_scores)

    def _subtrees(self, problem: Problem) -> BoolArray:
        """`[num_subtrees, num_candidates]` candidates below each node that has any."""
        subtrees = []
        for level in LEVELS:
            units = problem.tree.unit_of_source(level)[problem.candidates]
            subtrees.append(units == np.unique(units)[:, None])
        return np.unique(np.concatenate(subtrees), axis=0)
