"""The tricks, alone and composed, and what the closed forms say they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attribot.attributors.ablation import DELETION, Ablation, Mask
from attribot.attributors.base import Attributor
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import Context, TwoStage
from attribot.attributors.word_overlap import WordOverlap
from attribot.context.tree import ContextTree
from attribot.evaluation.efficiency import CostStage, PromptShape
from attribot.scoring.planning import Strategy
from attribot.types import Attribution, IntArray, Level

PARAGRAPHS, SENTENCES, WINDOW = 3, 5, 64
QUERY_ONLY, OWN_PARAGRAPH = Mask("none"), Mask("paragraph")
# The first is what all are compared with; the headline is the composite of all tricks.
NAIVE, REUSE, HEADLINE = "naive LOO", "prefix reuse", "proxy + hierarchical + reuse"
# The same tokens as those of prefix reuse, a pass for each sentence: only time can tell them apart.
ONE_BY_ONE = "prefix reuse, one by one"


@dataclass(frozen=True)
class SpreadOut:
    """Keeps k units that the screen has scored, in the middle of k equal parts of them.

    A `Keep` for counting: where survivors stand decides what their prefixes save, and survivors
    spread over the context save what survivors anywhere do on average.
    """

    k: int
    level: Level

    def survivors(self, screen: Attribution, tree: ContextTree) -> IntArray:
        """See `Keep`."""
        units = np.unique(tree.unit_of_source(self.level)[~screen.is_pruned])
        places = (np.arange(self.k) + 0.5) * len(units) / self.k
        return np.unique(units[places.astype(int)])


@dataclass(frozen=True)
class Composition:
    """A way to attribute, as the tables name it.

    is_papers: one of the paper's; the others are ours.
    is_after_generation: the target's states of the prompt, left by generating the response, are
        taken over.
    """

    name: str
    attributor: Attributor
    strategy: Strategy = "packed"
    is_papers: bool = True
    is_after_generation: bool = False

    def stages(self, shape: PromptShape) -> list[Stage]:
        readers = frozenset({"target"} if self.is_after_generation else ())
        return stages_of(self.attributor, shape, readers=readers)

    @property
    def asks_models_alone(self) -> bool:
        """No stage ranks by words."""
        attributor = self.attributor
        return not (isinstance(attributor, TwoStage) and isinstance(attributor.screen, WordOverlap))

    @property
    def uses_proxy(self) -> bool:
        return any(stage.role == "proxy" for stage in self.stages(PromptShape(9, 3, 1)))


@dataclass(frozen=True)
class Stage:
    """One leave-one-out stage of a composition.

    role, units: whose likelihood without which units.
    context_share, scored_share: see `CostStage`.
    ablation: how units are removed.
    is_read: an earlier stage has computed this stage's prompt under the same model.
    """

    role: str
    units: Literal["group", "source"]
    context_share: float
    scored_share: float
    ablation: Ablation
    is_read: bool

    @property
    def label(self) -> str:
        """What it does, for tables."""
        verb = "hiding" if isinstance(self.ablation, Mask) else "deleting"
        what = "paragraphs" if self.units == "group" else "sentences"
        where = " of the pruned context" if self.context_share < 1 else ""
        return f"{self.role}, {verb} {what}{where}"

    @property
    def reading_label(self) -> str:
        """What its first pass does, for tables."""
        return f"{self.role}, reading the {'pruned' if self.context_share < 1 else 'whole'} prompt"

    def papers_share(self, shape: PromptShape, prefix_reuse: bool) -> float:
        """Of naive exact leave-one-out's cost, for long contexts: the paper's formulas.

            (1/H for paragraphs) * share of the context * share scored * (1/2 for prefix reuse)

        where the cost of rescoring k of n inside the pruned context is (k/n)^2. NaN for masks.
        """
        if isinstance(self.ablation, Mask):
            return math.nan
        per_unit = shape.num_groups / shape.num_sources if self.units == "group" else 1.0
        reuse = 0.5 if prefix_reuse else 1.0
        return per_unit * self.context_share**2 * self.scored_share * reuse

    def computed_tokens(self, shape: PromptShape, prefix_reuse: bool) -> float:
        """As `CostStage.computed_tokens`, and for masks of m units with window w and tail q

            (whole prompt) + m (w + q)

        The whole prompt is not computed again where it was read.
        """
        cost = CostStage(self.units, self.context_share, self.scored_share)
        whole = CostStage(self.units, self.context_share, 0.0).computed_tokens(
            shape, prefix_reuse=prefix_reuse
        )
        if isinstance(self.ablation, Mask):
            num_scored = self.scored_share * self.context_share * shape.num_sources
            total = whole + num_scored * (_window(self.ablation, shape) + shape.tail_tokens)
        else:
            total = cost.computed_tokens(shape, prefix_reuse=prefix_reuse)
        return total - whole if self.is_read else total


def stages_of(
    attributor: Attributor,
    shape: PromptShape,
    context_share: float = 1.0,
    scored_share: float = 1.0,
    readers: frozenset[str] = frozenset(),
) -> list[Stage]:
    """The leave-one-out stages of an attributor, in the order in which they run.

    readers: roles that have computed the full prompt before.
    """
    if isinstance(attributor, TwoStage):
        assert isinstance(attributor.keep, SpreadOut)
        screen = stages_of(attributor.screen, shape, readers=readers)
        is_paragraph = attributor.keep.level == "paragraph"
        share = attributor.keep.k / (shape.num_groups if is_paragraph else shape.num_sources)
        is_pruned = attributor.context == "pruned"
        shares = (share, 1.0) if is_pruned else (1.0, share)
        readers |= {stage.role for stage in screen if stage.context_share == 1}
        return [*screen, *stages_of(attributor.rescore, shape, *shares, readers)]
    if isinstance(attributor, LeaveOneOut):
        units: Literal["group", "source"] = "group" if attributor.level == "paragraph" else "source"
        is_read = context_share == 1 and attributor.role in readers
        return [
            Stage(attributor.role, units, context_share, scored_share, attributor.ablation, is_read)
        ]
    # Screens without a language model cost no tokens.
    return []


def _window(mask: Mask, shape: PromptShape) -> float:
    """Tokens recomputed behind a hidden source, on average; the context's end is not seen."""
    if isinstance(mask.recompute, int):
        return mask.recompute
    others = shape.num_sources / shape.num_groups - 1
    sentences = {"none": 0.0, "sentence": min(1.0, others), "paragraph": others / 2}
    return sentences[mask.recompute] * shape.tokens_per_source


