"""Embedding similarity as attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.scoring.base import Embedder
from attribot.types import Attribution, Cost


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the sentence embeddings of response and source.

        score(s) = <e(R), e(s)>,  e of unit length

    The response enters as text, so without its end-of-turn token.

    role: the embedder.

    Measures: likeness, of meanings.
    Use: as a baseline, and as a screen where response and sources share few words.

    Cost: num_candidates + 1 forward passes of the embedder, none of a language model; its tokens
    and FLOPs are not counted. Source: a baseline of the AttriBoT paper (arXiv 2411.15102).
    """

    role: str = "embedder"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates, in [-1, 1]; other sources get NaN."""
        embedder = scorer_for(self.role, scorers, Embedder)  # type: ignore[type-abstract]
        candidates = np.flatnonzero(problem.candidates)
        texts = [problem.response.text, *(problem.tree.source_text(int(i)) for i in candidates)]
        embeddings = embedder.embed(texts)
        scores = np.full(problem.tree.num_sources, np.nan)
        scores[candidates] = embeddings[1:] @ embeddings[0]
        return Attribution(scores[None], Cost(forward_passes=len(texts)))
