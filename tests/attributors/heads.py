"""A scorer whose attention heads and log-likelihoods are planted, source by source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attribot.attributors.base import Problem
from attribot.scoring.base import Scores, TokenScores
from attribot.scoring.readings import HeadAttention, Reading
from attribot.types import BoolArray, Cost, FloatArray, Response
from tests.attributors.fakes import scores_of, source_texts

# Attention to words of no source: it must not count.
ELSEWHERE = 1e3


@dataclass(frozen=True)
class PlantedHeads:
    """A token per word; each source's attention mass is spread evenly over its words.

    texts: `[num_sources]`, all different.
    masses: `[num_sources, num_layers, num_heads]`.
    value: log p [nats] of the sources in the prompt, a mask `[num_sources]`.
    fingerprint: of the model it poses as.
    prompts: every prompt scored so far.
    """

    texts: Sequence[str]
    masses: FloatArray
    value: Callable[[BoolArray], float]
    fingerprint: Mapping[str, Any] = field(default_factory=lambda: {"weights": "planted"})
    prompts: list[str] = field(default_factory=list)

    @classmethod
    def linear(cls, problem: Problem, masses: FloatArray, effects: FloatArray) -> PlantedHeads:
        """log p = -40 + sum of the effects `[num_sources]` of what stays [nats]."""
        return cls(source_texts(problem), masses, lambda kept: -40.0 + float(kept @ effects))

    def read(self, prompt: str, response: Response, reading: Reading) -> TokenScores:  # noqa: ARG002
        assert reading == HeadAttention()
        words = list(re.finditer(r"\s*\S+", prompt))
        spans = np.array([word.span() for word in words])
        values = np.full((*self.masses.shape[1:], len(words)), ELSEWHERE)
        for text, mass in zip(self.texts, self.masses, strict=True):
            start = prompt.find(text)
            inside = (spans[:, 1] > start) & (spans[:, 1] <= start + len(text)) & (start >= 0)
            values[..., inside] = mass[..., None] / max(inside.sum(), 1)
        return TokenScores(values, spans, Cost(forward_passes=1))

    def score(self, prompts: Sequence[str], response: Response) -> Scores:
        self.prompts.extend(prompts)
        masks = [np.array([text in prompt for text in self.texts]) for prompt in prompts]
        return scores_of([self.value(mask) for mask in masks], response)


def planted_masses(
    num_sources: int, num_layers: int = 2, num_heads: int = 3, seed: int = 0
) -> FloatArray:
    """`[num_sources, num_layers, num_heads]` positive, independent."""
    shape = (num_sources, num_layers, num_heads)
    return np.random.default_rng(seed).gamma(1.0, 1.0, shape)
