"""Which methods can be told apart: by hand, by an identity, and against another implementation."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.errors import InvalidInputError
from attribot.evaluation.comparison import adjust_pairs, compact_letters, pairwise_p_values
from attribot.evaluation.statistics import sign_flip_p_value


def symmetric(num_methods: int, pairs) -> np.ndarray:
    matrix = np.zeros((num_methods, num_methods), dtype=bool)
    for first, second in pairs:
        matrix[first, second] = matrix[second, first] = True
    return matrix


def test_letters_by_hand():
    assert compact_letters(symmetric(3, [])) == ("a", "a", "a")
    assert compact_letters(symmetric(3, combinations(range(3), 2))) == ("a", "b", "c")
    # a chain: neighbours cannot be told apart, the ends can
    assert compact_letters(symmetric(3, [(0, 2)])) == ("a", "a b", "b")
    # the third differs from none, though those around it differ
    assert compact_letters(symmetric(4, [(0, 1), (0, 3), (1, 3)])) == ("a", "b", "a b c", "c")
    assert compact_letters(symmetric(1, [])) == ("a",)


def test_more_than_26_letters():
    letters = compact_letters(~np.eye(30, dtype=bool))
    assert letters[24:30] == ("y", "z", "aa", "ab", "ac", "ad")


matrices = st.integers(1, 7).flatmap(
    lambda m: st.sets(st.tuples(st.integers(0, m - 1), st.integers(0, m - 1))).map(
        lambda pairs: symmetric(m, [pair for pair in pairs if pair[0] != pair[1]])
    )
)


@given(matrices)
@settings(max_examples=60, deadline=None)
def test_two_share_a_letter_exactly_if_they_cannot_be_told_apart(is_different):
    letters = [set(text.split()) for text in compact_letters(is_different)]
    shared = [[bool(one & other) for other in letters] for one in letters]
    np.testing.assert_array_equal(shared, ~is_different)
    # No letter is there without need: each joins methods that no other letter joins.
    members = [{m for m, own in enumerate(letters) if a in own} for a in set.union(*letters)]
    assert not [1 for one, other in combinations(members, 2) if one <= other or other <= one]


@pytest.mark.slow
def test_letters_agree_with_scikit_posthocs():
    import pandas as pd
    from scikit_posthocs import compact_letter_display

    rng = np.random.default_rng(0)
    for num_methods in (3, 5, 8):
        p_values = rng.uniform(0, 0.15, (num_methods, num_methods))
        p_values = (p_values + p_values.T) / 2
        np.fill_diagonal(p_values, 1)
        names = [f"m{place}" for place in range(num_methods)]
        display = compact_letter_display(pd.DataFrame(p_values, names, names), alpha=0.05)
        theirs = [set(text.replace(" ", "")) for text in display[names]]
        ours = [set(text.split()) for text in compact_letters(p_values < 0.05)]
        for first, second in combinations(range(num_methods), 2):
            assert bool(ours[first] & ours[second]) == bool(theirs[first] & theirs[second])
        assert len(set.union(*ours)) == len(set.union(*theirs))


def test_pairs_are_tested_as_each_on_its_own_and_adjusted_together():
    values = np.random.default_rng(1).normal(loc=[0, 0.2, 1, 3], size=(9, 4))
    p_values = pairwise_p_values(values, np.arange(9))
    raw = {
        pair: sign_flip_p_value(*values[:, pair].T, num_resamples=2**9)
        for pair in combinations(range(4), 2)
    }
    for pair, expected in raw.items():
        assert p_values[pair] == p_values[pair[::-1]] == expected
    assert p_values.diagonal().tolist() == [1] * 4
    adjusted = adjust_pairs(p_values)
    order = sorted(raw, key=raw.__getitem__)
    assert adjusted[order[0]] == pytest.approx(min(1, 6 * raw[order[0]]))
    assert all(adjusted[one] <= adjusted[other] for one, other in pairwise(order))
    np.testing.assert_array_equal(adjusted, adjusted.T)
    assert adjusted.diagonal().tolist() == [1] * 4


def test_examples_of_a_group_are_one_piece_of_evidence():
    # Six examples favour the second method; as three questions there are 2^3 sign patterns.
    values = np.array([[0.0, 1.0]] * 6)
    assert pairwise_p_values(values, np.arange(6))[0, 1] == 2 / 2**6
    assert pairwise_p_values(values, np.array([0, 1, 2, 0, 1, 2]))[0, 1] == 2 / 2**3


def test_one_method_is_compared_with_none():
    assert pairwise_p_values(np.ones((5, 1)), np.arange(5)).tolist() == [[1]]
    assert adjust_pairs(np.ones((1, 1))).tolist() == [[1]]


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="symmetric matrix"):
        compact_letters(np.array([[False, True], [False, False]]))
    with pytest.raises(InvalidInputError, match="does not differ from itself"):
        compact_letters(np.eye(2, dtype=bool))
    with pytest.raises(InvalidInputError, match=r"got shape \(2, 3\)"):
        compact_letters(np.zeros((2, 3), dtype=bool))
    with pytest.raises(InvalidInputError, match="1 not finite"):
        pairwise_p_values(np.array([[0.0, np.nan]]), np.arange(1))
