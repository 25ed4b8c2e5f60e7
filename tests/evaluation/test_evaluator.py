"""The protocol as a whole: identities, one knob at a time, and the configurations."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from attribot.errors import InvalidInputError
from attribot.evaluation.ablation_curves import TopAblations
from attribot.evaluation.evaluator import (
    METRIC_DIRECTIONS,
    FaithfulnessEvaluation,
    metric_direction,
)
from attribot.evaluation.outliers import GeneralizedESD, MeanPlusDeviations, TopScores
from attribot.types import Attribution, Cost

NAN = float("nan")
CONF = Path(__file__).resolve().parents[2] / "conf"
# Two clear outliers (sources 2 and 7) among eleven sources.
REFERENCE = np.array([0.1, -0.2, 9.0, 0.3, 0.0, 0.2, -0.1, 8.0, 0.15, 0.05, -0.3])
GOLD = np.isin(np.arange(11), [2, 3])
TOP_2 = FaithfulnessEvaluation(outlier_rule=TopScores(2))


def attribution(*stages) -> Attribution:
    return Attribution(np.array(stages, dtype=float), Cost())


def test_the_reference_agrees_with_itself_perfectly():
    values = dict(FaithfulnessEvaluation().evaluate(attribution(REFERENCE), REFERENCE, GOLD))
    expected = {
        "average_precision": 1.0,
        "has_outliers": 1.0,
        "recall@1": 1 / 2,
        "precision@1": 1.0,
        "recall@3": 1.0,
        "precision@3": 2 / 3,
        "recall@5": 1.0,
        "precision@5": 2 / 5,
        "top1_hit": 1.0,
        "spearman": 1.0,
        "kendall": 1.0,
        "pearson": 1.0,
        "ndcg@1": 1.0,
        "positive_mass@1": 9 / 17.8,
        "ndcg@3": 1.0,
        "positive_mass@3": 17.3 / 17.8,
        "ndcg@5": 1.0,
        "positive_mass@5": 17.65 / 17.8,
        # gold sources 2 and 3 rank 1st and 3rd; 3 is outranked by 7 alone of 9 others
        "gold_average_precision": (1 + 2 / 3) / 2,
        "gold_precision@1": 1.0,
        "gold_auroc": 17 / 18,
    }
    assert list(values) == list(expected)
    np.testing.assert_allclose(list(values.values()), list(expected.values()))


def test_without_gold_there_are_no_gold_metrics():
    names = [n for n, _ in FaithfulnessEvaluation().evaluate(attribution(REFERENCE), REFERENCE)]
    assert names
    assert not [name for name in names if name.startswith("gold")]


def test_no_outliers_are_left_out_or_bounded():
    flat = np.zeros(11)
    assert np.isnan(dict(TOP_2.evaluate(attribution(REFERENCE), flat))["average_precision"])
    for choice, expected in (("leave_out", NAN), ("one", 1.0), ("zero", 0.0)):
        values = dict(replace(TOP_2, no_outliers=choice).evaluate(attribution(REFERENCE), flat))
        np.testing.assert_equal(values["average_precision"], expected)
        assert values["has_outliers"] == 0.0
        assert np.isnan(values["recall@1"])
        assert np.isnan(values["precision@1"])


def test_pruned_sources_rank_last_by_the_screen_or_tied():
    # final stage: sources 0, 1; screen: 3 before 2. Outliers: 0 and 3.
    reference = np.array([5.0, 0.1, 0.2, 4.0])
    two_stage = attribution([1.0, -1.0, NAN, NAN], [9.0, 9.0, 2.0, 3.0])
    # by the screen: ranks 0, 1, 3, 2 -> (1 + 2/3) / 2
    assert TOP_2.average_precision(two_stage, reference) == pytest.approx(5 / 6)
    # tied: source 3 is third or fourth -> (1 + (2/3 + 2/4) / 2) / 2
    tied = replace(TOP_2, pruned="tied")
    assert tied.average_precision(two_stage, reference) == pytest.approx((1 + 7 / 12) / 2)
    # tied, in document order: source 3 is fourth
    in_order = replace(tied, ties="document_order")
    assert in_order.average_precision(two_stage, reference) == pytest.approx(0.75)
    # Pearson takes final scores, pruned = 0
    pearson = dict(TOP_2.evaluate(two_stage, reference))["pearson"]
    assert pearson == pytest.approx(np.corrcoef([1, -1, 0, 0], reference)[0, 1])


def test_document_order_changes_ranked_metrics_but_no_correlation():
    constant = attribution([0.0] * 10 + [1.0])
    expected = dict(TOP_2.evaluate(constant, REFERENCE, GOLD))
    in_order = dict(replace(TOP_2, ties="document_order").evaluate(constant, REFERENCE, GOLD))
    changed = {name for name in expected if expected[name] != in_order[name]}
    assert {"average_precision", "recall@3", "ndcg@3", "positive_mass@3"} <= changed
    assert "gold_average_precision" in changed
    assert not changed & {"spearman", "kendall", "pearson", "gold_auroc", "has_outliers"}


def test_two_sided_rules_rank_by_magnitude():
    reference = np.array([0.1, -6.0, 0.2, 7.0, 0.0])
    two_sided = FaithfulnessEvaluation(outlier_rule=TopScores(2, two_sided=True))
    assert two_sided.average_precision(attribution(reference), reference) == 1.0
    # the signed ranking would put source 1 last: (1 + 2/5) / 2
    values = dict(two_sided.evaluate(attribution(reference), reference))
    assert values["recall@3"] == 1.0
    assert values["spearman"] == pytest.approx(1.0)


def test_sensitivity_turns_one_knob_at_a_time():
    evaluation = FaithfulnessEvaluation()
    names = [name for name, _ in evaluation.sensitivity(attribution(REFERENCE), REFERENCE)]
    assert names == [
        "headline",
        "outlier_rule/mean_plus_2sd",
        "outlier_rule/mean_plus_3sd",
        "outlier_rule/mad_z_3.5",
        "outlier_rule/q3_plus_1.5iqr",
        "outlier_rule/top_1",
        "outlier_rule/top_3",
        "sign/two_sided",
        "no_outliers/one",
        "no_outliers/zero",
        "ties/document_order",
        "pruned/tied",
    ]
    other = FaithfulnessEvaluation(outlier_rule=MeanPlusDeviations(2.0), ties="document_order")
    assert {"outlier_rule/generalized_esd", "ties/expected"} <= dict(other.alternatives()).keys()


def test_sensitivity_values_by_hand():
    # ranks of sources by this method: 7, 3, 2, then the rest
    scores = np.zeros(11)
    scores[[7, 3, 2]] = [3.0, 2.0, 1.0]
    values = dict(FaithfulnessEvaluation().sensitivity(attribution(scores), REFERENCE))
    assert values["headline"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["outlier_rule/top_1"] == pytest.approx(1 / 3)
    assert values["outlier_rule/top_3"] == 1.0  # sources 2, 7 and 3
    assert np.isnan(values["outlier_rule/mean_plus_3sd"])  # two of eleven cannot reach 3 sd


def test_every_metric_has_a_direction():
    for name, _ in FaithfulnessEvaluation().evaluate(attribution(REFERENCE), REFERENCE, GOLD):
        assert metric_direction(name) == (None if name == "has_outliers" else "higher")
    assert metric_direction("log_prob_drop@3") == "higher"
    assert metric_direction("log_prob_hold@3") == "lower"
    assert metric_direction("insertion_auc") == "higher"
    assert metric_direction("deletion_auc") == "lower"
    assert metric_direction("top_overlap@3") == "higher"
    assert metric_direction("wall_seconds") == "lower"
    with pytest.raises(InvalidInputError, match=r"unknown metric 'F1'; known: \['average_prec"):
        metric_direction("F1")
    assert set(METRIC_DIRECTIONS.values()) == {"higher", "lower", None}


def test_bad_settings_and_inputs_are_refused():
    with pytest.raises(InvalidInputError, match=r"ties must be one of \('expected'"):
        FaithfulnessEvaluation(ties="random")
    with pytest.raises(InvalidInputError, match="no_outliers must be one of"):
        FaithfulnessEvaluation(no_outliers="drop")
    with pytest.raises(InvalidInputError, match="at least 1; got"):
        FaithfulnessEvaluation(ks=(0,))
    with pytest.raises(InvalidInputError, match=r"log_prob_hold_ks must be at least 1; got .*0,"):
        FaithfulnessEvaluation(log_prob_hold_ks=(0,))
    with pytest.raises(InvalidInputError, match=r"num_curve_points must be 0 .* got -1"):
        FaithfulnessEvaluation(num_curve_points=-1)
    with pytest.raises(InvalidInputError, match="num_lds_ablations must be 0"):
        FaithfulnessEvaluation(num_lds_ablations=1)
    with pytest.raises(InvalidInputError, match="shapes"):
        list(FaithfulnessEvaluation().evaluate(attribution(REFERENCE[:7]), REFERENCE))
    with pytest.raises(InvalidInputError, match="NaN or infinite"):
        list(FaithfulnessEvaluation().evaluate(attribution(REFERENCE), REFERENCE * NAN))


def test_cut_offs_beyond_the_sources_are_not_asked_for():
    evaluation = FaithfulnessEvaluation(
        log_prob_drop_ks=[1, 5], log_prob_hold_ks=[2, 4], num_curve_points=3
    )
    assert hash(evaluation)
    assert evaluation.top_ablations(4) == TopAblations(4, (1,), (2, 4), 3)
    assert FaithfulnessEvaluation().top_ablations(2) == TopAblations(2, (1,))


def configured(name: str) -> FaithfulnessEvaluation:
    with initialize_config_dir(str(CONF / "evaluation"), version_base="1.3"):
        return instantiate(compose(name))


def test_the_configurations_are_the_documented_settings():
    assert configured("paper") == FaithfulnessEvaluation(outlier_rule=GeneralizedESD())
    assert configured("fast") == FaithfulnessEvaluation(num_lds_ablations=0, log_prob_drop_ks=())
    assert configured("full") == FaithfulnessEvaluation(
        log_prob_drop_ks=(1, 3, 5), log_prob_hold_ks=(1, 3, 5), num_curve_points=6
    )
    assert hash(configured("paper")) == hash(FaithfulnessEvaluation())


@pytest.mark.slow
def test_evaluation_does_not_import_torch():
    modules = (
        "ablation_curves, comparison, efficiency, evaluator, faithfulness, outliers, stability, "
        "statistics"
    )
    code = (
        f"import sys; from attribot.evaluation import {modules}; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
