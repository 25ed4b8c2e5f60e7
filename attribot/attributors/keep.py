"""Which units survive a screen: the interface of the rules, and the plain one, a fixed number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError
from attribot.types import Attribution, FloatArray, IntArray, Level


@runtime_checkable
class Keep(Protocol):
    """A frozen dataclass of plain settings."""

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """Nodes of the units to keep, at least one, in document order."""
        ...


@dataclass(frozen=True, eq=False)
class RankedUnits:
    """The units that a screen scored, best first; ties go to the earlier unit.

    nodes: `[num_units]`.
    scores: `[num_units]` non-increasing, in the unit of the screen's final stage; at the end NaN
        for units that only earlier stages scored.
    """

    nodes: IntArray
    scores: FloatArray

    @classmethod
    def of_screen(
        cls, screen: Attribution, tree: ContextTree, level: Level | None = None
    ) -> RankedUnits:
        """Units at `level`; None takes the level at which the screen scored."""
        unit_of_source = tree.unit_of_source(level or screen.level)
        return cls.of_sources(unit_of_source, screen.priority, screen.scores)

    @classmethod
    def of_sources(
        cls, unit_of_source: IntArray, priority: FloatArray, scores: FloatArray
    ) -> RankedUnits:
        """A unit is as good as its best source: all arguments are `[num_sources]`.

        priority, scores: see `Attribution`; a source that no stage scored has priority 0.

        Raises:
            InvalidInputError: no source was scored.
        """
        nodes, unit = np.unique(unit_of_source, return_inverse=True)
        best_priority = np.zeros(len(nodes))
        np.maximum.at(best_priority, unit, priority)
        best_score = np.full(len(nodes), np.nan)
        np.fmax.at(best_score, unit, scores)
        order = np.argsort(-best_priority, kind="stable")
        order = order[best_priority[order] > 0]
        if not len(order):
            raise InvalidInputError(
                "the screen scored no source, so nothing can be kept: it needs a candidate"
            )
        return cls(nodes[order], best_score[order])

    @property
    def num_scored(self) -> int:
        """Number of units that the screen's final stage scored."""
        return int((~np.isnan(self.scores)).sum())


@dataclass(frozen=True)
class TopK:
    """The k units with the highest priority; ties go to the earlier unit.

    k: number of units; all are kept where there are no more.
    level: level of the units; a unit's priority is that of its best source. None takes the level
        at which the screen scored.
    """

    k: int
    level: Level | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidInputError(f"TopK keeps at least one unit; got k={self.k}")

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """See `Keep`."""
        return np.sort(RankedUnits.of_screen(screen, tree, self.level).nodes[: self.k])
