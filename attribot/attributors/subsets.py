"""Subsets of the candidates: their values, each scored once, and the least squares fits to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import betaln

from attribot.attributors.ablation import Ablation
from attribot.attributors.base import Problem
from attribot.errors import InvalidInputError
from attribot.scoring.base import Scorer
from attribot.types import Attribution, BoolArray, Cost, FloatArray, IntArray

DRAWS_PER_SUBSET = 16


@dataclass
class SubsetValues:
    """v(S) = log p(R | Q, the kept context with S as its only candidates) [nats].

    Kept sources that are no candidates are in every context. A subset is scored when it is first
    asked for; its value is kept.

    cost: of all that was scored so far.
    """

    problem: Problem
    scorer: Scorer
    ablation: Ablation
    cost: Cost = field(default_factory=Cost, init=False)
    _known: dict[bytes, float] = field(default_factory=dict, init=False, repr=False)

    @property
    def num_candidates(self) -> int:
        return int(self.problem.candidates.sum())

    def of(self, masks: BoolArray) -> FloatArray:
        """`[num_masks]` values of masks `[num_masks, num_candidates]`, True = in the subset."""
        keys = [mask.tobytes() for mask in masks]
        new = {k: ~mask for k, mask in zip(keys, masks, strict=True) if k not in self._known}
        if new:
            nodes = self.problem.tree.sources[self.problem.candidates]
            removals = [nodes[is_removed] for is_removed in new.values()]
            answer = self.ablation.score(self.problem, removals, self.scorer)
            self._known.update(zip(new, answer.log_likelihoods.tolist(), strict=True))
            self.cost += answer.cost
        return np.array([self._known[key] for key in keys])

    def attribution(self, scores: FloatArray, base_log_likelihood: float | None) -> Attribution:
        """The attribution with `scores` `[num_candidates]`; other sources get NaN."""
        spread = np.full(self.problem.tree.num_sources, np.nan)
        spread[self.problem.candidates] = scores
        return Attribution(spread[None], self.cost, base_log_likelihood=base_log_likelihood)


def check_budget(budget: int, num_candidates: int = 1, minimum: int = 2) -> None:
    """Refuses a budget that cannot determine the scores of that many candidates.

    Raises:
        InvalidInputError: it is below the minimum, in forward passes.
    """
    if budget < minimum:
        raise InvalidInputError(
            f"{num_candidates} candidate source(s) take a budget of at least {minimum} forward "
            f"passes; got budget={budget}: raise it, or prune the context first"
        )


def all_masks(num_candidates: int) -> BoolArray:
    """`[2^num_candidates, num_candidates]` every subset, the empty one first, the full one last."""
    bits = np.arange(2**num_candidates)[:, None] >> np.arange(num_candidates)
    return np.asarray(bits % 2, dtype=bool)


def shapley_log_weights(num_candidates: int) -> FloatArray:
    """`[num_candidates + 1]` log weights whose fit is the Shapley value; see `beta_log_weights`."""
    return beta_log_weights(num_candidates, 1.0, 1.0)


def beta_log_weights(num_candidates: int, alpha: float, beta: float) -> FloatArray:
    """`[num_candidates + 1]` log of a subset's weight, by its size s, for `fitted_semivalue`.

        weight(s) = B(s + beta - 1, n - s + alpha - 1),   B the Beta function

    With them `fitted_semivalue` is the Beta(alpha, beta) semivalue, in which a source's change to a
    subset of k others weighs p(k) = B(k + beta, n - 1 - k + alpha) / B(alpha, beta). Infinite for
    the full subset if alpha = 1, and for the empty one if beta = 1. For alpha = beta = 1 they are
    KernelSHAP's (n - 1) / (C(n, s) s (n - s)), times a constant.

    Why: differences between sources agree, as weight(s) is proportional to p(s - 1) + p(s). So do
    their sums, which the fit takes from the slope of the mean value over s: sizes follow the
    beta-binomial law of beta - 1 and alpha - 1, whose tail sums about its mean,
    sum over r > s of (r - mean) share(r), are proportional to C(n - 1, s) p(s). Source: ours.
    """
    size = np.arange(num_candidates + 1)
    return np.asarray(betaln(size + beta - 1, num_candidates - size + alpha - 1))


def fitted_semivalue(
    values: SubsetValues, log_weights: FloatArray, budget: int, seed: int, is_paired: bool
) -> FloatArray:
    """`[num_candidates]` psi of the linear model of v that fits best over all subsets [nats].

        psi, c = argmin sum_S weight(|S|) (v(S) - c - 1_S . psi)^2

    Subsets of infinite weight are fitted exactly; `chosen_subsets` says which others are scored.
    What they leave open is settled by the least norm, values taken about their mean.

    log_weights: `[num_candidates + 1]` by size of the subset.
    is_paired: a draw brings its complement along, which cancels the noise of interactions of even
        order; for weights that are the same for a size and its complement.

    Raises:
        InvalidInputError: the budget is smaller than what determines psi: n + 1, or 2n if paired.
    """
    n = values.num_candidates
    check_budget(budget, n, 2 * n if is_paired else n + 1)
    generator = np.random.default_rng(seed)
    masks, log_weight = chosen_subsets(log_weights, budget, generator, is_paired)
    return _fit(masks, values.of(masks), log_weight)


def chosen_subsets(
    log_weights: FloatArray, budget: int, generator: np.random.Generator, is_paired: bool
) -> tuple[BoolArray, FloatArray]:
    """Subsets that stand for all, and the log of the weight with which each does.

    Where 2^n subsets fit the budget, all of any weight. Otherwise those of infinite weight, and
    others as `drawn_subsets` finds them, each weighed by how often it was drawn.

    log_weights: `[num_candidates + 1]` by size of the subset; -inf leaves a size out.

    Returns:
        `[num_subsets, num_candidates]` masks, at most `budget`, and `[num_subsets]` log weights.
    """
    n = len(log_weights) - 1
    if 2**n <= budget:
        masks = all_masks(n)
        masks = masks[log_weights[masks.sum(axis=1)] > -np.inf]
        return masks, log_weights[masks.sum(axis=1)]
    ends = np.array([[False] * n, [True] * n])[np.isposinf(log_weights[[0, n]])]
    drawn, counts = drawn_subsets(log_weights, budget - len(ends), generator, is_paired)
    masks = np.concatenate([ends, drawn])
    return masks, np.concatenate([np.full(len(ends), np.inf), np.log(counts)])


def drawn_subsets(
    log_weights: FloatArray, num_distinct: int, generator: np.random.Generator, is_paired: bool
) -> tuple[BoolArray, IntArray]:
    """Subsets drawn in proportion to their weight, those of infinite weight left out.

    Draws go on while no more than `num_distinct` differ, since a subset drawn again costs nothing,
    but no further than `DRAWS_PER_SUBSET` for each: weights may lie on too few subsets.

    Returns:
        `[num_subsets, num_candidates]` masks, all different, and `[num_subsets]` how often each
        was drawn. With `is_paired` every mask is there with its complement.
    """
    n = len(log_weights) - 1
    size = np.arange(n + 1)
    log_share = log_weights - betaln(size + 1, n - size + 1)
    log_share[np.isinf(log_weights)] = -np.inf
    share = np.exp(log_share - log_share.max())
    num_units = num_distinct // 2 if is_paired else num_distinct
    num_draws = DRAWS_PER_SUBSET * num_units
    sizes = generator.choice(n + 1, size=num_draws, p=share / share.sum())
    masks = generator.permuted(np.arange(n) < sizes[:, None], axis=1)
    if is_paired:
        # Of a pair, the one without the first source stands for both.
        masks = masks ^ masks[:, :1]
    _, first = np.unique(masks, axis=0, return_index=True)
    is_new = np.isin(np.arange(num_draws), first)
    masks = masks[np.cumsum(is_new) <= num_units]
    masks, counts = np.unique(masks, axis=0, return_counts=True)
    if is_paired:
        return np.concatenate([masks, ~masks]), np.concatenate([counts, counts])
    return masks, counts


def _fit(masks: BoolArray, values: FloatArray, log_weight: FloatArray) -> FloatArray:
    """`[num_candidates]` weighted least squares; rows of infinite weight hold exactly."""
    design = np.column_stack([np.ones(len(masks)), masks])
    # The intercept takes the mean up: the least norm must not spread it over the sources.
    values = values - values.mean()
    exact = np.isinf(log_weight)
    anchor = np.linalg.lstsq(design[exact], values[exact], rcond=None)[0]
    free = np.linalg.qr(design[exact].T, mode="complete").Q[:, exact.sum() :]
    rest, log_weight = ~exact, log_weight[~exact]
    root = np.exp((log_weight - log_weight.max(initial=-np.inf)) / 2)
    residual = values[rest] - design[rest] @ anchor
    step = np.linalg.lstsq(root[:, None] * (design[rest] @ free), root * residual, rcond=None)[0]
    return np.asarray((anchor + free @ step)[1:])
