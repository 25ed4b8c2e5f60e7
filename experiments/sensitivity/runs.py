"""What the choices of the protocol that need runs of their own do to scores and mAP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attribot.errors import RecordsError
from attribot.evaluation.faithfulness import spearman
from attribot.manifest import Manifest
from attribot.records import Records
from attribot.report.merging import merge_records
from attribot.report.paired import parts
from attribot.types import BoolArray, FloatArray, IntArray
from experiments.recorded_scores import (
    ByExample,
    interval_columns,
    mean_over_questions,
    recorded_scores,
    scored_examples,
)
from experiments.sensitivity.knobs import BothValues, order_agreement, without_outliers
from experiments.sensitivity.rebuilt import HEADLINE, configured_evaluation

# Keys of a run's configuration, with the headline's values; older runs lack some of them.
CHOICES: Mapping[str, object] = {
    "score_end_token": True,
    "generation.temperature": 0.0,
    "compat.double_bos": False,
    "compat.qasper_paragraph_leaves": False,
}
# Runs must agree in these parts of their manifests to be compared; the text names their commits.
COMPARED_PARTS = ("methods", "models", "reference", "naive", "seed")


def variant_of(manifest: Manifest) -> str:
    """The choices in which a run differs from the headline, as `key=value`; else "headline"."""
    changed = [
        f"{key}={str(value).lower()}"
        for key, default in CHOICES.items()
        if (value := _setting(manifest.config, key, default)) != default
    ]
    return ", ".join(changed) or HEADLINE


def _setting(config: Mapping[str, Any], dotted: str, default: object) -> object:
    node: Any = config
    for key in dotted.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return default
        node = node[key]
    return node


def by_variant(runs: Sequence[Records]) -> dict[str, Records]:
    """Records by variant, the headline's first; runs of one variant are merged.

    Raises:
        RecordsError: none is of the headline, or two differ in more than the protocol.
    """
    groups: dict[str, list[Records]] = {HEADLINE: []}
    for run in runs:
        groups.setdefault(variant_of(run.manifest), []).append(run)
    if not groups[HEADLINE]:
        raise RecordsError(
            f"no run is of the headline's protocol, which all others are compared with; got "
            f"{', '.join(name for name in groups if name != HEADLINE) or 'no run'}"
        )
    variants = {name: scored_examples(merge_records(group)) for name, group in groups.items()}
    headline = variants[HEADLINE]
    for name, records in variants.items():
        for part in COMPARED_PARTS:
            if getattr(records.manifest, part) != getattr(headline.manifest, part):
                raise RecordsError(
                    f"the runs with {name} and the headline's differ in {part}: compare runs that "
                    "differ in the protocol alone"
                )
        if configured_evaluation(records) != configured_evaluation(headline):
            raise RecordsError(
                f"the runs with {name} and the headline's differ in their evaluation: compare runs "
                "that are evaluated alike"
            )
    return variants


@dataclass(frozen=True, eq=False)
class SharedExamples:
    """Examples of a variant and a data set that the headline's runs hold, too.

    questions: `[num_examples]` number of the question that each asks.
    is_same: `[num_examples]` True where response and sources are the headline's, too.
    without_outliers: `[num_examples]` True where the variant's reference scores have none.
    """

    variant: str
    dataset: str
    example_ids: tuple[str, ...]
    questions: IntArray
    is_same: BoolArray
    without_outliers: BoolArray


def shared_examples(variants: Mapping[str, Records]) -> Iterator[SharedExamples]:
    """Of every variant and data set."""
    headline = variants[HEADLINE]
    for variant, records in variants.items():
        is_same = _same_problems(headline, records)
        rule = configured_evaluation(records).outlier_rule
        is_empty = dict(
            zip(records.examples["example_id"], without_outliers(records, rule), strict=True)
        )
        for dataset, part in parts(records):
            examples = part.examples[part.examples["example_id"].isin(is_same)]
            names = tuple(examples["example_id"])
            if names:
                yield SharedExamples(
                    variant,
                    dataset,
                    names,
                    pd.factorize(examples["query"])[0].astype(np.int64),
                    np.array([is_same[name] for name in names]),
                    np.array([is_empty[name] for name in names]),
                )


def _same_problems(headline: Records, records: Records) -> dict[str, bool]:
    """By shared example id, whether response and sources are equal; end tokens are no text."""
    texts = [of.examples.set_index("example_id")["response"] for of in (headline, records)]
    spans = [
        {name: by.spans for name, by in recorded_scores(of)[of.manifest.reference].items()}
        for of in (headline, records)
    ]
    contexts = [of.examples.set_index("example_id")["context"] for of in (headline, records)]
    return {
        name: texts[0][name] == texts[1][name]
        and contexts[0][name] == contexts[1][name]
        and np.array_equal(spans[0][name], spans[1][name])
        for name in spans[1]
        if name in spans[0]
    }


def variant_table(variants: Mapping[str, Records]) -> pd.DataFrame:
    """A row per variant, data set and method, over the examples that the headline's runs hold, too.

    Columns:
        variant, dataset, method, label, kind, num_examples;
        average_precision: the mAP, NaN for the reference, which has none;
        difference: of the mAP to the headline's, paired;
        agreement: Spearman of the method's ranking with its own under the headline, mean over the
            examples of equal response and sources. All with 95% bootstrap intervals over questions
            (_low, _high) and the examples that they are over (_count).
    """
    rankings = {variant: recorded_scores(records) for variant, records in variants.items()}
    precisions = {variant: _precisions(records) for variant, records in variants.items()}
    rows: list[dict[str, object]] = []
    for shared in shared_examples(variants):
        names, questions = list(shared.example_ids), shared.questions
        own, other = (precisions[of].reindex(names) for of in (shared.variant, HEADLINE))
        for method, info in variants[HEADLINE].manifest.methods.items():
            values = {
                "average_precision": own[method].to_numpy(),
                "difference": (own[method] - other[method]).to_numpy(),
                "agreement": _agreements(
                    rankings[HEADLINE].get(method, {}),
                    rankings[shared.variant].get(method, {}),
                    shared,
                ),
            }
            row: dict[str, object] = {
                "variant": shared.variant,
                "dataset": shared.dataset,
                "method": method,
                "label": info.label,
                "kind": info.kind,
                "num_examples": len(names),
            }
            for name, of_examples in values.items():
                row |= interval_columns(name, mean_over_questions(of_examples, questions))
            rows.append(row)
    return pd.DataFrame(rows)


def variant_order_table(variants: Mapping[str, Records]) -> pd.DataFrame:
    """A row per variant and data set: does the order of the methods change?

    Exact methods are left out, being first by definition.

    Columns:
        variant, dataset, num_examples;
        num_same: examples with the response and the sources that they have under the headline;
        without_outliers: share of the examples whose reference scores have no outlier;
        and those of `order_agreement`.
    """
    precisions = {variant: _precisions(records) for variant, records in variants.items()}
    infos = variants[HEADLINE].manifest.methods
    rows: list[dict[str, object]] = []
    for shared in shared_examples(variants):
        names = list(shared.example_ids)
        own, other = (precisions[of].reindex(names) for of in (shared.variant, HEADLINE))
        values: dict[str, BothValues] = {
            method: (other[method].to_numpy(), own[method].to_numpy())
            for method, info in infos.items()
            if info.kind != "exact"
        }
        rows.append(
            {
                "variant": shared.variant,
                "dataset": shared.dataset,
                "num_examples": len(names),
                "num_same": int(shared.is_same.sum()),
                "without_outliers": float(shared.without_outliers.mean()),
                **order_agreement(values, shared.questions),
            }
        )
    return pd.DataFrame(rows)


def _precisions(records: Records) -> pd.DataFrame:
    """Recorded average precision, a row per example and a column per method; NaN = undefined."""
    rows = records.metrics[records.metrics["metric"] == "average_precision"]
    table = rows.pivot(index="example_id", columns="method", values="value")
    return table.reindex(columns=list(records.manifest.methods)).astype(np.float64)


def _agreements(headline: ByExample, own: ByExample, shared: SharedExamples) -> FloatArray:
    """`[num_examples]` Spearman of the two rankings; NaN where the problems differ."""
    return np.array(
        [
            spearman(headline[name].priority, own[name].priority)
            if is_same and name in headline and name in own
            else float("nan")
            for name, is_same in zip(shared.example_ids, shared.is_same, strict=True)
        ]
    )
