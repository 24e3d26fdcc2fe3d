"""The rule double-activation (NNL405)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, consumers
from nnlint.linter.operators import activation as act
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.loss import BCE
from nnlint.linter.rules.base import Category, NotChecked, Rule

_REPEATED = frozenset(
    {
        act.RELU, act.RELU6, act.LEAKY_RELU, act.ELU, act.SELU, act.CELU, act.GELU, act.SILU,
        act.MISH, act.SIGMOID, act.TANH, act.HARDSWISH, act.HARDSIGMOID,
    }
)  # fmt: skip
# What is never negative, so that a ReLU behind it changes nothing.
_NONNEGATIVE = frozenset({act.RELU, act.RELU6, act.SIGMOID, act.HARDSIGMOID})
_BETWEEN = frozenset({Family.PASS, Family.DROPOUT, Family.SHAPE})


class DoubleActivation(Rule):
    """Two activations in a row repeat or undo one another.

    ## What it does
    Finds an activation applied directly to the result of the same activation, a ReLU behind
    values that are never negative, and a sigmoid output behind a ReLU.

    ## Why is this bad?
    A second ReLU does nothing; a second sigmoid squeezes (0, 1) into (0.5, 0.73), where its
    gradient is at most a quarter, so the network can hardly learn. A sigmoid behind a ReLU can
    only give probabilities from 0.5 on: the model can never say no.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())

        def forward(self, x):
            return torch.sigmoid(self.layers(x))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, x):
            return torch.sigmoid(self.layers(x))
    ```

    ## How it is decided
    The input of each activation is followed back through dropout, reshapes and casts to one
    activation whose result goes nowhere else (a block's last activation that a skip connection
    also takes is left alone). ReLU before sigmoid counts only where the sigmoid is the model's
    output or goes into a binary cross-entropy. Softplus, log-sigmoid, hardtanh and clamp bound
    values on purpose and are left alone.

    ## Known limits
    A pooling between the two is not looked through.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.ReLU.html
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.Sigmoid.html
    """

    name = "double-activation"
    code = "NNL405"
    severity = Severity.WARNING
    category = Category.ACTIVATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each activation that repeats or undoes the one before it."""
        outputs = frozenset(graph.outputs)
        for node in graph.of_family(Family.ACTIVATION):
            if not node.training or (first := _before(node)) is None:
                continue
            if (trouble := _trouble(first, node, outputs)) is not None:
                yield self._found(graph, node, first, *trouble)

    def _found(
        self, graph: ModelGraph, node: Node, first: Node, message: str, advice: str
    ) -> Finding:
        place = first.location
        return self.finding(
            graph,
            node,
            message,
            help=advice,
            related=[Related(place, "the first activation is applied here")] if place else [],
            evidence={"first": _name(first), "second": _name(node)},
        )


def _trouble(first: Node, node: Node, outputs: frozenset[Node]) -> tuple[str, str] | None:
    """Say what is wrong with an activation behind another, and what to do; None if nothing is."""
    remove = "remove one of the two"
    if node.op is act.SIGMOID and first.op is act.SIGMOID:
        return "a sigmoid of a sigmoid lies between 0.5 and 0.73", remove
    if node.op is act.RELU and first.op in _NONNEGATIVE:
        return f"a ReLU behind {_name(first)} changes nothing: its input is never negative", remove
    if node.op is first.op and node.op in _REPEATED:
        return f"{_name(node)} is applied twice in a row", remove
    if node.op is act.SIGMOID and first.op in act.RELU_LIKE and _is_output(node, outputs):
        return (
            "a sigmoid behind a ReLU never gives a probability under 0.5",
            "remove the ReLU before the output",
        )
    return None


def _before(node: Node) -> Node | None:
    """Return the activation whose result goes into `node` and nowhere else."""
    current = node.input
    while current is not None and len(_takers(current)) == 1:
        if current.family(Family.ACTIVATION):
            return current
        if not current.family(*_BETWEEN) or sum(i.value is None for i in current.inputs) != 1:
            return None
        current = current.input
    return None


def _takers(node: Node) -> list[Node]:
    return [u for u in node.users if u.value is None and not u.family(Family.PYTHON)]


def _is_output(node: Node, outputs: frozenset[Node]) -> bool:
    ends = consumers(node)
    return node in outputs or any(end.kind == "output" or end.op is BCE for end in ends)


def _name(node: Node) -> str:
    return node.op.name if node.op is not None else ""
