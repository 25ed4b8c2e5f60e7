"""Intervals and tests against scipy, exact enumeration and hand-worked cases."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from attribot.errors import InvalidInputError
from attribot.evaluation.statistics import (
    Interval,
    group_sums,
    grouped_mean_intervals,
    holm_adjust,
    mean_interval,
    paired_difference_interval,
    ratio_interval,
    sign_flip_p_value,
    sign_flip_p_values,
)

NAN = float("nan")


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_mean_interval_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).exponential(size=53)
    ours = mean_interval(values, num_resamples=20_000)
    scipys = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert (ours.mean, ours.count, ours.num_missing) == (pytest.approx(values.mean()), 53, 0)
    standard_error = values.std() / np.sqrt(53)
    np.testing.assert_allclose(ends(ours), (scipys.low, scipys.high), atol=0.1 * standard_error)


def test_missing_values_are_left_out_and_counted():
    ours = mean_interval([1.0, NAN, 3.0, NAN, NAN, 2.0])
    complete = mean_interval([1.0, 3.0, 2.0])
    assert ours == Interval(complete.mean, complete.low, complete.high, 3, 3)
    assert ours.mean == 2.0


def test_no_interval_without_two_values():
    np.testing.assert_equal(astuple(mean_interval([NAN, NAN])), (NAN, NAN, NAN, 0, 2))
    np.testing.assert_equal(astuple(mean_interval([])), (NAN, NAN, NAN, 0, 0))
    np.testing.assert_equal(astuple(mean_interval([4.0, NAN])), (4.0, NAN, NAN, 1, 1))
    assert mean_interval([4.0, 4.0]) == Interval(4.0, 4.0, 4.0, 2, 0)


def test_wider_confidence_gives_a_wider_interval_and_the_seed_repeats():
    values = np.random.default_rng(2).normal(size=31)
    narrow, wide = mean_interval(values, confidence=0.5), mean_interval(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7) != mean_interval(values, seed=8)


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(3)
    easy = rng.normal(scale=10, size=41)
    first, second = easy + 1, easy + rng.normal(scale=0.1, size=41)
    first[5] = NAN
    difference = paired_difference_interval(first, second)
    assert (difference.count, difference.num_missing) == (40, 1)
    assert difference.mean == pytest.approx(np.nanmean(first - second))
    assert difference.high - difference.low < 0.1
    assert mean_interval(first).high - mean_interval(first).low > 4


def test_ratio_of_sums_with_paired_resamples():
    ours = ratio_interval([8.0, NAN, 4.0, 1.0], [4.0, 1.0, 2.0, NAN])
    # each example has the ratio 2, so every paired resample has it too
    assert ours == Interval(2.0, 2.0, 2.0, 2, 2)
    assert ratio_interval([9.0, 1.0], [1.0, 1.0]).mean == 5.0
    np.testing.assert_equal(astuple(ratio_interval([NAN], [1.0])), (NAN, NAN, NAN, 0, 1))
    # resamples of ([9, 1], [1, 1]): 9, 5, 5 or 1
    assert ends(ratio_interval([9.0, 1.0], [1.0, 1.0])) == (1.0, 9.0)


def test_sign_flip_by_hand():
    # differences 1, 2, 4: only +++ and --- reach |7| of the 8 patterns
    assert sign_flip_p_value([1.0, 2.0, 4.0, NAN], [0.0, 0.0, 0.0, 1.0]) == 2 / 8
    # differences 3, -1: sums 2, -2 and 4, -4 all reach |2|
    assert sign_flip_p_value([3.0, 0.0], [0.0, 1.0]) == 1.0
    assert sign_flip_p_value([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert np.isnan(sign_flip_p_value([NAN], [1.0]))


def test_random_sign_flips_agree_with_scipys_permutation_test():
    rng = np.random.default_rng(4)
    first = rng.normal(loc=0.4, size=23)
    second = np.zeros(23)
    scipys = stats.permutation_test(
        (first, second),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=10_000,
        rng=5,
    ).pvalue
    assert 0.01 < scipys < 0.5
    assert sign_flip_p_value(first, second) == pytest.approx(scipys, abs=0.02)
    # an effect beyond every random pattern: the least p value there is
    assert sign_flip_p_value(second + 1, second, num_resamples=99) == 1 / 100


def test_holm_by_hand():
    # sorted .01 .03 .04, times 3 2 1 = .03 .06 .04, running maximum .03 .06 .06
    np.testing.assert_allclose(holm_adjust([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm_adjust([0.6, 0.5]), [1.0, 1.0])
    assert holm_adjust([]).shape == (0,)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="1 infinite values"):
        mean_interval([1.0, np.inf])
    with pytest.raises(InvalidInputError, match=r"shape \(1, 2\)"):
        mean_interval([[1.0, 2.0]])
    with pytest.raises(InvalidInputError, match="align them by example id"):
        paired_difference_interval([1.0], [1.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"the smallest is 0\.0"):
        ratio_interval([1.0, 1.0], [2.0, 0.0])
    with pytest.raises(InvalidInputError, match="confidence"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(InvalidInputError, match="num_resamples"):
        mean_interval([1.0, 2.0], num_resamples=0)
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        holm_adjust([0.1, NAN])


def test_groups_of_one_are_examples():
    values = np.random.default_rng(6).normal(size=(19, 2))
    first, second = grouped_mean_intervals(values, np.arange(19)[::-1])
    np.testing.assert_allclose(astuple(first), astuple(mean_interval(values[:, 0])))
    np.testing.assert_allclose(astuple(second), astuple(mean_interval(values[:, 1])))


def test_groups_are_resampled_as_ratios_of_their_sums_and_sizes():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    (mean,) = grouped_mean_intervals(values[:, None], np.array([7, 3, 7, 7, 5]))
    expected = ratio_interval([13.0, 2.0, 16.0], [3.0, 1.0, 1.0])
    np.testing.assert_allclose(astuple(mean), astuple(expected))
    assert mean.mean == pytest.approx(values.mean())
    sums, sizes = group_sums(values[:, None], np.array([7, 3, 7, 7, 5]))
    assert (sums.ravel().tolist(), sizes.tolist()) == ([13, 2, 16], [3, 1, 1])
    with pytest.raises(InvalidInputError, match=r"values \[2, 1\] with 1 not finite"):
        grouped_mean_intervals(np.array([[1.0], [NAN]]), np.arange(2))
    with pytest.raises(InvalidInputError, match=r"and groups \[3\]"):
        group_sums(np.ones((2, 1)), np.arange(3))


@pytest.mark.parametrize("num_examples", [5, 23])
def test_columns_are_tested_as_each_on_its_own(num_examples):
    differences = np.random.default_rng(7).normal(loc=0.3, size=(num_examples, 3))
    expected = [sign_flip_p_value(column, 0 * column) for column in differences.T]
    np.testing.assert_array_equal(sign_flip_p_values(differences), expected)
