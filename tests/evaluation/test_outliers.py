"""Outlier rules against hand-worked cases, a published example and scikit-posthocs."""

import numpy as np
import pytest
from scikit_posthocs import outliers_gesd

from attribot.errors import InvalidInputError
from attribot.evaluation.outliers import (
    PROTOCOL_RULES,
    GeneralizedESD,
    InterquartileRange,
    MeanPlusDeviations,
    MedianAbsoluteDeviation,
    OutlierRule,
    TopScores,
    configured_rule,
    is_outlier,
)

# Rosner 1983, Technometrics 25(2), example; also in the NIST handbook, section 1.3.5.17.3.
# fmt: off
ROSNER = np.array([
    -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65,
    1.69, 1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24,
    2.26, 2.35, 2.37, 2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59,
    3.68, 4.30, 4.64, 5.34, 5.42, 6.01,
])
# fmt: on


def flagged(scores: list[float], rule: OutlierRule) -> list[int]:
    return np.flatnonzero(is_outlier(np.array(scores), rule)).tolist()


def test_esd_on_rosners_example_finds_the_three_published_outliers():
    # R_1 and R_2 stay below their critical values, R_3 exceeds its: masking.
    flags = is_outlier(ROSNER, GeneralizedESD(two_sided=True))
    np.testing.assert_array_equal(ROSNER[flags], [5.34, 5.42, 6.01])


def test_esd_critical_values_are_the_published_ones():
    rule = GeneralizedESD(two_sided=True)
    critical = [round(rule.critical_value(54, i), 3) for i in range(1, 11)]
    published = [3.158, 3.151, 3.143, 3.136, 3.128, 3.120, 3.111, 3.103, 3.094, 3.085]
    np.testing.assert_allclose(critical, published, atol=0.0011)


