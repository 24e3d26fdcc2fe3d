"""The rule division-unguarded (NNL604)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, consumers, sources
from nnlint.linter.operators import arithmetic as ar
from nnlint.linter.operators.moving import SETITEM
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.intervals import Zero
from nnlint.linter.rules.numerics.ranges import Ranges, ranges
from nnlint.linter.rules.numerics.roots import unguarded_root

_DIVISIONS = (ar.DIV, ar.ADDCDIV, ar.RECIPROCAL, ar.RSQRT, ar.POW)
# What repairs a quotient afterwards.
_REPAIRS = (ar.WHERE, ar.MASKED_FILL, ar.NAN_TO_NUM, SETITEM)
_REASONS = {
    Zero.SPREAD: "a standard deviation or variance, which is 0 where all values are equal",
    Zero.MASK: "a count from a mask, which is 0 where everything is masked",
    Zero.GATED: "a value that is exactly 0 where a ReLU, a clamp or padding gives only zeros",
}


class DivisionUnguarded(Rule):
    """A division by something that can be exactly 0.

    ## What it does
    Finds divisions by a standard deviation, by a norm or sum of ReLU outputs or of padded
    embeddings, and by the count of a padding mask, without a constant or clamp that keeps the
    divisor from 0.

    ## Why is this bad?
    Such a divisor is 0 not by rare luck but for ordinary data: a constant patch, a sample whose
    units are all off, a row that is all padding. 0 / 0 is NaN, and one NaN in one sample makes
    the loss and every weight NaN.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 8)

        def forward(self, x):
            x = torch.relu(self.fc(x))
            return x / x.norm(dim=1, keepdim=True)
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 8)

        def forward(self, x):
            return F.normalize(torch.relu(self.fc(x)), dim=1)
    ```

    ## How it is decided
    A pass over the graph computes an interval for each value and why it can be 0. The rule
    speaks where the divisor (of `/`, `reciprocal`, `rsqrt`, a negative power) can be 0 by its
    structure. It is silent where the range is not known (an input, the norm of a linear layer's
    output), for constants, sizes and parameters, for divisors that a constant, a clamp, exp,
    softplus or softmax keeps from 0, where `where`, `masked_fill` or `nan_to_num` repairs the
    quotient, and under `torch.no_grad()`.

    ## Known limits
    Whether the zero occurs depends on the data; the probe can tell.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html
    - Zhang et al., Detecting Numerical Bugs in Neural Network Architectures,
      https://doi.org/10.1145/3368089.3409720
    """

    name = "division-unguarded"
    code = "NNL604"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each division whose divisor can be 0."""
        for node in graph.ops(*_DIVISIONS):
            if not node.grad or not node.training or (divisor := _divisor(node)) is None:
                continue
            facts = ranges(graph)
            found = facts.of(divisor)
            reason = next((r for r in _REASONS if r in found.zero), None)
            if reason is None or _repaired(node) or _reported(node, divisor, facts):
                continue
            yield self.finding(
                graph,
                node,
                f"divides by {_REASONS[reason]}",
                help=_help(divisor, reason),
                evidence={"divisor": str(reason.name).lower()},
            )


def _divisor(node: Node) -> Node | None:
    if node.op is ar.DIV:
        found = node.arg("other")
    elif node.op is ar.ADDCDIV:
        found = node.arg("tensor2")
    elif node.op is ar.POW:
        exponent = node.arg("exponent")
        negative = isinstance(exponent, (int, float)) and exponent < 0
        found = node.arg("input") if negative else None
    else:
        found = node.input
    return found if isinstance(found, Node) else None


def _repaired(node: Node) -> bool:
    return any(user.op in _REPAIRS for user in (*node.users, *consumers(node)))


def _reported(node: Node, divisor: Node, facts: Ranges) -> bool:
    """Tell whether sqrt-at-zero speaks of the same zero."""
    if unguarded_root(node, facts):
        return True
    return any(unguarded_root(source, facts) for source in sources(divisor))


def _help(divisor: Node, reason: Zero) -> str:
    if any(source.op is ar.NORM for source in sources(divisor)):
        return "use F.normalize, or clamp the norm: x / norm.clamp_min(1e-6)"
    if reason is Zero.MASK:
        return "clamp the count: count.clamp(min=1)"
    return "add a small constant to the divisor, e.g. x / (divisor + 1e-6), or clamp it"
