"""The rule log-of-softmax (NNL601)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, sources
from nnlint.linter.operators.activation import SOFTMAX
from nnlint.linter.operators.arithmetic import LOG
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.ranges import ranges

# exp(-x) is 0 in float32 from here on: the smallest subnormal is 2 ** -149.
_UNDERFLOW = 104


class LogOfSoftmax(Rule):
    """The logarithm is taken of a softmax instead of using log_softmax.

    ## What it does
    Finds `log(softmax(x))`, also with a reshape or a selection (`gather`, indexing) in between.

    ## Why is this bad?
    In float32 a probability is exactly 0 once its logit lies 104 below the largest one. Its
    logarithm is then -inf, the loss infinite, and the gradient NaN. `log_softmax` computes the
    same value as `x - logsumexp(x)`, which is exact for every x, and is faster.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 10)

        def forward(self, x):
            return torch.log(torch.softmax(self.fc(x), dim=1))
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
            return torch.log_softmax(self.fc(x), dim=1)
    ```

    ## How it is decided
    The values that a logarithm takes are followed back through operators that only move or
    select them. A constant added to the probabilities, or a clamp, guards the logarithm, and
    the rule stays silent; so it does where the logits are bounded (`10 * tanh(x)`) and under
    `torch.no_grad()`.

    ## Known limits
    A softmax written out by hand (`exp(x) / exp(x).sum()`) is the business of exp-unbounded.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html
    - Blanchard, Higham, Higham, Accurately Computing the Log-Sum-Exp and Softmax Functions,
      https://doi.org/10.1093/imanum/draa038
    """

    name = "log-of-softmax"
    code = "NNL601"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each logarithm of a softmax."""
        for node in graph.ops(LOG):
            if node.input is None or not node.grad or not node.training:
                continue
            for source in sources(node.input):
                if source.op is SOFTMAX and not _bounded(graph, source):
                    yield self._found(graph, node, source)
                    break

    def _found(self, graph: ModelGraph, node: Node, softmax: Node) -> Finding:
        classes = _classes(softmax)
        over = f" over {classes} values" if classes else ""
        return self.finding(
            graph,
            node,
            f"the log of a softmax{over} is -inf once an input lies {_UNDERFLOW} below the largest",
            help="use log_softmax on the softmax's input: it is exact for every input",
            evidence={"classes": classes, "underflow": _UNDERFLOW, "softmax": softmax.path},
        )


def _bounded(graph: ModelGraph, softmax: Node) -> bool:
    logits = ranges(graph).of(softmax.input)
    return logits.hi - logits.lo < _UNDERFLOW


def _classes(softmax: Node) -> int | None:
    dim, shape = softmax.arg("dim"), softmax.info.shape
    if shape is None or not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
        return None
    return shape[dim]
