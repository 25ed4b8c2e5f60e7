"""What a model attends to as it begins to answer, as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import LookaheadAttention
from attribot.types import Attribution


@dataclass(frozen=True)
class SpeculativePrefill:
    """Attention of a small model from the end of the prompt, and from its own next tokens.

        score(s) = mean over tokens t of s, rows r of
                   max over layers l, heads h of
                   mean over the `kernel_size` tokens u around t of attention_{l,h}(r, u)

    The rows r are those of the last prompt token and of `num_lookahead` tokens that the model
    generates greedily; attention is taken relative to all that a row pays to the prompt. The
    response is not used: it is a screen for `TwoStage`, which knows only prompt and proxy.

    role: the model whose attention is read.
    num_lookahead: tokens generated; the authors count the last prompt token among theirs (8).
    kernel_size: of the average pool over positions, odd; 1 does not pool.

    Measures: attention, of a small model that has not seen the response.
    Use: as a screen by the proxy, also before the target has responded.

    Cost: 1 pass over the prompt and `num_lookahead` passes of one token, by the model of `role`.
    Source: Liu, Chen and Zhang, arXiv 2502.02789, section 3, and their code, where the mean over
    tokens is taken by chunks of the prompt; by source is ours.
    """

    role: str = "proxy"
    num_lookahead: int = 8
    kernel_size: int = 13

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [share of a row]; other sources get NaN."""
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        reading = LookaheadAttention(self.num_lookahead, self.kernel_size)
        tokens = scorer.read(problem.prompt(), problem.response, reading)
        both = np.stack([tokens.values, np.ones_like(tokens.values)])
        sums, counts = sum_over_source_tokens(problem, both, tokens.char_spans)
        # A source whose chars all belong to tokens of its neighbours has none of its own.
        scores = sums / np.maximum(counts, 1)
        return Attribution(scores[None], tokens.cost)
