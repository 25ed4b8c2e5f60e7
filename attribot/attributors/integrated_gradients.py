"""Integrated gradients as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import Baseline
from attribot.scoring.readings import IntegratedGradients as IntegratedGradientsReading
from attribot.types import Attribution


@dataclass(frozen=True)
class IntegratedGradients:
    """Gradients by the embeddings of each source, along the way from a blank context to the full.

        score(s) = sum over tokens t of s of
                   < e(t) - b, integral_0^1 d log p(R) / d e(t) at b + a (e - b) da >  [nats]

    The tokens of the whole kept context move together from the baseline b to their embeddings e;
    instruction, query, chat template and response stay, so that the way begins at a prompt with
    its context blanked out. All moved tokens together have log p(R) with the context minus log p(R)
    with the blank one; headers and separators have their share of it.

    The integral is a sum over the middles of `num_steps` equal parts of the way. It needs many
    steps for the sum to hold, fewer for the order of the scores. Models that normalise what they
    read see the direction of a vector on its way from zero long before its length: part of the
    change lies in the first moments, where few steps are. A row of end tokens has no such start,
    but means something to a model by itself.

    role: the model whose gradients are taken.
    num_steps: points of the way.
    baseline: b is "zero", or the embedding of the model's "end_token".

    Measures: gradient, summed on the way from a blank context.
    Use: for signed scores that account for the whole context, where no text may be removed.

    Cost: num_steps forward and as many backward passes.
    Source: Sundararajan et al. (arXiv 1703.01365); that only the context moves is ours.

    Raises:
        InvalidInputError: a setting lies outside its range.
    """

    role: str = "target"
    num_steps: int = 16
    baseline: Baseline = "zero"

    def __post_init__(self) -> None:
        # The reading refuses settings outside their range: better now than at the first problem.
        self._reading((0, 1))

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        start = problem.template.context_offset(problem.query)
        end = start + len(problem.tree.render(problem.kept))
        tokens = scorer.read(problem.prompt(), problem.response, self._reading((start, end)))
        scores = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
        return Attribution(scores[None], tokens.cost)

    def _reading(self, moved: tuple[int, int]) -> IntegratedGradientsReading:
        return IntegratedGradientsReading(moved, self.num_steps, self.baseline)
