"""What one pass over the full prompt tells of each source: the inputs of learned estimators."""

from __future__ import annotations

import re

import numpy as np

from attribot.attributors.base import Problem
from attribot.attributors.token_sums import sum_over_source_tokens
from attribot.scoring.base import TokenScorer
from attribot.scoring.readings import HeadAttention
from attribot.types import Cost, FloatArray

WITHOUT_ATTENTION = (
    "token_share",
    "position",
    "response_overlap",
    "query_overlap",
    "log_num_sources",
    "log_num_response_tokens",
)


def head_attention(problem: Problem, scorer: TokenScorer) -> tuple[FloatArray, Cost]:
    """`[num_candidates, num_layers, num_heads]` attention that the response pays to each source.

        mass(s, l, h) = sum over tokens t of s, response tokens r of
                        attention_{l,h}(row that predicts r, t)

    Cost: 1 forward pass.
    """
    tokens = scorer.read(problem.prompt(), problem.response, HeadAttention())
    masses = sum_over_source_tokens(problem, tokens.values, tokens.char_spans)
    return np.moveaxis(masses, -1, 0)[problem.candidates], tokens.cost


def head_names(num_layers: int, num_heads: int) -> tuple[str, ...]:
    """Names of the attention masses, layer by layer."""
    return tuple(
        f"attention.layer{layer}.head{head}"
        for layer in range(num_layers)
        for head in range(num_heads)
    )


def source_features(problem: Problem, scorer: TokenScorer) -> tuple[FloatArray, Cost]:
    """`[num_candidates, num_layers + 6]`; `feature_names` has their order.

        attention.layer    mean over heads of `head_attention`, relative to the mean candidate
        token_share        tokens of the source over those of all candidates
        position           0 for the first candidate, 1 for the last
        response_overlap   share of the response's words that the source holds
        query_overlap      the same of the query
        log_num_sources, log_num_response_tokens    the same for all sources of an example

    The last two bear on the size of scores only. Cost: 1 forward pass. Source: ours.
    """
    tokens = scorer.read(problem.prompt(), problem.response, HeadAttention())
    is_candidate = problem.candidates
    sums = [
        sum_over_source_tokens(problem, values, tokens.char_spans)[..., is_candidate]
        for values in (tokens.values.mean(axis=1), np.ones(len(tokens.char_spans)))
    ]
    layers, num_tokens = sums
    texts = [problem.tree.source_text(int(i)) for i in np.flatnonzero(is_candidate)]
    count = len(texts)
    per_source = [
        *(_relative(mass) for mass in layers),
        _relative(num_tokens) / count,
        np.linspace(0.0, 1.0, count),
        _overlap(problem.response.text, texts),
        _overlap(problem.query, texts),
        np.full(count, np.log(count)),
        np.full(count, np.log(len(problem.response.token_ids))),
    ]
    return np.stack(per_source, axis=1), tokens.cost


def feature_names(num_layers: int) -> tuple[str, ...]:
    """Names of `source_features`."""
    return (*(f"attention.layer{layer}" for layer in range(num_layers)), *WITHOUT_ATTENTION)


def _relative(values: FloatArray) -> FloatArray:
    """Values over their mean; all alike where nothing is there, as behind a sliding window."""
    mean = values.mean()
    return values / mean if mean > 0 else np.ones_like(values)


def _overlap(text: str, sources: list[str]) -> FloatArray:
    """`[num_sources]` share of the different words of `text` that each source holds."""
    wanted = _words(text)
    if not wanted:
        return np.zeros(len(sources))
    return np.array([len(wanted & _words(source)) / len(wanted) for source in sources])


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w\w+", text.lower()))
