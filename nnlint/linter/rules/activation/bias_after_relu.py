"""The rule bias-after-relu (NNL403)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.activation import RELU_LIKE
from nnlint.linter.operators.arithmetic import ADD
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule


class BiasAfterRelu(Rule):
    """A learned bias is added after a ReLU instead of before it.

    ## What it does
    Finds a per-channel parameter that is added directly to the output of a ReLU.

    ## Why is this bad?
    The bias belongs inside the ReLU: there it sets for each unit where it starts to fire. Added
    afterwards it only shifts all outputs by the same amount, which the next layer's own bias can
    do as well, and the units themselves have no threshold that could be learned.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64, bias=False)
            self.bias = nn.Parameter(torch.zeros(64))
            self.fc2 = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)) + self.bias)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64, bias=False)
            self.bias = nn.Parameter(torch.zeros(64))
            self.fc2 = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x) + self.bias))
    ```

    ## How it is decided
    One operand of the addition is the output of ReLU or ReLU6, the other a trained parameter with
    a single dimension larger than 1, the channel: `(C,)` or `(1, C, 1, 1)`. Residual additions,
    positional and type embeddings (`(1, T, C)`, `(1, 1, C)`), single numbers, and
    scale-and-shift (`relu(x) * gamma + beta`) are left alone.

    ## Known limits
    Where the shapes are unknown, only `(C,)` and the convolutional forms are recognised.

    ## References
    - Glorot, Bordes, Bengio, Deep Sparse Rectifier Neural Networks,
      https://proceedings.mlr.press/v15/glorot11a.html
    """

    name = "bias-after-relu"
    code = "NNL403"
    severity = Severity.WARNING
    category = Category.ACTIVATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each parameter that is added to a ReLU's output."""
        for node in graph.ops(ADD):
            sides = (node.arg("input"), node.arg("other"))
            for side, other in (sides, sides[::-1]):
                relu, bias = _bare(side), _reshaped(other)
                if relu is None or relu.op not in RELU_LIKE or bias is None:
                    continue
                if (size := _channels(other, bias, relu)) is not None:
                    yield self._found(graph, node, relu, bias, size)
                    break

    def _found(self, graph: ModelGraph, node: Node, relu: Node, bias: Node, size: int) -> Finding:
        place = relu.location
        return self.finding(
            graph,
            node,
            f"the bias '{bias.path}' ({size} values) is added after the ReLU instead of before it",
            help="add the bias inside the activation: relu(x + bias), or give the layer before "
            "the ReLU bias=True",
            related=[Related(place, "the ReLU is applied here")] if place else [],
            evidence={"bias": bias.path, "size": size},
            modules=[bias.path],
        )


def _bare(value: object) -> Node | None:
    while isinstance(value, Node) and value.family(Family.PASS):
        value = value.input
    return value if isinstance(value, Node) else None


def _reshaped(value: object) -> Node | None:
    """Return the trained parameter that a value is, seen through reshapes."""
    while isinstance(value, Node) and value.family(Family.PASS, Family.SHAPE):
        if len(value.inputs) > 1 and not all(i.value is not None for i in value.inputs[1:]):
            return None
        value = value.input
    trained = isinstance(value, Node) and value.kind == "param" and value.tensor is not None
    if not trained or not isinstance(value, Node) or value.tensor is None:
        return None
    return value if value.tensor.requires_grad else None


def _channels(added: object, bias: Node, relu: Node) -> int | None:
    """Return the number of channels where the added shape is one per channel, else None."""
    shape = added.info.shape if isinstance(added, Node) else None
    if shape is None and added is bias and bias.tensor is not None:
        shape = tuple(bias.tensor.shape)
    wide = [place for place, size in enumerate(shape or ()) if size > 1]
    if shape is None or len(wide) != 1:
        return None
    place, rank = wide[0] - len(shape), relu.info.rank
    if rank is None:
        # (C,) after a linear layer, (C, 1, 1) after a 2-d convolution.
        known = (place == -1 and len(shape) == 1) or place in (-3, -4)
        return shape[wide[0]] if known else None
    convolutional = _convolutional(relu)
    if rank > 2 and not convolutional and len(shape) > 1:
        return None  # (1, 1, C) on a sequence: a token or type embedding
    return shape[wide[0]] if place == (1 - rank if convolutional else -1) else None


def _convolutional(relu: Node) -> bool:
    """Tell whether the channels of a ReLU's output are its second dimension."""
    rank = relu.info.rank
    current = relu.input
    while current is not None and current.family(Family.NORM, Family.PASS, Family.DROPOUT):
        current = current.input
    if current is not None and current.op is not None and current.op.name.startswith("conv"):
        return True
    return rank is not None and rank > 3
