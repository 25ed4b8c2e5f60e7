"""LS-Tree: a linear model of the response's likelihood over the subtrees of the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.subsets import check_budget
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

    Where the budget does not reach all sets, documents come first, then paragraphs, then sentences,
    and those of the level at which it ends are drawn. What the sets asked leave open is settled by
    the least norm: sources that none of them tells apart have equal scores.

    Measures: sufficiency, of each unit of the context by itself.
    Use: where sources may repeat one another: all copies of a fact score high.

    Cost: one forward pass per distinct set, at most one per node, plus one without candidates, and
    at most `budget`; all but those of large units are short. At least one per document, and one,
    are needed. Source: Chen and Jordan (arXiv 1902.04187), with the context tree in place of a
    parse tree; the budget is ours.

    role: whose likelihood.
    budget: forward passes, at most; None asks every set.
    seed: of the draw.
    ablation: how the other candidates are removed; anything but deletion approximates.

    Raises:
        InvalidInputError: the budget is below 2.
    """

    role: str = "target"
    budget: int | None = None
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_budget(self.budget)

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates; see `Attributor`.

        Raises:
            InvalidInputError: the budget does not reach every document.
        """
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
        """`[num_subtrees, num_candidates]` candidates below each node that the budget reaches."""
        generator = np.random.default_rng(self.seed)
        levels = []
        for level in LEVELS:
            units = problem.tree.unit_of_source(level)[problem.candidates]
            levels.append(generator.permutation(units == np.unique(units)[:, None]))
        subtrees = np.concatenate(levels)
        # Equal sets once, each where it comes first.
        _, first = np.unique(subtrees, axis=0, return_index=True)
        subtrees = subtrees[np.sort(first)]
        if self.budget is None:
            return subtrees
        check_budget(self.budget, subtrees.shape[1], 1 + len(levels[0]))
        return subtrees[: self.budget - 1]
