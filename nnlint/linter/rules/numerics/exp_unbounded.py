"""The rule exp-unbounded (NNL605)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, sources
from nnlint.linter.operators.arithmetic import ADD, DIV, EXP, LOG, SUM
from nnlint.linter.operators.linear import WEIGHTED
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.ranges import ranges

# exp(89) is infinite in float32.
_OVERFLOW = 88.7


class ExpUnbounded(Rule):
    """A softmax or logsumexp is written out by hand without subtracting the maximum.

    ## What it does
    Finds `exp(x) / exp(x).sum()` and `log(exp(x).sum())` where x comes straight from a linear
    layer or convolution.

    ## Why is this bad?
    In float32 exp(x) is infinite from x = 89 on, and infinity divided by infinity is NaN. The
    functions of PyTorch subtract the largest x first, which changes nothing in the result and
    cannot overflow.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 10)

        def forward(self, x):
            weights = torch.exp(self.fc(x))
            return weights / weights.sum(dim=1, keepdim=True)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 10)

        def forward(self, x):
            return torch.softmax(self.fc(x), dim=1)
    ```

    ## How it is decided
    The sum of an exponential divides that exponential or goes into a logarithm, also with a
    small constant added, and the exponent is the unbounded result of a layer. An exponent with
    something subtracted, a bounded one and one of unknown origin (a cosine similarity divided
    by a temperature) are left alone; so is every other exponential, such as exp(0.5 * logvar).

    ## Known limits
    Exponents that pass an activation or a product before are not looked at.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.logsumexp.html
    - Blanchard, Higham, Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions,
      https://doi.org/10.1093/imanum/draa038
    """

    name = "exp-unbounded"
    code = "NNL605"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each softmax or logsumexp that is written by hand."""
        for node in graph.ops(DIV, LOG):
            if not node.grad or not node.training:
                continue
            total = _summed(node.arg("other") if node.op is DIV else node.arg("input"))
            if total is None or not _unbounded(graph, total):
                continue
            by_hand = "logsumexp"
            if node.op is DIV:
                if total not in _bare(node.arg("input")):
                    continue
                by_hand = "softmax"
            yield self.finding(
                graph,
                node,
                f"a {by_hand} by hand: exp of a layer's output is infinite above {_OVERFLOW}",
                help=f"use torch.{by_hand}, which subtracts the maximum first",
                evidence={"form": by_hand, "overflow": _OVERFLOW},
            )


def _bare(value: Any) -> list[Node]:
    return sources(value) if isinstance(value, Node) else []


def _summed(value: Any) -> Node | None:
    """Return the exponential whose sum (plus a constant, perhaps) a value is."""
    for found in _bare(value):
        if found.op is ADD and isinstance(found.arg("other"), float):
            return _summed(found.arg("input"))
        if found.op is SUM:
            return next((s for s in _bare(found.input) if s.op is EXP), None)
    return None


def _unbounded(graph: ModelGraph, exponential: Node) -> bool:
    layers = _bare(exponential.input)
    if not layers or any(layer.op not in WEIGHTED for layer in layers):
        return False
    return ranges(graph).of(exponential.input).hi > _OVERFLOW
