"""The rule log-unguarded (NNL606)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.operators.arithmetic import LOG, LOG2, LOG10
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.intervals import Zero
from nnlint.linter.rules.numerics.ranges import ranges

_REASONS = {
    Zero.SPREAD: "a variance or standard deviation, which is 0 where all values are equal",
    Zero.MASK: "a count from a mask, which is 0 where everything is masked",
    Zero.GATED: "a value that is exactly 0 where a ReLU, a clamp or padding gives only zeros",
}


class LogUnguarded(Rule):
    """A logarithm is taken of something that can be exactly 0.

    ## What it does
    Finds `log`, `log2` and `log10` of ReLU outputs, of values clamped at 0, of variances, and of
    sums and means of such, without a constant that keeps them from 0.

    ## Why is this bad?
    log(0) is -inf and its gradient infinite. A ReLU is 0 for about half of its inputs, so this is
    the rule and not the exception; the loss is infinite or NaN from the first batch on.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 10)

        def forward(self, x):
            return torch.log(torch.relu(self.fc(x)))
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
            return torch.log1p(torch.relu(self.fc(x)))
    ```

    ## How it is decided
    A pass over the graph computes an interval for each value and why it can be 0. The rule
    speaks where the operand can be 0 by its structure and is never negative. It is silent where
    the range is not known (an input, a layer's output, a square, which is 0 only by rare luck),
    where a constant, a clamp, exp, softplus or softmax keeps the operand from 0, and under
    `torch.no_grad()`.

    ## Known limits
    The logs of a softmax and of a sigmoid are the business of log-of-softmax and log-of-sigmoid.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.log1p.html
    - Zhang et al., Detecting Numerical Bugs in Neural Network Architectures,
      https://doi.org/10.1145/3368089.3409720
    """

    name = "log-unguarded"
    code = "NNL606"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each logarithm whose operand can be 0."""
        for node in graph.ops(LOG, LOG2, LOG10):
            if not node.grad or not node.training:
                continue
            operand = ranges(graph).of(node.input)
            reason = next((r for r in _REASONS if r in operand.zero), None)
            if reason is None or not operand.nonnegative:
                continue
            yield self.finding(
                graph,
                node,
                f"the log of {_REASONS[reason]}",
                help="add a small constant first, e.g. log(x + 1e-6), clamp x, or use log1p(x)",
                evidence={"operand": str(reason.name).lower()},
            )
