"""Average precision under other settings of the faithfulness protocol, from stored scores alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attribot.errors import RecordsError
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.evaluation.outliers import configured_rule, is_outlier
from attribot.records import Records
from attribot.report.paired import configurations
from attribot.types import Attribution, BoolArray, Cost, FloatArray
from experiments.recorded_scores import RecordedScores, compared_examples, recorded_scores

HEADLINE = "headline"
KNOBS = ("outlier_rule", "ties", "pruned", "no_outliers")


def rebuilt(recorded: RecordedScores, screened: FloatArray | None = None) -> Attribution:
    """The attribution as far as records hold it: its final scores, then how it ranks the rest.

    screened: `[num_sources]` stands for the screens' scores; by default the recorded priority,
        which orders pruned sources as all screens together did.
    """
    earlier = recorded.priority if screened is None else screened
    stages = [recorded.scores, np.where(recorded.is_pruned, earlier, np.nan)]
    return Attribution(np.stack(stages), Cost())


@dataclass(frozen=True)
class RebuiltPrecision:
    """Average precision of one method on one example.

    low, high: equal where records determine it; else bounds between which it lies.
    """

    low: float
    high: float


def rebuilt_precision(
    recorded: RecordedScores, reference: FloatArray, evaluation: FaithfulnessEvaluation
) -> RebuiltPrecision:
    """What the evaluation would have given for the method's attribution.

    Two-sided rules rank by the magnitude of scores, and records do not hold the screens' scores, so
    the order of pruned sources is open where outliers are among them.
    """
    outliers = is_outlier(reference, evaluation.outlier_rule)
    if not _needs_screen_scores(recorded, outliers, evaluation):
        value = evaluation.average_precision(rebuilt(recorded), reference)
        return RebuiltPrecision(value, value)
    worst, best = (
        evaluation.average_precision(rebuilt(recorded, screened), reference)
        for screened in (np.where(outliers, 1.0, 2.0), np.where(outliers, 2.0, 1.0))
    )
    return RebuiltPrecision(worst, best)


def _needs_screen_scores(
    recorded: RecordedScores, outliers: BoolArray, evaluation: FaithfulnessEvaluation
) -> bool:
    """Whether the average precision depends on the magnitude of the screens' scores."""
    if not evaluation.outlier_rule.two_sided or evaluation.pruned == "tied":
        return False
    among_pruned = outliers[recorded.is_pruned]
    # Sources that the screens tied have equal magnitudes, too.
    is_ordered = len(np.unique(recorded.priority[recorded.is_pruned])) > 1
    return bool(is_ordered and among_pruned.any() and not among_pruned.all())


def configured_evaluation(records: Records) -> FaithfulnessEvaluation:
    """The protocol that the runs were configured with; the default where they do not say.

    Raises:
        RecordsError: the runs differ in their protocol.
        InvalidInputError: their outlier rule is unknown.
    """
    settings = [of.get("evaluation") for of in configurations(records.manifest)]
    chosen = [
        FaithfulnessEvaluation()
        if of is None
        else FaithfulnessEvaluation(
            outlier_rule=configured_rule(of["outlier_rule"]),
            **{knob: of[knob] for knob in KNOBS if knob != "outlier_rule"},
        )
        for of in settings
    ]
    if any(other != chosen[0] for other in chosen):
        raise RecordsError("the runs differ in their evaluation: give those of one protocol")
    return chosen[0]


@dataclass(frozen=True, eq=False)
class Precisions:
    """Average precision of one method under one alternative.

    low, high: `[num_examples]` see `RebuiltPrecision`; NaN where there is none.
    """

    low: FloatArray
    high: FloatArray

    @property
    def num_undetermined(self) -> int:
        return int((~np.isnan(self.low) & (self.low != self.high)).sum())

    def of(self, is_own: BoolArray) -> Precisions:
        """Of some of the examples `[num_examples]`."""
        return Precisions(self.low[is_own], self.high[is_own])


Table = Mapping[str, Mapping[str, Precisions]]


def precisions(records: Records) -> Table:
    """By alternative of the protocol, then by method, over all examples of the records.

    Raises:
        RecordsError: the headline's are not those that the records hold as `average_precision`.
    """
    found = recorded_scores(records)
    reference = found[records.manifest.reference]
    places = {name: place for place, name in enumerate(records.examples["example_id"])}
    table: dict[str, dict[str, Precisions]] = {}
    for alternative, evaluation in configured_evaluation(records).alternatives():
        table[alternative] = {}
        for method in (name for name in found if name != records.manifest.reference):
            compared = compared_examples(records.examples, reference, found[method])
            values = np.full((2, len(places)), np.nan)
            for example_id, (of, by) in zip(compared.example_ids, compared, strict=True):
                precision = rebuilt_precision(by, of.scores, evaluation)
                values[:, places[example_id]] = precision.low, precision.high
            table[alternative][method] = Precisions(*values)
    _check_headline(records, table[HEADLINE])
    return table


def _check_headline(records: Records, headline: Mapping[str, Precisions]) -> None:
    rows = records.metrics[records.metrics["metric"] == "average_precision"]
    stored = rows.pivot(index="example_id", columns="method", values="value")
    stored = stored.reindex(index=records.examples["example_id"], columns=list(headline))
    for method, values in headline.items():
        is_same = np.allclose(values.low, stored[method], rtol=0, atol=1e-9, equal_nan=True)
        if not values.num_undetermined and not is_same:
            raise RecordsError(
                f"the average precision of {method} that its stored scores give is not the one "
                "that was recorded: the run used another protocol than its configuration says, or "
                "its records are damaged"
            )
