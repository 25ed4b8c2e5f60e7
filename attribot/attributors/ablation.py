"""How a part of the context is taken away: deleted from the prompt, or hidden from the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from attribot.attributors.base import Problem
from attribot.context.ablation import node_char_spans
from attribot.errors import InvalidInputError
from attribot.scoring.base import HiddenSpans, MaskScorer, Scorer, Scores
from attribot.types import LEVELS, IntArray

Window = Literal["none", "sentence", "paragraph"]


@runtime_checkable
class Ablation(Protocol):
    """A frozen dataclass of plain settings."""

    def score(self, problem: Problem, removals: Sequence[IntArray], scorer: Scorer) -> Scores:
        """Log-likelihoods of the response without the nodes of each removal, one row per removal.

        An empty removal is the problem's own context.
        """
        ...


@dataclass(frozen=True)
class Deletion:
    """The prompt is rendered without the removed nodes, and computed anew. Exact."""

    def score(self, problem: Problem, removals: Sequence[IntArray], scorer: Scorer) -> Scores:
        """See `Ablation`; one forward pass per distinct prompt."""
        prompts = [problem.prompt(removed=removal) for removal in removals]
        row = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        answer = scorer.score(list(row), problem.response)
        order = [row[prompt] for prompt in prompts]
        return Scores(answer.token_log_likelihoods[order], answer.cost)


DELETION = Deletion()


@dataclass(frozen=True)
class Mask:
    """The prompt is computed once; removed nodes are hidden from what is computed anew.

    Anew are computed the query, the response, and a window behind every removed node. The rest
    keeps states in which the removed text has left its traces: the wider the window, the closer to
    deletion, with which it agrees once the window holds all that follows. Cost per removal is that
    of window, query and response, whatever the length of the context. Source: ours.

    recompute: the window: "none", the next "sentence", the rest of the removed node's "paragraph",
        or a number of tokens.
    close_gaps: what is computed anew takes the positions it would have after deletion; otherwise
        positions stay. The former is closer to deletion, and needs rotary or learned positions.
    """

    recompute: Window | int = "paragraph"
    close_gaps: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.recompute, int) and not isinstance(self.recompute, bool):
            if self.recompute >= 0:
                return
        elif self.recompute in get_args(Window):
            return
        raise InvalidInputError(
            f"recompute must be a number of tokens or one of {list(get_args(Window))}; "
            f"got {self.recompute!r}"
        )

    def score(self, problem: Problem, removals: Sequence[IntArray], scorer: Scorer) -> Scores:
        """See `Ablation`; one pass over the prompt, and one over the window of each removal."""
        if not isinstance(scorer, MaskScorer):
            raise InvalidInputError(
                f"{type(scorer).__name__} cannot mask parts of a prompt: use ablation=deletion"
            )
        prompt = problem.prompt()
        offset = problem.template.context_offset(problem.query)
        spans = node_char_spans(problem.tree, problem.kept) + offset
        context_end = offset + len(problem.tree.render(problem.kept))
        after_context = np.array([[context_end, len(prompt)]])
        ablations = []
        for removal in removals:
            windows = [self._window(problem, node, spans) for node in removal]
            recomputed = np.concatenate([*windows, after_context])
            following = self.recompute if isinstance(self.recompute, int) else 0
            ablations.append(HiddenSpans(spans[removal], recomputed, following))
        return scorer.score_masked(prompt, ablations, problem.response, self.close_gaps)

    def _window(self, problem: Problem, node: int, spans: IntArray) -> IntArray:
        """`[num_windows, 2]` char extents behind a removed node."""
        tree, end = problem.tree, spans[node, 1]
        is_sentence = LEVELS[tree.level[node]] == "sentence"
        if is_sentence and self.recompute == "paragraph":
            return np.array([[end, spans[tree.parent[node], 1]]])
        if is_sentence and self.recompute == "sentence":
            siblings = tree.sources[
                (tree.parent[tree.sources] == tree.parent[node])
                & (tree.sources > node)
                & problem.kept[tree.sources]
            ]
            return np.asarray(spans[siblings[:1]])
        return np.empty((0, 2), dtype=np.int64)
