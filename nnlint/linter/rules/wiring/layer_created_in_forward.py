"""The rule layer-created-in-forward (NNL503)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, Rule
from nnlint.linter.rules.wiring.modules import count_parameters


class LayerCreatedInForward(Rule):
    """A layer with parameters is built inside forward.

    ## What it does
    Finds modules with trainable parameters that are constructed while forward runs.

    ## Why is this bad?
    Each call makes a new layer with fresh random weights; the optimiser has never heard of it, and
    what it learnt would be thrown away anyway. The model trains around a layer of noise.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 64)

        def forward(self, x):
            x = torch.relu(self.fc(x))
            head = nn.Linear(64, 3)
            return head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.fc(x))
            return self.head(x)
    ```

    ## How it is decided
    The construction of modules is watched while the model is traced. Modules without parameters
    (`nn.ReLU()`) and with frozen ones (a fixed filter) may be built anywhere. A layer that is
    built once and kept (`if self.fc is None: self.fc = nn.Linear(...)`) is a warning: it is
    trained only if the optimiser is made after the first call.

    ## Known limits
    A branch of forward that the trace does not take is not watched.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.modules.lazy.LazyModuleMixin.html
    """

    name = "layer-created-in-forward"
    code = "NNL503"
    severity = Severity.ERROR
    category = Category.WIRING

    def check(self, graph: ModelGraph) -> Iterator[Finding]:
        """Report each module that the trace saw being built."""
        guarded: set[int] | None = None
        for module, place in graph.created:
            if not any(p.requires_grad for p in module.parameters(recurse=False)):
                continue
            if guarded is None:
                guarded = _guarded_lines(graph)
            once = place is not None and place.path == graph.location.path and place.line in guarded
            yield self._report(graph, type(module).__name__, count_parameters(module), place, once)

    def _report(
        self, graph: ModelGraph, kind: str, count: int, place: Location | None, once: bool
    ) -> Finding:
        if once:
            return self.finding(
                graph,
                place,
                f"{kind} ({count:,} parameters) is built at the first call of forward: an optimiser"
                " made before that does not have it",
                help="build it in __init__, or use the lazy layer (nn.LazyLinear) and run one batch"
                " before making the optimiser",
                severity=Severity.WARNING,
                evidence={"parameters": count},
            )
        return self.finding(
            graph,
            place,
            f"{kind} ({count:,} parameters) is built inside forward: it has new random weights at"
            " every call and is never trained",
            help="build it in __init__ and keep it as an attribute",
            evidence={"parameters": count},
        )


def _guarded_lines(graph: ModelGraph) -> set[int]:
    """Return the lines under an `if` that asks whether an attribute of self is there already."""
    lines: set[int] = set()
    if graph.source is None:
        return lines
    for node in ast.walk(graph.source.tree):
        if isinstance(node, ast.If) and any(_asks_self(part) for part in ast.walk(node.test)):
            for statement in node.body:
                if _keeps(statement):
                    lines.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return lines


def _asks_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _keeps(statement: ast.stmt) -> bool:
    """Tell whether a statement stores something on self, or calls a method that may."""
    return any(_asks_self(node) for node in ast.walk(statement))
