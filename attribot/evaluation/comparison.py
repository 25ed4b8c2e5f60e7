"""Many methods on the same examples: which of their means can be told apart.

`values` `[num_examples, num_methods]` hold one metric without NaN. `groups` `[num_examples]` number
what is independent, such as the questions that examples ask: the signs of a group are flipped
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from attribot.errors import InvalidInputError
from attribot.evaluation.statistics import group_sums, holm_adjust, sign_flip_p_values
from attribot.types import BoolArray, FloatArray, IntArray

# Holm multiplies the smallest p value by the number of pairs, 820 for 41 methods: it must be able
# to come out small all the same.
NUM_FLIPS = 100_000


def pairwise_p_values(values: FloatArray, groups: IntArray, *, seed: int = 0) -> FloatArray:
    """`[m, m]` p values of "these two methods have the same mean", 1 on the diagonal.

    Paired two-sided sign-flip tests of all pairs, each on its own; see `adjust_pairs`. Source:
    Fisher's randomisation test.

    Raises:
        InvalidInputError: a value is NaN or infinite, the lengths differ, or nothing is given.
    """
    sums, _ = group_sums(values, groups)
    num_methods = values.shape[1]
    p_values = np.ones((num_methods, num_methods))
    if num_methods > 1:
        first, second = np.triu_indices(num_methods, 1)
        tested = sign_flip_p_values(sums[:, first] - sums[:, second], seed, NUM_FLIPS)
        p_values[first, second] = p_values[second, first] = tested
    return p_values


def adjust_pairs(p_values: FloatArray) -> FloatArray:
    """`[m, m]` the symmetric p values of all m (m - 1) / 2 pairs, Holm-adjusted together.

    Whichever pairs one looks at after seeing the means, those with the best method for one, the
    chance of any false finding stays bounded. Source: Holm 1979.

    Raises:
        InvalidInputError: a p value lies outside [0, 1] or is NaN.
    """
    first, second = np.triu_indices(len(p_values), 1)
    adjusted = np.ones_like(p_values)
    adjusted[first, second] = adjusted[second, first] = holm_adjust(p_values[first, second])
    return adjusted


def compact_letters(is_different: BoolArray) -> tuple[str, ...]:
    """Letters per method, the best first: two share one exactly if they cannot be told apart.

    is_different: `[m, m]` symmetric, False on the diagonal. Letters run a to z, then aa, ab, ...

    Source: insert and absorb, Piepho 2004, J. Comput. Graph. Stat. 13(2).

    Raises:
        InvalidInputError: `is_different` is no such matrix.
    """
    is_different = np.asarray(is_different)
    if (
        is_different.ndim != 2
        or is_different.shape[0] != is_different.shape[1]
        or (is_different != is_different.T).any()
        or is_different.diagonal().any()
    ):
        raise InvalidInputError(
            "expected a symmetric matrix [m, m], False on its diagonal: a method does not differ "
            f"from itself; got shape {is_different.shape}"
        )
    num_methods = len(is_different)
    sets = [frozenset(range(num_methods))]
    for pair in combinations(range(num_methods), 2):
        if is_different[pair]:
            split = [kept for kept in sets if not kept.issuperset(pair)]
            halves = [one - {i} for one in sets if one.issuperset(pair) for i in pair]
            sets = _maximal([*split, *halves])
    sets.sort(key=sorted)
    return tuple(
        " ".join(_letter(place) for place, kept in enumerate(sets) if method in kept)
        for method in range(num_methods)
    )


def _maximal(sets: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """The sets that are part of no other, each once."""
    unique = list(dict.fromkeys(sets))
    return [one for one in unique if not any(one < other for other in unique)]


def _letter(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    letters = ""
    while place >= 0:
        place, last = divmod(place, 26)
        letters = chr(ord("a") + last) + letters
        place -= 1
    return letters
