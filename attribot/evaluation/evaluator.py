"""The faithfulness protocol: one attribution against reference scores and gold sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from attribot.errors import InvalidInputError
from attribot.evaluation import faithfulness
from attribot.evaluation.ablation_curves import TopAblations
from attribot.evaluation.outliers import PROTOCOL_RULES, GeneralizedESD, OutlierRule, is_outlier
from attribot.types import Attribution, BoolArray, FloatArray, stage_priority

Direction = Literal["higher", "lower"]
Ties = Literal["expected", "document_order"]
Pruned = Literal["by_screen", "tied"]
NoOutliers = Literal["leave_out", "one", "zero"]

METRIC_DIRECTIONS: Mapping[str, Direction | None] = MappingProxyType(
    {
        "map": "higher",
        "average_precision": "higher",
        "has_outliers": None,
        "top1_hit": "higher",
        "recall": "higher",
        "precision": "higher",
        "spearman": "higher",
        "kendall": "higher",
        "pearson": "higher",
        "ndcg": "higher",
        "positive_mass": "higher",
        "gold_average_precision": "higher",
        "gold_precision": "higher",
        "gold_auroc": "higher",
        "log_prob_drop": "higher",
        "log_prob_hold": "lower",
        "insertion_auc": "higher",
        "deletion_auc": "lower",
        "lds": "higher",
        "top_overlap": "higher",
        "speedup": "higher",
        "relative_cost": "lower",
        "forward_passes": "lower",
        "computed_tokens": "lower",
        "reused_tokens": None,
        "flops": "lower",
        "wall_seconds": "lower",
        "peak_memory_bytes": "lower",
    }
)


def metric_direction(name: str) -> Direction | None:
    """Whether "higher" or "lower" is better for a metric such as `recall@3`.

    None for what only describes: `has_outliers` (of the reference), `reused_tokens`.

    Raises:
        InvalidInputError: the metric is unknown.
    """
    base = name.split("@")[0]
    if base not in METRIC_DIRECTIONS:
        raise InvalidInputError(f"unknown metric {name!r}; known: {sorted(METRIC_DIRECTIONS)}")
    return METRIC_DIRECTIONS[base]


@dataclass(frozen=True)
class FaithfulnessEvaluation:
    """Settings of the faithfulness protocol. Source: ours where the paper's are unknown.

    outlier_rule: which reference scores are outliers, the relevant sources of the headline mAP.
        A two-sided rule also compares rankings by the magnitude of scores.
    ks: cut-offs of the metrics at k.
    ties: tied sources in random order (expected values), or in document order. Correlations and
        AUROC treat ties by definition.
    pruned: sources without a final score come after all others, ranked by the screening stages
        or tied with one another.
    no_outliers: average precision of an example without outliers: NaN, left out of means, or a
        bound. Other outlier metrics are NaN there.
    num_lds_ablations: random ablations that the target scores for `lds`; 0 = not computed.
    log_prob_drop_ks, log_prob_hold_ks: cut-offs of `log_prob_drop@k` (necessity: without the top k)
        and `log_prob_hold@k` (sufficiency: with nothing but the top k); a pass of the target each.
    num_curve_points: points of `insertion_auc` and of `deletion_auc` between the full and the empty
        context, at most; a pass of the target each. 0 = not computed.

    Raises:
        InvalidInputError: a setting is out of range.
    """

    outlier_rule: OutlierRule = field(default_factory=GeneralizedESD)
    ks: tuple[int, ...] = (1, 3, 5)
    ties: Ties = "expected"
    pruned: Pruned = "by_screen"
    no_outliers: NoOutliers = "leave_out"
    num_lds_ablations: int = 16
    log_prob_drop_ks: tuple[int, ...] = (1, 3)
    log_prob_hold_ks: tuple[int, ...] = ()
    num_curve_points: int = 0

    def __post_init__(self) -> None:
        # Configurations bring lists; tuples keep the dataclass hashable.
        for name in ("ks", "log_prob_drop_ks", "log_prob_hold_ks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, known in (("ties", Ties), ("pruned", Pruned), ("no_outliers", NoOutliers)):
            if getattr(self, name) not in get_args(known):
                raise InvalidInputError(
                    f"{name} must be one of {get_args(known)}, got {getattr(self, name)!r}"
                )
        if any(k < 1 for k in self.ks + self.log_prob_drop_ks + self.log_prob_hold_ks):
            raise InvalidInputError(
                f"ks, log_prob_drop_ks and log_prob_hold_ks must be at least 1; got {self.ks}, "
                f"{self.log_prob_drop_ks} and {self.log_prob_hold_ks}"
            )
        if self.num_curve_points < 0:
            raise InvalidInputError(
                "num_curve_points must be 0 (no insertion and deletion curves) or the points "
                f"between the full and the empty context; got {self.num_curve_points}"
            )
        if self.num_lds_ablations == 1 or self.num_lds_ablations < 0:
            raise InvalidInputError(
                "num_lds_ablations must be 0 (no LDS) or at least 2 (a rank correlation); got "
                f"{self.num_lds_ablations}"
            )

    def evaluate(
        self,
        attribution: Attribution,
        reference_scores: FloatArray,
        gold: BoolArray | None = None,
    ) -> Iterator[tuple[str, float]]:
        """(metric, value) of one example; NaN = undefined for it. Scores are nats or unitless.

        reference_scores: `[num_sources]` exact leave-one-out scores under the target [nats].
        gold: `[num_sources]` annotated sources; None = the data set has none, no gold metrics.

        Raises:
            InvalidInputError: the lengths differ, or a reference score is not finite.
        """
        outliers = is_outlier(reference_scores, self.outlier_rule)
        yield "average_precision", self.average_precision(attribution, reference_scores)
        yield "has_outliers", float(outliers.any())
        ranking = self._ranking(self._priority(attribution, self.outlier_rule.two_sided))
        for k in self.ks:
            yield f"recall@{k}", faithfulness.recall_at_k(ranking, outliers, k)
            yield f"precision@{k}", faithfulness.precision_at_k(ranking, outliers, k)
        yield from self._agreement(attribution, reference_scores)
        if gold is not None:
            yield from self._plausibility(attribution, gold)

    def top_ablations(self, num_sources: int) -> TopAblations:
        """The ablations of the top sources that the target is to score."""
        return TopAblations(
            num_sources,
            drop_ks=tuple(k for k in self.log_prob_drop_ks if k <= num_sources),
            hold_ks=tuple(k for k in self.log_prob_hold_ks if k <= num_sources),
            num_curve_points=self.num_curve_points,
        )

    def average_precision(self, attribution: Attribution, reference_scores: FloatArray) -> float:
        """Average precision of the reference's outliers; its mean over examples is the mAP."""
        outliers = is_outlier(reference_scores, self.outlier_rule)
        if not outliers.any():
            return {"leave_out": float("nan"), "one": 1.0, "zero": 0.0}[self.no_outliers]
        ranking = self._ranking(self._priority(attribution, self.outlier_rule.two_sided))
        return faithfulness.expected_average_precision(ranking, outliers)

    def sensitivity(
        self, attribution: Attribution, reference_scores: FloatArray
    ) -> Iterator[tuple[str, float]]:
        """(knob/alternative, average precision): the headline, then one knob turned at a time."""
        for name, evaluation in self.alternatives():
            yield name, evaluation.average_precision(attribution, reference_scores)

    def alternatives(self) -> Iterator[tuple[str, FaithfulnessEvaluation]]:
        """The rows of the sensitivity table; alternatives equal to the headline are left out."""
        yield "headline", self
        rows: list[tuple[str, FaithfulnessEvaluation]] = [
            (f"outlier_rule/{name}", replace(self, outlier_rule=rule))
            for name, rule in PROTOCOL_RULES.items()
        ]
        for two_sided, name in ((False, "positive_only"), (True, "two_sided")):
            rule = replace(self.outlier_rule, two_sided=two_sided)
            rows.append((f"sign/{name}", replace(self, outlier_rule=rule)))
        rows += [(f"no_outliers/{v}", replace(self, no_outliers=v)) for v in get_args(NoOutliers)]
        rows += [(f"ties/{v}", replace(self, ties=v)) for v in get_args(Ties)]
        rows += [(f"pruned/{v}", replace(self, pruned=v)) for v in get_args(Pruned)]
        yield from ((name, evaluation) for name, evaluation in rows if evaluation != self)

    def _priority(self, attribution: Attribution, by_magnitude: bool = False) -> FloatArray:
        """`[num_sources]` larger = ranked earlier, under the knob `pruned`."""
        # The final stage alone leaves all pruned sources tied in last place.
        stages = attribution.stage_scores[: 1 if self.pruned == "tied" else None]
        return stage_priority(np.abs(stages) if by_magnitude else stages)

    def _ranking(self, priority: FloatArray) -> FloatArray:
        """`[num_sources]` the priority under the knob `ties`."""
        in_order = self.ties == "document_order"
        return faithfulness.in_document_order(priority) if in_order else priority

    def _agreement(
        self, attribution: Attribution, reference: FloatArray
    ) -> Iterator[tuple[str, float]]:
        priority = self._priority(attribution)
        ranking = self._ranking(priority)
        yield "top1_hit", faithfulness.top1_hit(ranking, reference)
        yield "spearman", faithfulness.spearman(priority, reference)
        yield "kendall", faithfulness.kendall(priority, reference)
        yield "pearson", faithfulness.pearson(attribution.scores, reference)
        for k in self.ks:
            yield f"ndcg@{k}", faithfulness.ndcg_at_k(ranking, reference, k)
            mass = faithfulness.positive_mass_recovered_at_k(ranking, reference, k)
            yield f"positive_mass@{k}", mass

    def _plausibility(
        self, attribution: Attribution, gold: BoolArray
    ) -> Iterator[tuple[str, float]]:
        priority = self._priority(attribution)
        ranking = self._ranking(priority)
        ap = faithfulness.expected_average_precision(ranking, gold)
        yield "gold_average_precision", ap
        yield "gold_precision@1", faithfulness.precision_at_k(ranking, gold, 1)
        yield "gold_auroc", faithfulness.auroc(priority, gold)