def papers_cost(
    composition: Composition, shape: PromptShape, parameter_shares: Mapping[str, float]
) -> float:
    """Cost relative to naive exact leave-one-out by the paper's formulas; see `Stage`.

    parameter_shares: parameters of each role's model over the target's.
    """
    reuse = composition.strategy != "naive"
    return sum(
        parameter_shares[stage.role] * stage.papers_share(shape, reuse)
        for stage in composition.stages(shape)
    )


def token_cost(
    composition: Composition, shape: PromptShape, parameter_shares: Mapping[str, float]
) -> float:
    """As `papers_cost`, in computed tokens with the prompt's head, tail and full passes.

    Source: `evaluation.efficiency`; masks are ours.
    """
    reuse = composition.strategy != "naive"
    tokens = sum(
        parameter_shares[stage.role] * stage.computed_tokens(shape, reuse)
        for stage in composition.stages(shape)
    )
    return tokens / CostStage().computed_tokens(shape, prefix_reuse=False)


def loo(
    role: str = "target", level: Level = "sentence", ablation: Ablation = DELETION
) -> Attributor:
    """Leave-one-out of the target's sentences by deletion, unless said otherwise."""
    return LeaveOneOut(role, level, ablation)


def hierarchical(role: str, context: Context = "pruned") -> Attributor:
    """Paragraphs first, then the sentences of three."""
    keep = SpreadOut(PARAGRAPHS, "paragraph")
    return TwoStage(loo(role, "paragraph"), keep, loo(role), context)


def pruning(
    screen: Attributor,
    context: Context = "pruned",
    ablation: Ablation = DELETION,
) -> Attributor:
    """A screen, then five sentences under the target."""
    keep = SpreadOut(SENTENCES, "sentence")
    return TwoStage(screen, keep, loo(ablation=ablation), context)


def compositions() -> tuple[Composition, ...]:
    """In the order of the tables."""
    return (
        Composition(NAIVE, loo(), "naive"),
        Composition(REUSE, loo()),
        Composition("hierarchical", hierarchical("target"), "naive"),
        Composition("hierarchical + reuse", hierarchical("target")),
        Composition("proxy", loo("proxy"), "naive"),
        Composition("proxy + reuse", loo("proxy")),
        Composition("proxy + hierarchical", hierarchical("proxy"), "naive"),
        Composition(HEADLINE, hierarchical("proxy")),
        Composition("proxy pruning", pruning(loo("proxy")), "naive"),
        Composition("proxy pruning + reuse", pruning(loo("proxy"))),
        Composition("hierarchical proxy pruning + reuse", pruning(hierarchical("proxy"))),
        *_ours(),
    )


def timed_compositions() -> tuple[Composition, ...]:
    """Those that can be timed on models without knowledge, in the order of the tables: all that
    begin with nothing and ask models alone."""
    naive, *others = compositions()
    one_by_one = Composition(ONE_BY_ONE, loo(), "cached")
    timed = [way for way in others if not way.is_after_generation and way.asks_models_alone]
    return (naive, one_by_one, *timed)


def _ours() -> list[Composition]:
    masks, proxy_masks = (loo(role, ablation=QUERY_ONLY) for role in ("target", "proxy"))
    found = {
        "hierarchical in the full context": hierarchical("target", "full"),
        "mask, query only": masks,
        "mask, own paragraph": loo(ablation=OWN_PARAGRAPH),
        "mask, then 5 exactly in the full context": pruning(masks, "full"),
        "BM25, then 5 in the pruned context": pruning(WordOverlap()),
        "proxy mask, query only": proxy_masks,
        "proxy mask, own paragraph": loo("proxy", ablation=OWN_PARAGRAPH),
        "proxy mask, then 5 in the pruned context": pruning(proxy_masks),
        "proxy mask, then 5 exactly in the full context": pruning(proxy_masks, "full"),
        f"proxy mask, then 5 masked with {WINDOW} tokens": pruning(
            proxy_masks, "full", Mask(WINDOW)
        ),
    }
    after = Composition("mask, query only, after generation", masks, "packed", False, True)
    ours = [Composition(name, attributor, is_papers=False) for name, attributor in found.items()]
    return [*ours[:2], after, *ours[2:]]
