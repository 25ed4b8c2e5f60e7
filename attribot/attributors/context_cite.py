"""ContextCite: a sparse linear model of the response's likelihood over random ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.errors import InvalidInputError
from attribot.extras import import_extra
from attribot.scoring.base import Scorer, Scores
from attribot.types import Attribution, BoolArray, FloatArray

RegressionTarget = Literal["logit", "log_likelihood"]

# Likelihoods come from float32 logits, which cannot tell a probability from 1 any closer than this.
LARGEST_LOG_LIKELIHOOD = -(2.0**-24)


@dataclass(frozen=True)
class ContextCite:
    """Effects of the candidates in a Lasso fit to random ablations.

        y(mask)  = f(p(R | mask)) / m                  m = number of response tokens
        weights  = argmin_w  1/(2N) sum_masks (y - b - z.w)^2 + lasso_alpha ||w||_1
        score(s) = m * w_s / std(mask_s)               z = standardised masks

    Each mask keeps every candidate with `keep_probability`, independently; kept sources that are
    not candidates stay. A score is the change of f(p(R)) that keeping the source brings.

    role: the model whose likelihoods are fitted.
    num_ablations: N, masks drawn; the budget in forward passes.
    keep_probability: in (0, 1).
    lasso_alpha: weight of the penalty, on targets per response token.
    regression_target: f is "logit", log p - log(1 - p) of the whole response, or "log_likelihood",
        log p [nats].
    seed: of the masks.
    ablation: how the other sources are removed.

    Equal masks are scored once and fitted as often as drawn.

    Measures: average effect, over contexts with half of the sources.
    Use: on long contexts where few sources matter: the budget need not grow with their number.

    Cost: at most num_ablations forward passes; the full context is not scored. Source: Cohen-Wang
    et al. (arXiv 2409.00729), section 3, with the arithmetic of their package; the target
    "log_likelihood" is the variant in the AttriBoT authors' code.

    Raises:
        InvalidInputError: a setting lies outside its range.
    """

    role: str = "target"
    num_ablations: int = 32
    keep_probability: float = 0.5
    lasso_alpha: float = 0.01
    regression_target: RegressionTarget = "logit"
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.num_ablations < 1:
            raise InvalidInputError(f"num_ablations must be at least 1; got {self.num_ablations}")
        if not 0 < self.keep_probability < 1:
            raise InvalidInputError(
                f"keep_probability must lie between 0 and 1; got {self.keep_probability}"
            )
        if self.lasso_alpha <= 0:
            raise InvalidInputError(f"lasso_alpha must be positive; got {self.lasso_alpha}")
        if self.regression_target not in get_args(RegressionTarget):
            raise InvalidInputError(
                f"regression_target must be one of {list(get_args(RegressionTarget))}; "
                f"got {self.regression_target!r}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [unit of f]; other sources get NaN."""
        candidates = np.flatnonzero(problem.candidates)
        generator = np.random.default_rng(self.seed)
        masks = generator.random((self.num_ablations, len(candidates))) < self.keep_probability
        nodes = problem.tree.sources[candidates]
        scorer: Scorer = scorer_for(self.role, scorers)
        distinct, drawn = np.unique(masks, axis=0, return_inverse=True)
        answer = self.ablation.score(problem, [nodes[~mask] for mask in distinct], scorer)
        targets = self._targets(answer)[drawn]
        scores = np.full(problem.tree.num_sources, np.nan)
        scores[candidates] = self._fit(masks, targets, answer.token_log_likelihoods.shape[1])
        return Attribution(scores[None], answer.cost)

    def _targets(self, answer: Scores) -> FloatArray:
        """`[num_prompts]` f(p(R))."""
        if self.regression_target == "log_likelihood":
            return answer.log_likelihoods
        log_p = np.minimum(answer.log_likelihoods, LARGEST_LOG_LIKELIHOOD)
        return log_p - log1mexp(log_p)

    def _fit(self, masks: BoolArray, targets: FloatArray, num_response_tokens: int) -> FloatArray:
        """`[num_candidates]` effects on the targets."""
        linear_model = import_extra("sklearn.linear_model", "baselines")
        mean, std = masks.mean(axis=0), masks.std(axis=0)
        # A source that all masks treat alike is a column of zeros, whose weight Lasso leaves at 0.
        std[std == 0] = 1.0
        lasso = linear_model.Lasso(alpha=self.lasso_alpha)
        lasso.fit((masks - mean) / std, targets / num_response_tokens)
        return np.asarray(lasso.coef_ / std * num_response_tokens)


def log1mexp(log_p: FloatArray) -> FloatArray:
    """log(1 - exp(log_p)) for log_p < 0 without cancellation.

    Source: Maechler (2012), "Accurately computing log(1 - exp(-|a|))", equation 7.
    """
    return np.where(log_p > -np.log(2), np.log(-np.expm1(log_p)), np.log1p(-np.exp(log_p)))
