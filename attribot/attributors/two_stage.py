"""Screen all units cheaply, keep some, rescore the survivors: every trick of the paper in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from attribot.attributors.base import Attributor, Problem
from attribot.attributors.keep import Keep
from attribot.errors import InvalidInputError
from attribot.types import LEVELS, Attribution

Context = Literal["pruned", "full"]


@dataclass(frozen=True)
class TwoStage:
    """Hierarchical attribution, proxy-model pruning and their composites.

        hierarchical    screen = LeaveOneOut("target", "paragraph"), keep = TopK(3)
        proxy pruning   screen = LeaveOneOut("proxy", "sentence"),   keep = TopK(5)
        composite       screen = another TwoStage

    Units that are not kept are removed as units: a removed paragraph takes its separator along.
    Units without candidates, such as blank paragraphs, are not screened and stay.

    Measures: necessity, where `rescore` is leave-one-out; of the survivors only.
    Use: where a cheap screen loses few of the sources that matter.

    Cost: that of the screen, plus that of rescoring the survivors.
    Source: AttriBoT (arXiv 2411.15102), section 3; rescoring in the full context is ours.

    screen: any attributor.
    keep: which units survive.
    rescore: any attributor; its scores are final. Sources it does not score are ranked behind, by
        the screen.
    context: rescore inside the "pruned" context against its own likelihood (the paper), or inside
        the "full" one (ours).
    """

    screen: Attributor
    keep: Keep
    rescore: Attributor
    context: Context = "pruned"

    def __post_init__(self) -> None:
        if self.context not in get_args(Context):
            raise InvalidInputError(
                f"context must be one of {list(get_args(Context))}; got {self.context!r}"
            )

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:
        """Scores of the survivors; see `Attributor`."""
        tree = problem.tree
        screened = self.screen.attribute(problem, scorers)
        survivors = self.keep.survivors(screened, tree)
        units = tree.unit_of_source(LEVELS[tree.level[survivors[0]]])
        # Units without a candidate were never screened, so nothing speaks against them: they stay.
        kept = tree.remove(problem.kept, np.setdiff1d(units[problem.candidates], survivors))
        candidates = problem.candidates & tree.kept_sources(kept)
        inside = kept if self.context == "pruned" else problem.kept
        rescored = self.rescore.attribute(problem.restrict(candidates, inside), scorers)
        return Attribution(
            stage_scores=np.concatenate([rescored.stage_scores, screened.stage_scores]),
            cost=screened.cost + rescored.cost,
            level=rescored.level,
            base_log_likelihood=rescored.base_log_likelihood,
            ablated_log_likelihoods=rescored.ablated_log_likelihoods,
            token_scores=rescored.token_scores,
        )
