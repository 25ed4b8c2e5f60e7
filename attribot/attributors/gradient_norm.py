"""Gradient norms as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import GradientNorm as GradientNormReading
from attribot.types import Attribution


@dataclass(frozen=True)
class GradientNorm:
    """Norm of the gradient of the response's log-likelihood by the embeddings of each source.

        score(s) = || d log p(R) / d (input embeddings of all tokens of s) ||_2
                 = sqrt(sum over tokens t of s of || d log p(R) / d embedding(t) ||_2^2)

    role: the model whose gradient is taken.

    Measures: gradient, its size without a sign.
    Use: as a baseline, and as a screen of two passes.

    Cost: 1 forward and 1 backward pass.
    Source: a baseline of the AttriBoT paper (arXiv 2411.15102).
    """

    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats per embedding unit]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        tokens = scorer.read(problem.prompt(), problem.response, GradientNormReading())
        squares = sum_over_source_tokens(problem, tokens.values**2, tokens.char_spans)
        return Attribution(np.sqrt(squares)[None], tokens.cost)
