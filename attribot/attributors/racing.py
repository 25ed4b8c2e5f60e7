"""Racing: estimates first, then exact scores of whoever could still win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Attributor, Problem
from attribot.errors import InvalidInputError
from attribot.types import Attribution, FloatArray


@dataclass(frozen=True)
class Racing:
    """Rescores the best estimates, heat by heat, until no other source can win.

    Sources enter in the order of their estimates. The race is decided once the best estimate still
    waiting could not take one of the `places`:

        max over waiting s of estimate(s) + margin <= the places-th largest score so far

    If no estimate falls short of its score by more than the margin, the winners are the exact
    ones. No number of survivors is fixed: a clear winner ends the race after one heat, a close
    field is rescored whole. Whoever did not enter keeps the estimate. Source: ours.

    Measures: necessity, where `rescore` is leave-one-out; exactly for whoever enters.
    Use: for exact scores of the top sources, without choosing how many to rescore.

    Cost: that of the estimates, plus that of rescoring whoever entered.

    estimate: any attributor whose scores have the unit of those of `rescore`.
    rescore: scores of whoever enters.
    places: number of winners to be sure of.
    heat: sources rescored at a time.
    margin: in the unit of the scores [nats].
    """

    estimate: Attributor
    rescore: Attributor
    places: int = 3
    heat: int = 2
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.places < 1 or self.heat < 1 or self.margin < 0:
            raise InvalidInputError(
                f"a race needs at least one place, one source in a heat and a margin of at least "
                f"0; got places={self.places}, heat={self.heat}, margin={self.margin}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of all candidates, exact where they entered; see `Attributor`."""
        estimated = self.estimate.attribute(problem, scorers)
        scores = np.where(problem.candidates, estimated.scores, np.nan)
        ablated = np.full(problem.tree.num_sources, np.nan)
        waiting = np.argsort(-estimated.priority, kind="stable")
        waiting = waiting[problem.candidates[waiting]]
        cost, entered, base = estimated.cost, np.zeros(len(scores), dtype=bool), None
        while len(waiting) and not self._is_decided(scores[entered], scores[waiting]):
            starters = np.zeros_like(entered)
            starters[waiting[: self.heat]] = True
            heat = self.rescore.attribute(problem.restrict(starters), scorers)
            scores[starters] = heat.scores[starters]
            if heat.ablated_log_likelihoods is not None:
                ablated[starters] = heat.ablated_log_likelihoods[starters]
            cost, base = cost + heat.cost, heat.base_log_likelihood
            entered, waiting = entered | starters, waiting[self.heat :]
        return Attribution(scores[None], cost, "sentence", base, None if base is None else ablated)

    def _is_decided(self, entered: FloatArray, waiting: FloatArray) -> bool:
        if len(entered) < self.places:
            return False
        last_place = np.sort(entered)[-self.places]
        # A source without an estimate cannot be ruled out.
        return bool(np.nan_to_num(waiting, nan=np.inf).max() + self.margin <= last_place)
