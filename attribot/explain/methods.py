"""Methods by name, and which of them suits the model and the prompt at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from attribot.attributors.ablation import Mask
from attribot.attributors.attention import Attention
from attribot.attributors.attention_rollout import AttentionRollout
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.context_cite import ContextCite
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.gradient_times_input import GradientTimesInput
from attribot.attributors.halving import Halving
from attribot.attributors.integrated_gradients import IntegratedGradients
from attribot.attributors.keep import TopK
from attribot.attributors.kernel_shap import KernelShap
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.leave_two_out import LeaveTwoOut
from attribot.attributors.racing import Racing
from attribot.attributors.similarity import Similarity
from attribot.attributors.two_stage import Context, TwoStage
from attribot.attributors.value_attention import ValueAttention
from attribot.attributors.word_overlap import WordOverlap
from attribot.context.ablation import source_char_spans
from attribot.errors import InvalidInputError
from attribot.explain.models import lock_of
from attribot.explain.parts import Extent
from attribot.explain.scorers import attribute_parts, planning_scorers
from attribot.explain.watching import Watch
from attribot.scoring.planning import Work
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, Level

NATS = "nats"


@dataclass(frozen=True)
class Method:
    """An attributor under a name.

    what: it does, in the words of a sentence.
    unit: of its scores.
    needs_proxy: it asks the proxy model.
    hides: it hides sources instead of deleting them, which not every model admits.
    has_parts: it can attribute parts of a response; what is read off a model for a whole response
        cannot.
    """

    attributor: Attributor
    what: str
    unit: str = NATS
    needs_proxy: bool = False
    hides: bool = False
    has_parts: bool = True


def _rescored(screen: Attributor, k: int, level: Level, context: Context) -> TwoStage:
    return TwoStage(screen, TopK(k, level), LeaveOneOut(), context)


def _read(attributor: Attributor, what: str, unit: str = NATS) -> Method:
    return Method(attributor, what, unit, has_parts=False)


_MASKED = LeaveOneOut(ablation=Mask("none"))
_MASKED_PARAGRAPH = LeaveOneOut(ablation=Mask("paragraph"))

METHODS: Mapping[str, Method] = {
    "loo": Method(LeaveOneOut(), "exact leave-one-out"),
    "hierarchical": Method(
        _rescored(LeaveOneOut(level="paragraph"), 3, "paragraph", "pruned"),
        "leave-one-out of paragraphs, then of the sentences of the 3 best among themselves",
    ),
    "hierarchical_full": Method(
        _rescored(LeaveOneOut(level="paragraph"), 3, "paragraph", "full"),
        "leave-one-out of paragraphs, then exactly of the sentences of the 3 best",
    ),
    "proxy": Method(LeaveOneOut("proxy"), "leave-one-out under the proxy model", needs_proxy=True),
    "pruning": Method(
        _rescored(LeaveOneOut("proxy"), 5, "sentence", "pruned"),
        "leave-one-out under the proxy model, then of the 5 best among themselves",
        needs_proxy=True,
    ),
    "proxy_full": Method(
        _rescored(LeaveOneOut("proxy"), 5, "sentence", "full"),
        "leave-one-out under the proxy model, then exactly of the 5 best",
        needs_proxy=True,
    ),
    "proxy_mask": Method(
        _rescored(LeaveOneOut("proxy", ablation=Mask("paragraph")), 5, "sentence", "full"),
        "hiding each source from the proxy model, then exact scores of the 5 best",
        needs_proxy=True,
        hides=True,
    ),
    "mask_paragraph": Method(
        _rescored(_MASKED_PARAGRAPH, 5, "sentence", "full"),
        "hiding each source from the rest of its paragraph on, then exact scores of the 5 best",
        hides=True,
    ),
    "mask": Method(
        _rescored(_MASKED, 5, "sentence", "full"),
        "hiding each source from what follows the context, then exact scores of the 5 best",
        hides=True,
    ),
    "racing": Method(
        Racing(_MASKED, LeaveOneOut()),
        "hiding each source, then exact scores until no other can be among the 3 best",
        hides=True,
    ),
    "halving": Method(Halving(), "leave-one-out of groups, of which the best are halved"),
    "word_overlap_full": Method(
        _rescored(WordOverlap(), 5, "sentence", "full"),
        "word overlap with the response, then exact scores of the 5 best",
    ),
    "leave_two_out": Method(LeaveTwoOut(WordOverlap()), "leave-one-out that sees redundant pairs"),
    "contextcite": Method(ContextCite(), "a sparse linear fit to random ablations", "logits"),
    "kernel_shap": Method(KernelShap(), "Shapley values by sampled subsets"),
    "attention": _read(Attention(), "attention that the response pays", "attention mass"),
    "attention_rollout": _read(
        AttentionRollout(), "attention through all layers", "attention mass"
    ),
    "value_attention": _read(
        ValueAttention(), "attention times the size of what it moves", "weighted attention mass"
    ),
    "gradient_norm": _read(GradientNorm(), "gradients by the embeddings", "gradient norm"),
    "gradient_times_input": _read(GradientTimesInput(), "gradients times embeddings"),
    "integrated_gradients": _read(IntegratedGradients(), "gradients on the way from a blank"),
    "similarity": Method(Similarity(), "embedding similarity to the response", "cosine"),
    "word_overlap": Method(WordOverlap(), "words shared with the response", "BM25"),
}

# In the order of their faithfulness in the committed results, the best first.
CANDIDATES = (
    "loo",
    "mask_paragraph",
    "proxy_mask",
    "mask",
    "proxy_full",
    "hierarchical_full",
    "word_overlap_full",
)


@dataclass(frozen=True)
class Plan:
    """What a method would compute.

    num_prompts: that it would ask to score.
    """

    cost: Cost
    num_prompts: int


@dataclass(frozen=True)
class Choice:
    """A method, why it is taken, and its plan; None where nothing was planned."""

    name: str
    method: Method
    reason: str
    plan: Plan | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be attributed, and under which models.

    extents: parts of the response that are attributed besides the whole.
    scorers: by role, "target" and perhaps "proxy".
    watch: of the work; planning goes on as long as it does, in the same steps.
    """

    problem: Problem
    extents: tuple[Extent, ...]
    scorers: Mapping[str, ModelScorer]
    watch: Watch = field(default_factory=Watch)

    def plan(self, attributor: Attributor) -> Plan:
        """Of the attributor on the whole and all parts.

        Raises:
            AttributionCancelledError: the caller wants to stop.
        """
        watch = self.watch.for_planning()
        scorers = planning_scorers(self.scorers, watch)
        parts = attribute_parts(self.problem, self.extents, attributor, scorers)
        return Plan(sum((part.cost for part in parts), Cost()), watch.done)

    def one_pass(self) -> Cost:
        """Of the full prompt and the response, under the target model."""
        target = planning_scorers(self.scorers, self.watch.for_planning())["target"]
        cost: Cost = target.score([self.problem.prompt()], self.problem.response).cost
        return cost

    def can_hide(self, role: str) -> bool:
        """Whether parts of a prompt can be hidden from that model."""
        scorer = self.scorers[role]
        with self.watch.turn(lock_of(scorer.language_model)):
            return scorer.engine.masking_refusal(True) is None


