"""The rule log-of-sigmoid (NNL602)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, sources
from nnlint.linter.operators.activation import SIGMOID
from nnlint.linter.operators.arithmetic import LOG, LOG1P, NEG, RSUB, SUB
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.ranges import ranges

# float32: exp(89) overflows, so sigmoid(-89) is 0; 1 + exp(-17) rounds to 1, so sigmoid(17) is 1.
_ZERO_BELOW = -89
_ONE_ABOVE = 17


class LogOfSigmoid(Rule):
    """The logarithm is taken of a sigmoid instead of using logsigmoid.

    ## What it does
    Finds `log(sigmoid(x))`, `log(1 - sigmoid(x))` and `log1p(-sigmoid(x))`.

    ## Why is this bad?
    In float32 a sigmoid is exactly 1 from x = 17 on and exactly 0 below x = -89. The logarithm is
    then -inf, the loss infinite, and the gradient NaN. `logsigmoid(x)`, and `logsigmoid(-x)` for
    the complement, are exact for every x.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 1)

        def forward(self, real, fake):
            real = torch.sigmoid(self.fc(real))
            fake = torch.sigmoid(self.fc(fake))
            return -(torch.log(real) + torch.log(1 - fake)).mean()
    ```

    ## Use instead
    ```python
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 1)

        def forward(self, real, fake):
            return -(F.logsigmoid(self.fc(real)) + F.logsigmoid(-self.fc(fake))).mean()
    ```

    ## How it is decided
    The values that a logarithm takes are followed back through operators that only move or
    select them. A constant added to the probabilities, or a clamp, guards the logarithm, and the
    rule stays silent; so it does where the sigmoid's input is bounded and under
    `torch.no_grad()`.

    ## Known limits
    Products and means of sigmoids have no simple stable form and are not looked at.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.logsigmoid.html
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    name = "log-of-sigmoid"
    code = "NNL602"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each logarithm of a sigmoid or of its complement."""
        for node in graph.ops(LOG, LOG1P):
            if node.input is None or not node.grad or not node.training:
                continue
            for source in sources(node.input):
                if (found := self._judge(graph, node, source)) is not None:
                    yield found
                    break

    def _judge(self, graph: ModelGraph, node: Node, source: Node) -> Finding | None:
        complement = node.op is LOG1P or source.op is not SIGMOID
        sigmoid = _sigmoid(node, source)
        if sigmoid is None:
            return None
        given = ranges(graph).of(sigmoid.input)
        if given.hi < _ONE_ABOVE if complement else given.lo > _ZERO_BELOW:
            return None
        if complement:
            what, limit, form = "1 - sigmoid(x)", f"above x = {_ONE_ABOVE}", "F.logsigmoid(-x)"
        else:
            what, limit, form = "sigmoid(x)", f"below x = {_ZERO_BELOW}", "F.logsigmoid(x)"
        return self.finding(
            graph,
            node,
            f"the log of {what} is -inf {limit}",
            help=f"use {form}, which is exact for every x; for a loss, give the logits to "
            "binary_cross_entropy_with_logits",
            evidence={"complement": complement, "sigmoid": sigmoid.path},
        )


def _sigmoid(node: Node, source: Node) -> Node | None:
    """Return the sigmoid of log(s), log(1 - s) or log1p(-s)."""
    inner: Any = source
    if node.op is LOG1P:
        inner = source.input if source.op is NEG else None
    elif source.op is SUB and source.arg("input") == 1 and source.arg("alpha", 1) == 1:
        inner = source.arg("other")
    elif source.op is RSUB and source.arg("other") == 1:
        inner = source.arg("input")
    if not isinstance(inner, Node):
        return None
    return next((s for s in sources(inner) if s.op is SIGMOID), None)
