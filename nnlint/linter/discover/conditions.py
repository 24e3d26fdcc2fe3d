"""Conditions on a model's own attributes: written down by discovery, decided on the live model.

`criterion = bce if self.binary else cross_entropy` leaves open which loss the model meets only as
long as nobody has built the model.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

# What a condition calls the model.
MODEL = "model"

_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_SIMPLE = (bool, int, float, str, type(None), tuple, list)


def negated(condition: str) -> str:
    """Return the opposite of a condition."""
    return condition.removeprefix("not ") if _is_negation(condition) else f"not ({condition})"


def _is_negation(condition: str) -> bool:
    tree = ast.parse(condition, mode="eval").body
    return isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)


def holds(condition: str, model: object) -> bool | None:
    """Decide a condition on a live model; None where it cannot be decided.

    Only attributes, literals and comparisons are evaluated; nothing is called.
    """
    try:
        return bool(_value(ast.parse(condition, mode="eval").body, model))
    except (_UndecidedError, SyntaxError, TypeError, ValueError):
        return None


class _UndecidedError(Exception):
    """The condition asks for more than plain attributes."""


def _value(node: ast.expr, model: object) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Tuple(elts) | ast.List(elts):
            return [_value(each, model) for each in elts]
        case ast.Attribute(base, name):
            return _plain(_attribute(base, name, model))
        case ast.UnaryOp(ast.Not(), operand):
            return not _value(operand, model)
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, model)
        case ast.BoolOp(ast.And(), values):
            return all(_value(each, model) for each in values)
        case ast.BoolOp(ast.Or(), values):
            return any(_value(each, model) for each in values)
        case ast.Compare(left, ops, comparators):
            here = _value(left, model)
            for op, right in zip(ops, comparators, strict=True):
                there = _value(right, model)
                if not _COMPARED[type(op)](here, there):
                    return False
                here = there
            return True
    raise _UndecidedError


def _attribute(base: ast.expr, name: str, model: object) -> Any:
    match base:
        case ast.Name(id="model"):
            owner = model
        case ast.Attribute(inner, outer):
            owner = _attribute(inner, outer, model)
        case _:
            raise _UndecidedError
    found = getattr(type(owner), name, None)
    if isinstance(found, property):
        raise _UndecidedError  # it would run the user's code
    try:
        return getattr(owner, name)
    except AttributeError:
        raise _UndecidedError from None


def _plain(value: Any) -> Any:
    if not isinstance(value, _SIMPLE):
        raise _UndecidedError
    return value