def named_method(method: str | Attributor, has_proxy: bool, has_spans: bool = False) -> Choice:
    """The method that the caller names or brings along.

    has_proxy: there is a proxy model. has_spans: parts of the response are to be attributed as
        well; whether an attributor of the caller's can do that shows when it is planned.

    Raises:
        InvalidInputError: there is no method of that name, it needs a proxy model, or it cannot
            attribute parts.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise InvalidInputError(
                f"unknown method {method!r}; known: auto, {', '.join(METHODS)}; or an attributor"
            )
        known = METHODS[method]
        if known.needs_proxy and not has_proxy:
            raise InvalidInputError(f"method={method!r} asks a proxy model: pass proxy= as well")
        if has_spans and not known.has_parts:
            able = ", ".join(name for name in METHODS if METHODS[name].has_parts)
            raise InvalidInputError(
                f"method={method!r} is read off the model for a whole response, not for parts of "
                f"it: leave spans= out, or take one of auto, {able}"
            )
        return Choice(method, known, f"{known.what}, as asked")
    if not isinstance(method, Attributor) or isinstance(method, type):
        raise InvalidInputError(
            f"method must be a name or an attributor; got {method!r}. Names: auto, "
            f"{', '.join(METHODS)}"
        )
    name = type(method).__name__
    return Choice(name, Method(method, name, unit=""), "the attributor that was given")


def choose(job: Job, max_cost: float) -> Choice:
    """The most faithful method whose planned FLOPs are at most `max_cost` passes over the prompt.

    Where all cost more, the cheapest. Candidates are `CANDIDATES`, as far as models and packages
    are there for them. Plans count exactly what is computed, but for methods that decide by scores:
    those are planned on random ones. Source: ours.
    """
    one_pass = job.one_pass().flops
    plans: dict[str, Plan] = {}
    looked_at: list[str] = []
    for name in admitted(job):
        plan = least_plan_of_loo(job) if name == "loo" else None
        if plan is None or plan.cost.flops <= max_cost * one_pass:
            plan = job.plan(METHODS[name].attributor)
        plans[name] = plan
        passes = plan.cost.flops / one_pass
        looked_at.append(
            f"{METHODS[name].what} ({name}) costs {passes:.1f} times one pass over the prompt "
            f"({plan.cost.computed_tokens:,} tokens, {plan.num_prompts} prompts)"
        )
        if passes <= max_cost:
            verdict = f"the first within max_cost={max_cost:g}"
            break
    else:
        name = min(plans, key=lambda name: plans[name].cost.flops)
        verdict = f"none is within max_cost={max_cost:g}, {name} costs least"
    reason = f"{'; '.join(looked_at)}: {verdict}"
    return Choice(name, METHODS[name], reason, plans[name])


def admitted(job: Job) -> list[str]:
    """Candidates that the models and the installed packages admit."""
    hiding = {role: job.can_hide(role) for role in job.scorers}
    has_proxy = "proxy" in job.scorers
    left_out = {
        "mask_paragraph": not hiding["target"],
        "mask": not hiding["target"],
        "proxy_mask": not hiding.get("proxy", False),
        "proxy_full": not has_proxy or hiding["proxy"],
        "hierarchical_full": hiding["target"],
        "word_overlap_full": importlib.util.find_spec("bm25s") is None,
    }
    return [name for name in CANDIDATES if not left_out.get(name, False)]


def least_plan_of_loo(job: Job) -> Plan:
    """What exact leave-one-out computes at least: the full prompt, and all behind each source once.

    Known from one encoding of the prompt: planning it exactly encodes every ablation, which on long
    contexts would take longer than the method that is taken in the end.
    """
    problem, scorer = job.problem, job.scorers["target"]
    model = scorer.language_model
    spans = model.encode_prompt(problem.prompt()).char_spans
    offset = problem.template.context_offset(problem.query)
    extents = source_char_spans(problem.tree, problem.kept) + offset
    # What the chat template puts behind the prompt lies behind every source.
    num_inside = 1 + int(np.flatnonzero(spans[:, 0] >= 0)[-1])
    num_before, num_through = np.searchsorted(
        spans[:num_inside, 1], extents.T, side="right"
    ).tolist()
    num_response = len(model.encode_response(problem.response))
    num_tokens = len(spans) + num_response - 1
    works = [
        Work(num_tokens - through, before, num_response)
        for before, through in zip([0, *num_before], [0, *num_through], strict=True)
    ]
    return Plan(scorer.engine.planner.cost(works), len(works))
