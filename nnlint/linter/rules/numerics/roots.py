"""Which roots have an infinite gradient, for the rules about roots and divisions."""

from __future__ import annotations

from nnlint.linter.graph import Node
from nnlint.linter.operators.arithmetic import POW, RSQRT, SQRT
from nnlint.linter.rules.numerics.intervals import NONE, Zero
from nnlint.linter.rules.numerics.ranges import Ranges


def is_root(node: Node) -> bool:
    """Tell whether a node takes a root: sqrt, rsqrt, or a power between -1 and 1."""
    if node.op is not POW:
        return node.op is SQRT or node.op is RSQRT
    exponent = node.arg("exponent")
    return isinstance(exponent, float) and 0 < abs(exponent) < 1


def unguarded_root(node: Node, facts: Ranges) -> Zero:
    """Tell why a root's operand can be 0 with a gradient that spoils training; falsy if it can't.

    A ReLU alone is no reason: its backward pass replaces the infinite gradient by 0.
    """
    if not is_root(node) or not node.grad or not node.training:
        return NONE
    operand = facts.of(node.input)
    reason = operand.zero & (Zero.PRODUCT | Zero.SPREAD)
    if not reason or operand.nonzero or not operand.nonnegative:
        return NONE
    if not facts.learned(node.input) or not facts.trained_through(node):
        return NONE
    return reason
