"""How much cheaper than naive exact leave-one-out a method was, and how much it should be.

Measured: `speedup` in seconds, `relative_cost` in counted FLOPs. Predicted: a closed form in
computed tokens, weighted by parameters; attention's quadratic term and the logits are left out,
`scoring.cost` counts those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from attribot.errors import InvalidInputError
from attribot.evaluation.statistics import NUM_RESAMPLES, Interval, ratio_interval
from attribot.types import FloatArray


def speedup(
    reference_seconds: ArrayLike,
    method_seconds: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Seconds of naive exact leave-one-out over the method's, both `[num_examples]`.

    Ratio of sums, so that long examples count as long; paired bootstrap 95% interval. Same model,
    hardware and dtype on both sides are the caller's duty. Source: ours.

    Raises:
        InvalidInputError: see `statistics.ratio_interval`.
    """
    return ratio_interval(reference_seconds, method_seconds, seed=seed, num_resamples=num_resamples)


def relative_cost(
    method_flops: ArrayLike,
    reference_flops: ArrayLike,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Counted FLOPs of the method over naive exact leave-one-out's; see `speedup`.

    Raises:
        InvalidInputError: see `statistics.ratio_interval`.
    """
    return ratio_interval(method_flops, reference_flops, seed=seed, num_resamples=num_resamples)


def budget_weights(costs: ArrayLike, budget: float) -> FloatArray:
    """`[m]` weights of a method's settings whose mixture stands for it at a budget.

    costs: `[m]` of the settings, in the unit of `budget`. Quality is taken to be linear in
    log cost between neighbours, so all weight lies on one or two settings:

        weight of the dearer = (log budget - log cheaper) / (log dearer - log cheaper)

    NaN where the budget lies outside the measured costs: nothing is extrapolated. Source: ours.

    Raises:
        InvalidInputError: a cost or the budget is not positive, or there is no cost.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if costs.ndim != 1 or len(costs) == 0 or not (costs > 0).all() or not budget > 0:
        raise InvalidInputError(
            f"expected positive costs [m], m >= 1, and a positive budget; got {costs.tolist()} "
            f"and {budget}"
        )
    if not costs.min() <= budget <= costs.max():
        return np.full(len(costs), np.nan)
    order = np.argsort(costs, kind="stable")
    place = int(np.searchsorted(costs[order], budget))
    weights = np.zeros(len(costs))
    dearer = order[place]
    if costs[dearer] == budget:
        weights[dearer] = 1.0
        return weights
    cheaper = order[place - 1]
    share = np.log(budget / costs[cheaper]) / np.log(costs[dearer] / costs[cheaper])
    weights[[cheaper, dearer]] = 1 - share, share
    return weights


@dataclass(frozen=True)
class PromptShape:
    """Size of an average prompt [tokens].

    num_sources, num_groups: n sources, evenly in G groups (paragraphs) of H = n / G.
    tokens_per_source: T.
    head_tokens, tail_tokens: before the context (chat template) and after it (query, response);
        0 gives the asymptotic formulas.
    """

    num_sources: int
    num_groups: int
    tokens_per_source: float
    head_tokens: float = 0.0
    tail_tokens: float = 0.0

    def __post_init__(self) -> None:
        if not (
            1 <= self.num_groups <= self.num_sources
            and self.tokens_per_source > 0
            and self.head_tokens >= 0
            and self.tail_tokens >= 0
        ):
            raise InvalidInputError(
                "a prompt needs 1 <= num_groups <= num_sources, tokens_per_source > 0 and no "
                f"negative token counts; got {self}"
            )


@dataclass(frozen=True)
class CostStage:
    """One leave-one-out stage of a method.

    units: what is removed at a time.
    context_share: share of the context's units still there: k / G or k / n after keeping k.
    scored_share: share of those units that get a score; the rest is only read.
    parameter_share: parameters of the stage's model over the target's.
    """

    units: Literal["group", "source"] = "source"
    context_share: float = 1.0
    scored_share: float = 1.0
    parameter_share: float = 1.0

    def computed_tokens(self, shape: PromptShape, *, prefix_reuse: bool) -> float:
        """Expected tokens computed for the stage's full prompt and its ablations.

        With U units of t tokens in the stage's context, m = scored_share U, head h, tail q:

            naive         (m + 1) (h + q) + U t + m (U - 1) t
            prefix reuse  h + (m + 1) q + U t + m (U - 1) t / 2

        Reuse computes, after a cut, only what follows it: half the context on average.
        """
        is_group = self.units == "group"
        num_units = self.context_share * (shape.num_groups if is_group else shape.num_sources)
        unit_tokens = shape.tokens_per_source * (
            shape.num_sources / shape.num_groups if is_group else 1.0
        )
        num_scored = self.scored_share * num_units
        others = num_scored * (num_units - 1) * unit_tokens
        context = num_units * unit_tokens
        head, tail = shape.head_tokens, shape.tail_tokens
        if prefix_reuse:
            return head + (num_scored + 1) * tail + context + others / 2
        return (num_scored + 1) * (head + tail) + context + others


def predicted_relative_cost(
    shape: PromptShape, stages: Sequence[CostStage], *, prefix_reuse: bool = False
) -> float:
    """Cost of a method of such stages over that of naive exact leave-one-out.

        sum over stages of parameter_share * computed tokens / computed tokens of naive

    With r = P_proxy / P_target and no head or tail this is the paper's table:

        naive            [CostStage()]                                            1
        prefix reuse     [CostStage()], prefix_reuse=True                         (n + 1) / 2n
        proxy            [CostStage(parameter_share=r)]                           r
        hierarchical     [CostStage("group"), CostStage(context_share=k / G)]     1/H + (k/G)^2
        proxy pruning    [CostStage(parameter_share=r),
                          CostStage(context_share=k / n)]                         r + (k/n)^2

    and any composite is its list of stages. Source: AttriBoT (2411.15102); head, tail and
    the full-context pass are added by us.

    Raises:
        InvalidInputError: no stage is given.
    """
    if not stages:
        raise InvalidInputError("a method has at least one stage; got none")
    naive = CostStage().computed_tokens(shape, prefix_reuse=False)
    cost = sum(
        stage.parameter_share * stage.computed_tokens(shape, prefix_reuse=prefix_reuse)
        for stage in stages
    )
    return cost / naive
