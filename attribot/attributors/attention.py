"""Attention mass as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import AttentionMass
from attribot.types import Attribution


@dataclass(frozen=True)
class Attention:
    """Attention that the response pays to each source.

        score(s) = sum over tokens t of s, layers l, response tokens r of
                   mean over heads h of attention_{l,h}(row that predicts r, t)

    role: the model whose attention is read.

    Measures: attention, from the rows that predict the response, heads all alike.
    Use: as a baseline, and as a screen of one pass.

    Cost: 1 forward pass.
    Source: a baseline of the AttriBoT paper (arXiv 2411.15102).
    """

    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [attention mass]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        tokens = scorer.read(problem.prompt(), problem.response, AttentionMass())
        scores = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
        return Attribution(scores[None], tokens.cost)
