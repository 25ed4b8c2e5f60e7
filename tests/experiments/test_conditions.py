"""Conditions on named numbers: what they mean, and what they refuse."""

from __future__ import annotations

import math

import pytest

from attribot.errors import InvalidInputError
from experiments.verdicts.conditions import Number, is_met

ONE = {"mAP": Number(0.9, 0.8, 0.95, "")}
TWO = {"k1": Number(0.5, 0.4, 0.6, ""), "k2": Number(0.7, 0.65, math.nan, "")}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("value >= 0.9", True),
        ("value > 0.9", False),
        ("mAP.low < 0.8", False),
        ("0.7 < low < high <= 0.95", True),
        ("0.7 < low < high <= 0.94", False),
        ("high - low < 0.2", True),
        ("2 * low / 4 + 0.5 < value", False),
        ("value > -1", True),
    ],
)
def test_conditions_on_one_number(condition: str, expected: bool) -> None:
    assert is_met(condition, ONE) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("k1.value <= k2.value", True),
        ("k1.high < k2.low", True),
        ("k2.value - k1.value > 0.3", False),
        ("k1.low < k1.value < k1.high < k2.low < k2.value", True),
    ],
)
def test_conditions_on_several_numbers(condition: str, expected: bool) -> None:
    assert is_met(condition, TWO) is expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("k1.value", "expected <, <=, > or >="),
        ("k1.value == k2.value", "expected <, <=, > or >="),
        ("k1.value <", "is no condition"),
        ("value > 1", "asks for 'value': expected NAME.value, NAME.low or NAME.high"),
        ("k3.value > 1", "with NAME among: k1, k2"),
        ("k1.text > 1", "asks for 'k1.text'"),
        ("__import__('os').getpid() > 1", "asks for"),
        ("k1.value ** 2 > 1", "asks for"),
        ("k2.high > 0", "'k2.high', which is missing"),
    ],
)
def test_anything_else_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        is_met(condition, TWO)
    assert message in str(caught.value)