@pytest.mark.parametrize("num_scores", [5, 11, 23, 61])
def test_two_sided_esd_equals_scikit_posthocs(num_scores):
    rng = np.random.default_rng(num_scores)
    counts = set()
    for _ in range(60):
        scores = rng.standard_t(2, num_scores)
        limit = min(max(1, num_scores // 5), 10)
        flags = is_outlier(scores, GeneralizedESD(two_sided=True))
        np.testing.assert_array_equal(flags, outliers_gesd(scores, outliers=limit, hypo=True))
        counts.add(int(flags.sum()))
    assert len(counts) > 1


@pytest.mark.parametrize("num_scores", [11, 23])
def test_upper_tail_esd_equals_scikit_posthocs_at_twice_alpha_where_the_upper_tail_is_longer(
    num_scores,
):
    # Skewed to the right, the furthest score is always above the mean: both tests then remove
    # the same scores, and an upper tail of alpha is a two-sided test at 2 alpha.
    rng = np.random.default_rng(num_scores)
    num_compared = 0
    for _ in range(60):
        scores = np.exp(rng.normal(size=num_scores))
        limit = min(max(1, num_scores // 5), 10)
        oracle = outliers_gesd(scores, outliers=limit, hypo=True, alpha=0.1)
        if (scores[oracle] > np.median(scores)).all():
            np.testing.assert_array_equal(is_outlier(scores, GeneralizedESD()), oracle)
            num_compared += bool(oracle.any())
    assert num_compared > 15


def test_upper_tail_esd_ignores_low_scores_that_the_two_sided_test_finds():
    scores = [0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1, -9.0]
    assert flagged(scores, GeneralizedESD()) == []
    assert flagged(scores, GeneralizedESD(two_sided=True)) == [10]


def test_esd_finds_at_most_a_fifth_and_at_least_one_and_at_most_max_count():
    rng = np.random.default_rng(3)
    noise = rng.normal(scale=0.01, size=90)

    def num_found(num_noise, num_high, rule):
        scores = np.concatenate([noise[:num_noise], 100.0 + np.arange(num_high)])
        return int(is_outlier(scores, rule).sum())

    assert num_found(12, 2, GeneralizedESD()) == 2
    assert num_found(9, 2, GeneralizedESD(max_share=0.1)) <= 1
    assert num_found(3, 1, GeneralizedESD()) == 1
    assert num_found(90, 12, GeneralizedESD(max_count=12)) == 12
    assert num_found(90, 10, GeneralizedESD()) == 10
    assert num_found(90, 10, GeneralizedESD(max_count=9)) <= 9


def test_mean_plus_deviations_by_hand():
    # mean 2, sample sd sqrt((5 * 4 + 100) / 5) = sqrt(24) = 4.90; 12 is 10 / 4.90 = 2.04 sd above
    scores = [0.0, 0.0, 12.0, 0.0, 0.0, 0.0]
    assert flagged(scores, MeanPlusDeviations(2.0)) == [2]
    assert flagged(scores, MeanPlusDeviations(2.1)) == []
    assert flagged([-x for x in scores], MeanPlusDeviations(2.0)) == []
    assert flagged([-x for x in scores], MeanPlusDeviations(2.0, two_sided=True)) == [2]


def test_median_absolute_deviation_by_hand():
    # median 3.5, |x - 3.5| = 2.5 1.5 0.5 0.5 1.5 6.5, MAD 1.5; z of 10 is 0.6745 * 6.5 / 1.5 = 2.92
    scores = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0]
    assert flagged(scores, MedianAbsoluteDeviation(2.9)) == [5]
    assert flagged(scores, MedianAbsoluteDeviation(2.95)) == []
    assert flagged([1.0, 1.0, 1.0, 1.1, 0.9], MedianAbsoluteDeviation()) == [3]
    both = MedianAbsoluteDeviation(two_sided=True)
    assert flagged([1.0, 1.0, 1.0, 1.1, 0.9], both) == [3, 4]


def test_interquartile_range_by_hand():
    # Q1 2, Q3 4, fences -1 and 7
    assert flagged([1.0, 2.0, 3.0, 4.0, 7.0], InterquartileRange()) == []
    assert flagged([1.0, 2.0, 3.0, 4.0, 7.1], InterquartileRange()) == [4]
    assert flagged([-1.1, 2.0, 3.0, 4.0, 4.0], InterquartileRange()) == []
    assert flagged([-1.1, 2.0, 3.0, 4.0, 4.0], InterquartileRange(two_sided=True)) == [0]


def test_top_scores_takes_exactly_k_of_equal_scores_and_only_positive_ones():
    assert flagged([2.0, 5.0, 2.0, 2.0], TopScores(2)) == [0, 1]
    assert flagged([-1.0, 5.0, 0.0], TopScores(2)) == [1]
    assert flagged([-7.0, 5.0, 0.0], TopScores(2, two_sided=True)) == [0, 1]
    assert flagged([1.0, 2.0], TopScores(3)) == [0, 1]


@pytest.mark.parametrize("rule", PROTOCOL_RULES.values(), ids=PROTOCOL_RULES.keys())
class TestEveryRule:
    def test_no_outliers_among_scores_that_are_not_positive(self, rule):
        assert flagged([-50.0] * 11 + [-1.0, 0.0], rule) == []

    def test_moving_sources_moves_their_flags(self, rule):
        scores = np.random.default_rng(5).standard_t(2, 19)
        order = np.random.default_rng(6).permutation(19)
        expected = is_outlier(scores, rule)[order]
        np.testing.assert_array_equal(is_outlier(scores[order], rule), expected)

    def test_nan_scores_are_refused(self, rule):
        with pytest.raises(InvalidInputError, match="1 values that are NaN or infinite"):
            is_outlier(np.array([1.0, np.nan, 2.0]), rule)


@pytest.mark.parametrize(
    "rule", [r for r in PROTOCOL_RULES.values() if not isinstance(r, TopScores)], ids=repr
)
@pytest.mark.parametrize("scores", [[], [3.0], [0.0, 9.0], [0.1] * 13], ids=len)
def test_few_or_constant_scores_have_no_outliers(rule, scores):
    assert flagged(scores, rule) == []


def test_bad_settings_are_refused():
    with pytest.raises(InvalidInputError, match="0 < alpha < 1"):
        GeneralizedESD(alpha=5)
    with pytest.raises(InvalidInputError, match="k >= 1, got 0"):
        TopScores(0)
    with pytest.raises(InvalidInputError, match="shape"):
        is_outlier(np.zeros((2, 3)), TopScores(1))


def test_a_rule_is_rebuilt_from_its_configuration():
    config = {
        "_target_": "attribot.evaluation.outliers.GeneralizedESD",
        "alpha": 0.1,
        "two_sided": True,
    }
    assert configured_rule(config) == GeneralizedESD(alpha=0.1, two_sided=True)
    with pytest.raises(
        InvalidInputError, match=r"unknown outlier rule 'mine.Rule'; known: \['attr"
    ):
        configured_rule({"_target_": "mine.Rule"})
    with pytest.raises(InvalidInputError, match=r"TopScores does not take the settings \{'n': 3\}"):
        configured_rule({"_target_": "attribot.evaluation.outliers.TopScores", "n": 3})
