"""The rule sqrt-at-zero (NNL603)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.arithmetic import ADD
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.numerics.intervals import Zero
from nnlint.linter.rules.numerics.ranges import ranges
from nnlint.linter.rules.numerics.roots import is_root, unguarded_root


class SqrtAtZero(Rule):
    """A square root is taken of something that can be exactly 0.

    ## What it does
    Finds `sqrt`, `rsqrt` and fractional powers of sums of squares, products, absolute values and
    variances without a constant that keeps them from 0.

    ## Why is this bad?
    The derivative of sqrt(s) is 1 / (2 sqrt(s)), infinite at s = 0. There the inner derivative is
    0, and infinity times 0 is NaN: one pair of equal embeddings or one constant feature map turns
    every weight below into NaN, while the forward pass looks right. A constant added after the
    root (`sqrt(s) + eps`) does not help.

    ## Example
    ```python
    import torch
    from torch import nn


    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(20, 8)

        def forward(self, a, b):
            difference = self.embed(a) - self.embed(b)
            return torch.sqrt((difference**2).sum(dim=1))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(20, 8)

        def forward(self, a, b):
            difference = self.embed(a) - self.embed(b)
            return torch.sqrt((difference**2).sum(dim=1) + 1e-8)
    ```

    ## How it is decided
    A pass over the graph computes an interval for each value and why it can be 0. The rule
    speaks where the operand is a square, a product or a variance (or a sum or mean of such) with
    lower bound 0 and a gradient that goes on into parameters. It is silent where the range is
    not known, where an added constant, a clamp, softplus or exp keeps the operand from 0, and
    where no gradient flows. `torch.norm`, `torch.linalg.vector_norm`, `torch.std` and `cdist`
    are safe here: PyTorch sets their gradient at 0 to 0. So is the root of a ReLU, whose
    backward pass replaces the infinite gradient by 0.

    ## Known limits
    Inputs of a module without layers (a loss, a normalisation) are taken to come from a network.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/autograd.html#gradients-for-non-differentiable-functions
    - Zhang et al., Detecting Numerical Bugs in Neural Network Architectures,
      https://doi.org/10.1145/3368089.3409720
    """

    name = "sqrt-at-zero"
    code = "NNL603"
    severity = Severity.WARNING
    category = Category.NUMERICS
    probe = "non-finite"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each root whose operand can be 0."""
        for node in graph.nodes:
            if is_root(node) and (reason := unguarded_root(node, ranges(graph))):
                yield self._found(graph, node, reason)

    def _found(self, graph: ModelGraph, node: Node, reason: Zero) -> Finding:
        spread = Zero.SPREAD in reason
        what = "a variance" if spread else "a square or product"
        safe = "torch.std" if spread else "torch.linalg.vector_norm"
        late = any(user.op is ADD and isinstance(user.arg("other"), float) for user in node.users)
        return self.finding(
            graph,
            node,
            f"the root of {what} that can be 0: its gradient there is infinite and becomes NaN"
            f"{', which the constant added after the root does not prevent' if late else ''}",
            help=f"add a small constant inside the root, e.g. sqrt(s + 1e-8), or use {safe}, "
            "whose gradient at 0 is 0",
            evidence={"operand": "variance" if spread else "product", "constant_outside": late},
        )
