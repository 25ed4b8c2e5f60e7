"""Gradient times input as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import GradientTimesInput as GradientTimesInputReading
from attribot.types import Attribution


@dataclass(frozen=True)
class GradientTimesInput:
    """First-order estimate of what the embeddings of each source bring to the response.

        score(s) = sum over tokens t of s of < d log p(R) / d embedding(t), embedding(t) > [nats]

    It is the change of log p(R) that setting the embeddings of s to zero would undo if log p(R)
    were linear in them; unlike the norm of the gradient it is signed.

    role: the model whose gradient is taken.

    Measures: gradient, along the source's own embeddings.
    Use: for signed scores at two passes, trusted no further than a first order goes.

    Cost: 1 forward and 1 backward pass.
    Source: Shrikumar et al. (arXiv 1605.01713).
    """

    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        tokens = scorer.read(problem.prompt(), problem.response, GradientTimesInputReading())
        scores = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
        return Attribution(scores[None], tokens.cost)
