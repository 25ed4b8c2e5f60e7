"""AT2: attention heads, each with a weight learned from ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.source_features import head_attention
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.scoring.base import TokenScorer
from attribot.types import Attribution


@dataclass(frozen=True)
class AT2:
    """Weighted attention that the response pays to each source.

        score(s) = sum over layers l, heads h of w_{l,h} mass(s, l, h)
        mass(s, l, h) = sum over tokens t of s, response tokens r of
                        attention_{l,h}(row that predicts r, t)

    The weights are learned once, by `learned.at2`, so that sums of scores correlate with the
    log-likelihoods of random ablations; their size is free, so scores have no unit. Equal weights
    1 / num_heads are the baseline `Attention`.

    Measures: attention, heads weighted by how well they predict random ablations.
    Use: for many questions to one model: trained once, then one pass each.

    Cost: 1 forward pass. Source: Cohen-Wang et al. (arXiv 2504.13752).

    weights: `[num_layers][num_heads]`.
    trained_for: the model that they fit; None takes any with as many layers and heads.
    role: the model whose attention is read.

    Raises:
        InvalidInputError: the weights are no table of finite numbers.
    """

    weights: tuple[tuple[float, ...], ...]
    trained_for: TrainedFor | None = None
    role: str = "target"

    def __post_init__(self) -> None:
        num_heads = {len(layer) for layer in self.weights}
        if len(num_heads) != 1 or 0 in num_heads or not np.isfinite(self.weights).all():
            raise InvalidInputError(
                f"expected finite weights, as many for every layer; got {len(self.weights)} layers "
                f"with {sorted(num_heads)} weights"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [weighted attention mass]; other sources get NaN.

        Raises:
            InvalidInputError: the model of the role is not the one that the weights fit.
        """
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        if self.trained_for is not None:
            self.trained_for.check(scorer, self.role)
        masses, cost = head_attention(problem, scorer)
        weights = np.array(self.weights)
        if masses.shape[1:] != weights.shape:
            raise InvalidInputError(
                f"the weights are for {weights.shape[0]} layers of {weights.shape[1]} heads, but "
                f"the model of the role {self.role!r} has {masses.shape[1]} layers of "
                f"{masses.shape[2]}: train weights for it with `python -m experiments.train`"
            )
        scores = np.full(len(problem.candidates), np.nan)
        scores[problem.candidates] = np.tensordot(masses, weights, axes=2)
        return Attribution(scores[None], cost)
