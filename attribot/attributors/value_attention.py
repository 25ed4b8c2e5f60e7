"""Attention weighted by the values that it moves, as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import ValueWeightedAttention
from attribot.types import Attribution


@dataclass(frozen=True)
class ValueAttention:
    """Attention that the response pays to each source, times the size of the value vectors.

        score(s) = sum over tokens t of s, layers l, response tokens r of
                   mean over heads h of attention_{l,h}(row that predicts r, t) ||v_{l,g(h)}(t)||_1

    v_{l,g(h)}(t) is the value vector of token t in the key-value head that head h reads. Tokens
    that are attended to without effect, such as the first of a prompt, have small values.

    role: the model whose attention is read.

    Measures: attention, times the size of what it moves.
    Use: as a screen of one pass, where some tokens draw attention without effect.

    Cost: 1 forward pass.
    Source: the token importance of VATP (Guo et al., arXiv 2406.12335, section 3), there by layer
    and over all rows so far; the sum over layers and over the rows of the response is ours.
    """

    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [attention x value]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        tokens = scorer.read(problem.prompt(), problem.response, ValueWeightedAttention())
        scores = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
        return Attribution(scores[None], tokens.cost)
