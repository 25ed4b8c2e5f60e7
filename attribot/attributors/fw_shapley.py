"""FW-Shapley: a small network that has learned to give semivalues at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem, scorer_for
from attribot.attributors.source_features import feature_names, source_features
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.scoring.base import TokenScorer
from attribot.types import Attribution, FloatArray

Vector = tuple[float, ...]


@dataclass(frozen=True)
class SourceNetwork:
    """From the features of a source to its score: a linear map and one hidden layer beside it.

        phi(x) = bias + linear . z + output . tanh(hidden z + hidden_bias)
        z = (x - centre) / scale

    Without hidden units it is linear. With F features and H hidden units it has
    1 + F + H (F + 2) parameters.

    centre, scale, linear: `[F]`. hidden: `[H][F]`. hidden_bias, output: `[H]`.

    Raises:
        InvalidInputError: the shapes do not fit, or a number is not finite.
    """

    centre: Vector
    scale: Vector
    bias: float
    linear: Vector
    hidden: tuple[Vector, ...] = ()
    hidden_bias: Vector = ()
    output: Vector = ()

    def __post_init__(self) -> None:
        by_feature = [self.centre, self.scale, self.linear, *self.hidden]
        by_unit = [self.hidden, self.hidden_bias, self.output]
        if len(set(map(len, by_feature))) != 1 or len(set(map(len, by_unit))) != 1:
            raise InvalidInputError(
                f"expected as many numbers per feature and per hidden unit throughout; got "
                f"{list(map(len, by_feature))} per feature, {list(map(len, by_unit))} per unit"
            )
        numbers = np.concatenate([[self.bias], *by_feature, *by_unit[1:]])
        if not np.isfinite(numbers).all() or min(self.scale, default=1.0) <= 0:
            raise InvalidInputError("expected finite parameters and positive scales")

    @property
    def num_features(self) -> int:
        return len(self.linear)

    def of(self, features: FloatArray) -> FloatArray:
        """`[num_sources]` phi of features `[num_sources, num_features]`."""
        inputs = (features - np.array(self.centre)) / np.array(self.scale)
        hidden = np.array(self.hidden).reshape(-1, self.num_features)
        units = np.tanh(inputs @ hidden.T + np.array(self.hidden_bias))
        return np.asarray(
            self.bias + inputs @ np.array(self.linear) + units @ np.array(self.output)
        )


@dataclass(frozen=True)
class FWShapley:
    """Semivalues, estimated from what one pass over the full prompt shows.

        score(s) = phi(features of s) [nats]

    phi is learned once, by `learned.fw_shapley`, from random ablations of other examples: without
    exact values, by the weighted least squares whose solution they are. Which semivalue it is
    (Shapley, Beta-weighted, leave-one-out) was settled there. Scores do not sum exactly to what the
    whole context brings, as exact Shapley values do: that would take two passes more.

    Measures: average effect, as predicted from one pass.
    Use: for semivalues of many questions to one model: trained once, then one pass each.

    Cost: 1 forward pass. Source: Panda et al. (arXiv 2503.06602); the weights of the fit and the
    features are ours.

    network: phi.
    trained_for: the model that it fits; None takes any with as many layers.
    role: the model whose attention is read.
    """

    network: SourceNetwork
    trained_for: TrainedFor | None = None
    role: str = "target"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN.

        Raises:
            InvalidInputError: the model of the role is not the one that the network fits.
        """
        scorer = scorer_for(self.role, scorers, TokenScorer)  # type: ignore[type-abstract]
        if self.trained_for is not None:
            self.trained_for.check(scorer, self.role)
        features, cost = source_features(problem, scorer)
        if features.shape[1] != self.network.num_features:
            num_others = len(feature_names(0))
            raise InvalidInputError(
                f"the network is for {self.network.num_features - num_others} layers, but the "
                f"model of the role {self.role!r} has {features.shape[1] - num_others}: train one "
                f"for it with `python -m experiments.train`"
            )
        scores = np.full(len(problem.candidates), np.nan)
        scores[problem.candidates] = self.network.of(features)
        return Attribution(scores[None], cost)
