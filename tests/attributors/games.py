"""Likelihoods that depend on the set of sources in any planted way, and their exact semivalues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb, gamma

import numpy as np

from attribot.attributors.base import Problem
from attribot.scoring.base import Scores
from attribot.types import FloatArray, Response
from tests.attributors.fakes import build_problem, scores_of, source_texts


@dataclass(frozen=True)
class GameScorer:
    """log p = the entry of `table` for the set of sources in the prompt.

    texts: `[num_sources]`, all different.
    table: `[2^num_sources]`; bit i of the index is source i.
    prompts: every prompt scored so far.
    calls: number of prompts of each call.
    """

    texts: Sequence[str]
    table: FloatArray
    prompts: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        self.prompts.extend(prompts)
        self.calls.append(len(prompts))
        sets = [sum(1 << i for i, text in enumerate(self.texts) if text in p) for p in prompts]
        return scores_of([float(self.table[index]) for index in sets], response)


def random_game(num_sources: int, seed: int = 0) -> tuple[Problem, GameScorer]:
    """Every subset has an independent value."""
    problem = build_problem(sizes=[num_sources])
    table = np.random.default_rng(seed).normal(-40.0, 3.0, 2**num_sources)
    return problem, GameScorer(source_texts(problem), table)


def semivalue_of(table: FloatArray, share: Callable[[int, int], float]) -> FloatArray:
    """`[n]` sum over S without i of share(|S|, n) (v(S + i) - v(S)), as it is defined."""
    n = len(table).bit_length() - 1
    scores = np.zeros(n)
    for i in range(n):
        for subset in range(2**n):
            if not subset >> i & 1:
                change = table[subset | 1 << i] - table[subset]
                scores[i] += share(subset.bit_count(), n) * change
    return scores


def shapley_share(k: int, n: int) -> float:
    return 1 / (n * comb(n - 1, k))


def banzhaf_share(k: int, n: int) -> float:  # noqa: ARG001
    return 2.0 ** (1 - n)


def beta_share(alpha: float, beta: float) -> Callable[[int, int], float]:
    def beta_function(a: float, b: float) -> float:
        return gamma(a) * gamma(b) / gamma(a + b)

    return lambda k, n: beta_function(k + beta, n - 1 - k + alpha) / beta_function(alpha, beta)
