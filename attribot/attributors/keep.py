"""Rules that choose which units survive a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError
from attribot.types import Attribution, IntArray, Level


@runtime_checkable
class Keep(Protocol):
    """A frozen dataclass of plain settings."""

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """Nodes of the units to keep, in document order."""
        ...


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
        unit_of_source = tree.unit_of_source(self.level or screen.level)
        units, inverse = np.unique(unit_of_source, return_inverse=True)
        best = np.full(len(units), -np.inf)
        np.maximum.at(best, inverse, screen.priority)
        eligible = np.flatnonzero(best > 0)
        order = eligible[np.argsort(-best[eligible], kind="stable")]
        return np.sort(units[order[: self.k]])
