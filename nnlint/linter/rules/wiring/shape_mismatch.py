"""The rule shape-mismatch (NNL507)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, data_inputs, sources
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule

if TYPE_CHECKING:
    import torch

# Between two layers: what neither owns parameters nor is worth naming as a producer.
_BETWEEN = frozenset(
    {
        Family.SHAPE,
        Family.PASS,
        Family.DROPOUT,
        Family.ACTIVATION,
        Family.PROBABILITY,
        Family.POOL,
        Family.NORM,
        Family.REDUCTION,
    }
)


class ShapeMismatch(Rule):
    """Forward must fail: a layer gets a shape that it cannot take.

    ## What it does
    Follows the shapes through the model and reports the first call whose shapes do not fit, with
    the layer that the value comes from.

    ## Why is this bad?
    The model cannot run. The error of a real run names two matrix sizes and neither layer.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64)
            self.fc2 = nn.Linear(128, 3)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64)
            self.fc2 = nn.Linear(64, 3)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)))
    ```

    ## How it is decided
    Plausible input sizes are tried on the traced graph. Only a failure that no input size avoids,
    and that a real run of the model on the CPU confirms, is reported; with inputs given by the
    user, theirs is the one that counts.

    ## Known limits
    Where the right input size cannot be guessed, the check ends as not checked: give it, e.g.
    `--input 2x3x224x224`. So it does where sizes do not fit in a model whose constructor
    arguments had to be assumed.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/broadcasting.html
    """

    name = "shape-mismatch"
    code = "NNL507"
    severity = Severity.ERROR
    category = Category.WIRING

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report the shape failure that the propagation met."""
        failure = graph.failure
        if failure is None or not failure.certain:
            if failure is not None or not _knows_inputs(graph):
                yield NotChecked("no input size was found that fits; give one with --input")
            return
        if graph.assumed:
            yield NotChecked("constructor arguments were assumed")
            return
        node = failure.node
        makers = _makers(node)
        got = f"gets {list(failure.got)}" if failure.got is not None else "fails"
        origin = f" from {' and '.join(map(_title, makers))}" if makers else ""
        yield self.finding(
            graph,
            node,
            f"{_title(node)} {got}{origin}: {failure.message}",
            help=f"it needs {failure.expected}" if failure.expected else "make the sizes agree",
            related=[
                Related(maker.location, f"{_title(maker)} makes this value")
                for maker in makers
                if maker.location is not None
            ],
            evidence={"got": list(failure.got or ()), "expected": failure.expected},
        )


def _knows_inputs(graph: ModelGraph) -> bool:
    """Tell whether shapes were found for the inputs that go somewhere."""
    if graph.capture == "run":
        return True  # it ran
    return all(n.info.shape is not None for n in graph.nodes if n.kind == "input" and n.users)


def _makers(node: Node) -> list[Node]:
    found = [
        source
        for value in data_inputs(node)
        for source in sources(value, _BETWEEN)
        if source.kind in ("op", "input")
    ]
    return list(dict.fromkeys(found))[:2]


def _title(node: Node) -> str:
    if node.kind == "input":
        return f"the input `{node.name}`"
    if node.module is not None:
        return f"`{node.path}` ({_kind(node.module)})"
    return node.op.name if node.op is not None else node.name


def _kind(module: torch.nn.Module) -> str:
    weight = getattr(module, "weight", None)
    name = type(module).__name__
    if name.endswith("Linear") and weight is not None:
        return f"{name} {weight.shape[1]} -> {weight.shape[0]}"
    if hasattr(module, "in_channels") and hasattr(module, "out_channels"):
        return f"{name} {module.in_channels} -> {module.out_channels}"
    return name
