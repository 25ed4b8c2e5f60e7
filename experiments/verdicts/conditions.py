"""Conditions on named numbers, such as `k1.value <= k2.value` or `low > 1.5`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attribot.errors import InvalidInputError

COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Number:
    """A number of a table, its 95% interval (NaN without one), and all as text."""

    value: float
    low: float
    high: float
    text: str


def is_met(condition: str, numbers: Mapping[str, Number]) -> bool:
    """Whether a chain of comparisons holds: `k1.value <= k2.value <= k3.value`, `2 * low > 3`.

    `value`, `low` and `high` without a name are those of the only number.

    Raises:
        InvalidInputError: anything else stands in it, or a number that is missing.
    """
    try:
        tree = ast.parse(condition, mode="eval").body
    except SyntaxError as error:
        raise InvalidInputError(f"{condition!r} is no condition ({error.msg})") from error
    if not isinstance(tree, ast.Compare) or not all(type(op) in COMPARISONS for op in tree.ops):
        raise InvalidInputError(f"{condition!r} is no condition: expected <, <=, > or >=")
    operands = [_operand(node, numbers, condition) for node in (tree.left, *tree.comparators)]
    steps = zip(tree.ops, operands[:-1], operands[1:], strict=True)
    return all(COMPARISONS[type(op)](left, right) for op, left, right in steps)


def _operand(node: ast.expr, numbers: Mapping[str, Number], condition: str) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_operand(node.operand, numbers, condition)
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = (_operand(each, numbers, condition) for each in (node.left, node.right))
        return ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name, part = node.value.id, node.attr
    elif isinstance(node, ast.Name) and len(numbers) == 1:
        name, part = next(iter(numbers)), node.id
    else:
        name, part = ast.unparse(node), ""
    if name not in numbers or part not in ("value", "low", "high"):
        raise InvalidInputError(
            f"{condition!r} asks for {ast.unparse(node)!r}: expected NAME.value, NAME.low or "
            f"NAME.high, with NAME among: {', '.join(numbers)}"
        )
    operand = float(getattr(numbers[name], part))
    if math.isnan(operand):
        raise InvalidInputError(f"{condition!r} asks for {ast.unparse(node)!r}, which is missing")
    return operand
