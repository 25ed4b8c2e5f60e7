"""From numbers per prompt token to scores per source."""

from __future__ import annotations

import numpy as np

from attribot.attributors.base import Problem
from attribot.context.ablation import source_char_spans, sources_of_tokens
from attribot.types import FloatArray, IntArray


def sum_over_source_tokens(
    problem: Problem, token_values: FloatArray, char_spans: IntArray
) -> FloatArray:
    """Sum of `token_values` over the tokens of each candidate: `[num_sources]`, NaN elsewhere.

    token_values: `[num_prompt_tokens]`.
    char_spans: `[num_prompt_tokens, 2]` extent of each token in `problem.prompt()`, (-1, -1) for
        tokens outside it.
    """
    source_spans = source_char_spans(problem.tree, problem.kept)
    offset = problem.template.context_offset(problem.query)
    in_prompt = np.where(source_spans >= 0, source_spans + offset, -1)
    sources = sources_of_tokens(problem.prompt(), char_spans, in_prompt)
    sums = np.bincount(
        sources[sources >= 0],
        weights=token_values[sources >= 0],
        minlength=problem.tree.num_sources,
    )
    return np.where(problem.candidates, sums, np.nan)
