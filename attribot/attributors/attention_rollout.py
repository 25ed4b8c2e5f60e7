"""Attention rollout as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import AttentionRollout as AttentionRolloutReading
from attribot.types import Attribution


@dataclass(frozen=True)
class AttentionRollout:
    """Attention that the response pays to each source through all layers, residuals included.

        score(s) = sum over tokens t of s, response tokens r of
                   (M_L M_{L-1} ... M_1)(row that predicts r, t)
        M_l = (mean over heads h of attention_{l,h} + I) / 2

    The scores of all tokens, those outside of sources included, sum to the number of response
    tokens; attention alone cannot tell which of the mixed tokens a value came from.

    role: the model whose attention is read.

    Measures: attention, followed from layer to layer down to the tokens.
    Use: as a baseline beside plain attention, which takes mixed tokens for what they were.

    Cost: 1 forward pass, and half of its attention again; memory of the queries and keys of all
    layers, see `models.rollout`.
    Source: Abnar and Zuidema, arXiv 2005.00928, section 3; the sum over response tokens is ours.
    """

    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [share of a row, summed]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        tokens = scorer.read(problem.prompt(), problem.response, AttentionRolloutReading())
        scores = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
        return Attribution(scores[None], tokens.cost)
