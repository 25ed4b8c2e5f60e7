"""From numbers per prompt token to scores per source."""

from __future__ import annotations

import numpy as np

from attribot.attributors.base import Problem
from attribot.context.ablation import source_char_spans, sources_of_tokens
from attribot.types import FloatArray, IntArray


def sum_over_source_tokens(
    problem: Problem, token_values: FloatArray, char_spans: IntArray
) -> FloatArray:
    """Sum of `token_values` over the tokens of each candidate: `[..., num_sources]`, NaN elsewhere.

    token_values: `[..., num_prompt_tokens]`.
    char_spans: `[num_prompt_tokens, 2]` extent of each token in `problem.prompt()`, (-1, -1) for
        tokens outside it.
    """
    source_spans = source_char_spans(problem.tree, problem.kept)
    offset = problem.template.context_offset(problem.query)
    in_prompt = np.where(source_spans >= 0, source_spans + offset, -1)
    sources = sources_of_tokens(problem.prompt(), char_spans, in_prompt)
    has_source = sources >= 0
    sums = np.zeros((problem.tree.num_sources, *token_values.shape[:-1]))
    np.add.at(sums, sources[has_source], np.moveaxis(token_values, -1, 0)[has_source])
    return np.where(problem.candidates, np.moveaxis(sums, 0, -1), np.nan)
