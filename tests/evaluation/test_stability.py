"""Agreement of rankings under several seeds."""

import numpy as np
import pytest

from attribot.errors import InvalidInputError
from attribot.evaluation.stability import seed_agreement


def test_equal_rankings_agree_and_opposite_ones_do_not():
    ranking = np.arange(5.0)
    assert dict(seed_agreement([ranking, 2 * ranking], ks=(1, 3))) == {
        "spearman": pytest.approx(1),
        "kendall": pytest.approx(1),
        "top_overlap@1": 1,
        "top_overlap@3": 1,
    }
    opposite = dict(seed_agreement([ranking, -ranking], ks=(1, 3)))
    expected = {"spearman": -1, "kendall": -1, "top_overlap@1": 0, "top_overlap@3": 1 / 3}
    assert opposite == pytest.approx(expected)


def test_the_mean_is_over_pairs_of_seeds_by_hand():
    priorities = np.array([[3.0, 2, 1], [3, 1, 2], [1, 2, 3]])
    # Spearman .5, -1, -.5; Kendall 1/3, -1, -1/3; one pair shares its first, all one of two
    values = dict(seed_agreement(priorities, ks=(1, 2)))
    expected = {
        "spearman": -1 / 3,
        "kendall": -1 / 3,
        "top_overlap@1": 1 / 3,
        "top_overlap@2": (1 / 2 + 1 / 2 + 1 / 2) / 3,
    }
    assert values == pytest.approx(expected)


def test_undefined_pairs_are_left_out():
    # The third seed found nothing: its scores are all equal.
    priorities = np.array([[3.0, 2, 1], [3, 2, 1], [0, 0, 0]])
    values = dict(seed_agreement(priorities, ks=(3,)))
    assert values["spearman"] == pytest.approx(1)
    assert np.isnan(values["top_overlap@3"])
    assert np.isnan(dict(seed_agreement(np.zeros((2, 3)), ks=()))["kendall"])


def test_one_seed_is_not_enough():
    with pytest.raises(InvalidInputError, match=r"at least two seeds, got shape \(1, 3\)"):
        list(seed_agreement(np.zeros((1, 3)), ks=(1,)))
