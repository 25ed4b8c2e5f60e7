"""The problem every attributor solves, and the interface they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from attribot.context.tree import ContextTree
from attribot.errors import InvalidInputError
from attribot.prompting import PromptTemplate
from attribot.scoring.base import Scorer
from attribot.types import Attribution, BoolArray, Response

ScorerT = TypeVar("ScorerT")


@dataclass(frozen=True, eq=False)
class Problem:
    """One response to explain by the sources of one context.

    kept: `[num_nodes]` the nodes that make up the context; a pruned problem has fewer.
    candidates: `[num_sources]` the sources that want a score; all lie in the kept context.

    Raises:
        InvalidInputError: no source wants a score.
    """

    tree: ContextTree
    query: str
    response: Response
    template: PromptTemplate
    kept: BoolArray
    candidates: BoolArray

    def __post_init__(self) -> None:
        if not self.candidates.any():
            raise InvalidInputError(
                f"a problem needs at least one candidate; got none of {len(self.candidates)} "
                f"sources: name the sources that want a score"
            )

    @classmethod
    def of(
        cls,
        tree: ContextTree,
        query: str,
        response: Response,
        template: PromptTemplate | None = None,
    ) -> Problem:
        """The problem with the full context, every source a candidate."""
        if tree.num_sources == 0:
            raise InvalidInputError("the context has no sources: it needs at least one sentence")
        if not response.token_ids:
            raise InvalidInputError("the response is empty: there is nothing to attribute")
        return cls(
            tree,
            query,
            response,
            template or PromptTemplate(),
            tree.all_kept(),
            np.ones(tree.num_sources, dtype=bool),
        )

    def restrict(self, candidates: BoolArray, kept: BoolArray | None = None) -> Problem:
        """The same problem for fewer candidates, inside `kept` where given."""
        return replace(self, candidates=candidates, kept=self.kept if kept is None else kept)

    def prompt(self, removed: Iterable[int] = ()) -> str:
        """Prompt text of the context without the nodes `removed`."""
        kept = self.tree.remove(self.kept, removed)
        return self.template.render(self.tree.render(kept), self.query)


@runtime_checkable
class Attributor(Protocol):
    """A frozen dataclass of plain settings; models are passed at call time, by role."""

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the problem's candidates; other sources get NaN."""
        ...


def scorer_for(role: str, scorers: Mapping[str, Any], kind: type[ScorerT] = Scorer) -> ScorerT:  # type: ignore[assignment]
    """The scorer of a role, checked against the protocol that the caller needs.

    Raises:
        InvalidInputError: no scorer has that role, or it cannot do what `kind` asks.
    """
    if role not in scorers:
        raise InvalidInputError(f"no model has the role {role!r}; roles given: {sorted(scorers)}")
    scorer = scorers[role]
    if not isinstance(scorer, kind):
        raise InvalidInputError(
            f"the role {role!r} is filled by {type(scorer).__name__}, which is no {kind.__name__}"
        )
    return scorer
