"""CAMAB: a bandit seeks the mask that supports the response best, and learns effects on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation
from attribot.attributors.base import Problem, scorer_for
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution, BoolArray, FloatArray


@dataclass(frozen=True)
class CAMAB:
    """Effects of the candidates in a Bayesian linear model, fitted by linear Thompson sampling.

        r(z)     = (log p(R | z) - log p(R | none)) / D       D = |log p(R | all) - log p(R | none)|
        model    : r(z) = w.z + noise,  w ~ N(0, prior_std^2),  noise ~ N(0, noise_std^2)
        draw     : w' from the posterior of w; the mask z = [w' > 0], the best one if w' were true
        score(s) = D * posterior mean of w_s [nats]

    The masks "none" and "all" of the candidates are scored first (D is 1 nat where both are alike);
    sources that are no candidates stay. Each round draws `round_size` times and scores what masks
    are new. It ends with the budget, or with a round without a new mask. Masks are fitted once,
    however often they are drawn: their values hold no noise that a repetition would average out.

    The bandit soon keeps what helps in every mask and drops what harms: it tells the best sources
    from the rest, not from one another, and scores of redundant sources vary with the seed.

    Measures: average effect, over the contexts that the bandit visits.
    Use: to find the best sources on a small budget; the order of the others means little.

    Cost: at most `budget` forward passes. Source: Pan et al. (arXiv 2506.19977), whose reward is
    that gain in log-likelihood; the linear bandit is that of Agrawal and Goyal (arXiv 1209.3352);
    the normalisation without clipping, both priors and the end of the search are ours.

    role: whose likelihood.
    budget: forward passes at most.
    round_size: draws between two fits; 1 learns from every mask, more share passes.
    prior_std, noise_std: what effects, and what deviations from linearity are expected; in D.
    seed: of the draws.
    ablation: how the other candidates are removed; anything but deletion approximates.

    Raises:
        InvalidInputError: a setting lies outside its range.
    """

    role: str = "target"
    budget: int = 32
    round_size: int = 4
    prior_std: float = 1.0
    noise_std: float = 0.3
    seed: int = 0
    ablation: Ablation = DELETION

    def __post_init__(self) -> None:
        if self.budget < 3:
            raise InvalidInputError(
                f"budget must be at least 3 passes: all candidates, none, and one mask; "
                f"got {self.budget}"
            )
        if self.round_size < 1:
            raise InvalidInputError(f"round_size must be at least 1; got {self.round_size}")
        if self.prior_std <= 0 or self.noise_std <= 0:
            raise InvalidInputError(
                f"prior_std and noise_std must be positive; got {self.prior_std} and "
                f"{self.noise_std}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates [nats]; other sources get NaN."""
        scorer: Scorer = scorer_for(self.role, scorers)
        nodes = problem.tree.sources[problem.candidates]
        generator = np.random.default_rng(self.seed)
        masks = np.array([[False], [True]]).repeat(len(nodes), axis=1)
        answer = self.ablation.score(problem, [nodes, nodes[:0]], scorer)
        values, cost = answer.log_likelihoods, answer.cost
        scale = abs(values[1] - values[0]) or 1.0
        while len(new := self._draw(masks, (values - values[0]) / scale, generator)):
            answer = self.ablation.score(problem, [nodes[~mask] for mask in new], scorer)
            masks = np.concatenate([masks, new])
            values = np.concatenate([values, answer.log_likelihoods])
            cost += answer.cost
        scores = np.full(problem.tree.num_sources, np.nan)
        scores[problem.candidates] = scale * self._posterior(masks, (values - values[0]) / scale)[0]
        return Attribution(scores[None], cost, base_log_likelihood=float(values[1]))

    def _posterior(self, masks: BoolArray, rewards: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean `[num_candidates]` and precision `[num_candidates, num_candidates]` of w."""
        design = masks.astype(np.float64)
        precision = design.T @ design / self.noise_std**2
        precision += np.eye(masks.shape[1]) / self.prior_std**2
        mean = np.linalg.solve(precision, design.T @ rewards / self.noise_std**2)
        return np.asarray(mean, dtype=np.float64), precision

    def _draw(
        self, masks: BoolArray, rewards: FloatArray, generator: np.random.Generator
    ) -> BoolArray:
        """`[num_new, num_candidates]` masks of one round, new ones only, inside the budget."""
        mean, precision = self._posterior(masks, rewards)
        drawn = gaussian_draws(mean, precision, self.round_size, generator) > 0
        known = {mask.tobytes() for mask in masks}
        new = {mask.tobytes(): mask for mask in drawn if mask.tobytes() not in known}
        return np.array([*new.values()][: self.budget - len(masks)], dtype=bool)


def gaussian_draws(
    mean: FloatArray, precision: FloatArray, num_draws: int, generator: np.random.Generator
) -> FloatArray:
    """`[num_draws, dim]` draws from N(mean, precision^-1).

    With precision = L L^T, L^-T maps independent standard normals to that covariance.
    """
    noise = generator.standard_normal((len(mean), num_draws))
    return np.asarray(mean + np.linalg.solve(np.linalg.cholesky(precision).T, noise).T)
