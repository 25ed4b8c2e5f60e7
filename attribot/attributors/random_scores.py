"""Random scores: the floor that every method must beat."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem
from attribot.types import Attribution, Cost


@dataclass(frozen=True)
class RandomScores:
    """Independent scores.

        score(s) ~ uniform on [0, 1)

    The generator is seeded by `seed` and the prompt: the same problem gets the same scores in every
    run, different problems get independent ones.

    Measures: nothing.
    Use: as the floor of every comparison.

    Cost: no forward pass. Source: ours.
    """

    seed: int = 0

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        """Scores of the problem's candidates; other sources get NaN."""
        generator = np.random.default_rng([self.seed, zlib.crc32(problem.prompt().encode())])
        scores = generator.random(problem.tree.num_sources)
        return Attribution(np.where(problem.candidates, scores, np.nan)[None], Cost())
