"""What earlier calls have computed and later ones take over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from attribot.models.kv_cache import ComputedPrefix, PrefixStates
from attribot.models.packed_row import BranchStates
from attribot.scoring.batching import TokenIds
from attribot.scoring.packing import Branch, HeldBranch
from attribot.types import FloatArray, Response

if TYPE_CHECKING:
    from attribot.scoring.planning import PackedPlan

# The prompt of the full context, and that of the context which a screen has left.
MAX_BRANCHES = 2


@dataclass(eq=False)
class HeldStates:
    """Branches whose key and value states are kept from call to call.

    branches: in the order in which they were computed.
    states: of each branch; None where calls are only planned.
    """

    branches: list[HeldBranch] = field(default_factory=list)
    states: list[BranchStates | None] = field(default_factory=list)

    def copied(self) -> HeldStates:
        """The same, for a call of which nothing is to be held."""
        return HeldStates([*self.branches], [*self.states])

    def hold_prefix(self, token_ids: TokenIds, states: PrefixStates | None) -> None:
        """Keep a prefix that was not computed as a branch: by generating, or for attention."""
        if len(self.branches) == MAX_BRANCHES:
            return
        branch = Branch(token_ids, tuple(range(len(token_ids))), (), 0)
        self.branches.append(HeldBranch(branch, token_ids))
        layers = states.layers if states is not None else ()
        self.states.append(
            BranchStates(torch.arange(len(token_ids)), dict(enumerate(layers))) if layers else None
        )

    def covers(self, token_ids: TokenIds) -> bool:
        """Whether one held branch begins with these tokens."""
        return self._covering(token_ids) is not None

    def prefix_states(self, token_ids: TokenIds) -> PrefixStates | None:
        """The states of these tokens, where one held branch begins with them."""
        index = self._covering(token_ids)
        states = None if index is None else self.states[index]
        if states is None:
            return None
        end = len(token_ids)
        layers = (states.layers[layer] for layer in sorted(states.layers))
        return PrefixStates(
            tuple((keys[:, :, :end], values[:, :, :end]) for keys, values in layers)
        )

    def _covering(self, token_ids: TokenIds) -> int | None:
        for index, held in enumerate(self.branches):
            if not held.branch.reaches and held.sequence[: len(token_ids)] == token_ids:
                return index
        return None

    def takes_trunk(self, plan: PackedPlan) -> bool:
        """Whether the plan's trunk is worth keeping and can be: it stands on held branches only,
        and is mostly new."""
        branch = plan.branches.branches[plan.trunk]
        return (
            len(self.branches) < MAX_BRANCHES
            and all(reach.branch < len(self.branches) for reach in branch.reaches)
            and len(branch.token_ids) > branch.num_reused
        )

    def hold_trunk(self, plan: PackedPlan, states: BranchStates | None) -> None:
        """Keep the plan's trunk where it is worth it; its states are None in a plan that is not
        run."""
        if self.takes_trunk(plan):
            branch = plan.branches.branches[plan.trunk]
            self.branches.append(HeldBranch(branch, plan.sequences[0]))
            self.states.append(states)


@dataclass(eq=False)
class Session:
    """The memory of one attribution under one model: nothing is computed twice within it.

    Not to be shared between threads.

    held: states that later calls may take over.
    known: token log-likelihoods of what was asked before, by what was asked.
    responses: whatever is asked about one of them is scored for all.
    """

    held: HeldStates = field(default_factory=HeldStates)
    known: dict[object, FloatArray] = field(default_factory=dict)
    responses: tuple[Response, ...] = ()

    @classmethod
    def of(cls, prefix: ComputedPrefix | None) -> Session:
        """A new memory, which may know the states of one prefix."""
        session = cls()
        if prefix is not None:
            session.held.hold_prefix(prefix.token_ids, prefix.states)
        return session
