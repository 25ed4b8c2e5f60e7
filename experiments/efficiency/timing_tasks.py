"""One composition on one prompt, ready to be timed: in full, or by some of its ablations."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from attribot.attributors.base import Problem
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.types import Cost
from experiments.efficiency.compositions import Composition, papers_cost, token_cost
from experiments.efficiency.counting import SyntheticPrompt
from experiments.efficiency.timed_models import Clocked, TimedModels
from experiments.efficiency.timing_records import TimingRow

# Fewer would time the pass over the full prompt rather than the ablations.
FEWEST_ABLATIONS = 4

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, eq=False)
class TimingTask:
    """A composition, to be timed on one prompt under models that are there.

    num_ablations: sources that are left out while the clock runs, evenly spread over the context;
        None: all that the composition leaves out.
    """

    models: TimedModels
    way: Composition
    prompt: SyntheticPrompt
    problem: Problem
    num_ablations: int | None = None

    @property
    def is_divisible(self) -> bool:
        """Whether the time of some ablations tells that of all: plain leave-one-out computes the
        same for every source, and no later stage depends on which sources were scored."""
        return isinstance(self.way.attributor, LeaveOneOut)

    def narrowed(self, num_ablations: int) -> TimingTask:
        """The same with fewer ablations; the prompt stays as it is."""
        return replace(self, num_ablations=num_ablations)

    @cached_property
    def _timed_problem(self) -> Problem:
        if self.num_ablations is None:
            return self.problem
        num_sources = self.problem.tree.num_sources
        places = (np.arange(self.num_ablations) + 0.5) * num_sources / self.num_ablations
        candidates = np.zeros(num_sources, dtype=bool)
        candidates[places.astype(int)] = True
        return self.problem.restrict(candidates)

    @cached_property
    def _planned(self) -> Cost:
        return self.models.plan(self.way, self.problem)

    def expected_seconds(self) -> float:
        """About how long all ablations take, at the rate at which one is computed now.

        That one also warms up: its passes are as long as those of a round.
        """
        clocked = self.narrowed(1)._clocked()
        reuses = self.way.strategy != "naive"
        geometries = self.models.geometries
        # Attention and logits, which are left out here, are the smaller part.
        flops = sum(
            2.0
            * geometries[stage.role].block_parameters
            * stage.computed_tokens(self.prompt.shape, reuses)
            for stage in self.way.stages(self.prompt.shape)
        )
        return flops * clocked.seconds / clocked.cost.flops

    def fitted(self, expected_seconds: float, max_seconds: float) -> TimingTask | None:
        """The task, by so many of its ablations that a round takes no longer, but by four at
        least; None where it would and cannot be divided."""
        if expected_seconds <= max_seconds:
            return self
        if not self.is_divisible:
            return None
        num_sources = self.prompt.num_sources
        count = max(FEWEST_ABLATIONS, int(num_sources * max_seconds / expected_seconds))
        return self.narrowed(count) if count < num_sources else self

    def _clocked(self) -> Clocked:
        return self.models.clocked(self.way, self._timed_problem)

    def row(self, run: int, number: int) -> TimingRow:
        """One round.

        run, number: of the run and of the round, for the record.
        """
        clocked = self._clocked()
        whole = clocked.cost if self.num_ablations is None else self._planned
        sizes = {role: g.num_parameters for role, g in self.models.geometries.items()}
        shares = {role: size / sizes["target"] for role, size in sizes.items()}
        return TimingRow(
            run=run,
            prompt_tokens=self.prompt.prompt_tokens,
            sources=self.prompt.num_sources,
            paragraphs=self.prompt.num_groups,
            composition=self.way.name,
            is_papers=self.way.is_papers,
            round=number,
            timed_ablations=self.num_ablations,
            seconds=clocked.seconds,
            forward_seconds=clocked.forward_seconds,
            timed_flops=clocked.cost.flops,
            flops=whole.flops,
            forward_passes=whole.forward_passes,
            computed_tokens=whole.computed_tokens,
            reused_tokens=whole.reused_tokens,
            peak_memory_bytes=_or_none(clocked.peak_memory_bytes),
            resting_memory_bytes=_or_none(clocked.resting_memory_bytes),
            predicted=_or_none(papers_cost(self.way, self.prompt.shape, shares)),
            predicted_in_tokens=token_cost(self.way, self.prompt.shape, shares),
        )


def _or_none(measured: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(measured) else measured


def unless_out_of_memory(action: Callable[[], ResultT]) -> ResultT | None:
    """What the action gives; None where a GPU's memory did not suffice, and is free again."""
    try:
        return action()
    except torch.OutOfMemoryError:
        pass
    # The error, which held what its frames held, is gone only now.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
