"""The rule uninitialised-parameter (NNL206)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.base import Category, NotChecked, Rule


class UninitialisedParameter(Rule):
    """A parameter starts as whatever its memory held before.

    ## What it does
    Finds parameters made by `torch.empty`, `torch.FloatTensor(size)`, `torch.Tensor(size)` and the
    like that the constructor leaves unwritten.

    ## Why is this bad?
    Such memory is not random: it holds zeros, or leftovers of another tensor, perhaps huge or NaN.
    Training starts from a different place on each machine and in each run, whatever the seed, and
    now and then it diverges at once.

    ## Example
    ```python
    import torch
    from torch import nn


    class Attention(nn.Module):
        def __init__(self, size=16):
            super().__init__()
            self.project = nn.Linear(size, size)
            self.query = nn.Parameter(torch.FloatTensor(size))

        def forward(self, x):
            return torch.tanh(self.project(x)) @ self.query
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Attention(nn.Module):
        def __init__(self, size=16):
            super().__init__()
            self.project = nn.Linear(size, size)
            self.query = nn.Parameter(torch.randn(size) * size**-0.5)

        def forward(self, x):
            return torch.tanh(self.project(x)) @ self.query
    ```

    ## How it is decided
    The model is built with PyTorch's own switch that fills new memory with NaN. A parameter of the
    traced forward that still holds NaN then was not written. The rule is silent where the project
    does something to the built model that may write them: `model.apply(...)`, `init_weights()`, a
    loop over its children. In a live module that is linted from Python, NaN may also come from a
    training that diverged.

    ## Known limits
    Buffers are not looked at: what fills them often runs later.

    ## References
    - https://docs.pytorch.org/docs/stable/deterministic.html
    - https://docs.pytorch.org/docs/stable/generated/torch.empty.html
    """

    name = "uninitialised-parameter"
    code = "NNL206"
    severity = Severity.ERROR
    category = Category.INITIALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each parameter with values that nothing has written."""
        paths = {id(p): path for path, p in graph.model.named_parameters()}
        seen: set[int] = set()
        for node in graph.nodes:
            if node.kind != "param" or id(node.tensor) not in paths or id(node.tensor) in seen:
                continue
            seen.add(id(node.tensor))
            if (count := _unwritten(node)) and node.users:
                if graph.written:
                    yield NotChecked("code outside of the class may write its parameters")
                    return
                yield self._found(graph, node, paths[id(node.tensor)], count)

    def _found(self, graph: ModelGraph, node: Node, path: str, count: int) -> Finding:
        tensor = node.tensor
        assert tensor is not None
        which = "its values are" if count == tensor.numel() else f"{count:,} of its values are"
        return self.finding(
            graph,
            _assignment(graph, path) or node.location,
            f"parameter `{path}` {tuple(tensor.shape)} is not initialised: {which} whatever the"
            " memory held before",
            help="write it in the constructor, e.g. nn.init.normal_(parameter, std=0.02)",
            evidence={"shape": list(tensor.shape), "unwritten": count},
            modules=[path.rpartition(".")[0]] if "." in path else [],
        )


def _unwritten(node: Node) -> int:
    tensor = node.tensor
    if tensor is None or not tensor.is_floating_point():
        return 0
    tensor = tensor.detach()
    return int(tensor.isnan().sum()) if bool(tensor.sum().isnan()) else 0


def _assignment(graph: ModelGraph, path: str) -> Location | None:
    """Return where the class of the linted file makes a parameter: `self.name = ...`."""
    if graph.source is None:
        return None
    owner, _, name = path.rpartition(".")
    classes = {cls.__name__ for cls in type(graph.model.get_submodule(owner)).__mro__}
    for node in ast.walk(graph.source.tree):
        if not isinstance(node, ast.ClassDef) or node.name not in classes:
            continue
        for inner in ast.walk(node):
            match inner:
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=found)]):
                    if found == name:
                        return graph.source.location(inner)
    return None
