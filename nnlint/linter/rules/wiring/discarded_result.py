"""The rule discarded-result (NNL504)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.wiring.liveness import has_effect, is_root, reaches
from nnlint.linter.rules.wiring.modules import parameters_of

if TYPE_CHECKING:
    import torch

_KEEPING = frozenset({"append", "extend", "add", "update", "insert", "setdefault", "appendleft"})


class DiscardedResult(Rule):
    """A learned layer is computed, but its result reaches no output.

    ## What it does
    Finds calls of layers with parameters whose result nobody uses in the end.

    ## Why is this bad?
    `self.bn(x)` without `x =` does nothing: layers return their result, they do not change their
    input. The layer gets no gradient, and the model is not the one that was meant.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.bn = nn.BatchNorm2d(16)
            self.head = nn.Linear(16, 10)

        def forward(self, x):
            x = self.conv(x)
            self.bn(x)
            x = torch.relu(x).mean(dim=(2, 3))
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.bn = nn.BatchNorm2d(16)
            self.head = nn.Linear(16, 10)

        def forward(self, x):
            x = self.conv(x)
            x = self.bn(x)
            x = torch.relu(x).mean(dim=(2, 3))
            return self.head(x)
    ```

    ## How it is decided
    From the outputs, the losses and everything that works in place, the graph is walked
    backwards; a layer with parameters that is not met has no effect. Of a dead chain its last
    layer is reported. In a loop where the same line is useful in other rounds, a dead last round
    is a note; of the same layer it is nothing.

    ## Known limits
    Where the same function stores values on `self` or the layer has forward hooks, results may be
    used behind the graph's back, and the rule stays silent.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/modules.html
    """

    name = "discarded-result"
    code = "NNL504"
    severity = Severity.WARNING
    category = Category.WIRING
    probe = "no-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report the last learned layer of each dead chain."""
        if not graph.outputs:
            return
        live = reaches(
            graph, root=lambda n: is_root(n) or has_effect(n), passes=lambda _source, _user: True
        )
        dead = [n for n in graph.nodes if n not in live and _is_layer(n)]
        if not dead:
            return
        useful = {n.call: n for n in live if n.kind == "op" and n.call is not None}
        same = {(n.call, id(n.module)) for n in live if n.module is not None}
        keeping = _keeping_lines(graph)
        before = _before_dead(graph, set(dead), live)
        for node in dead:
            if node in before or (node.call, id(node.module)) in same:
                continue
            if any(m._forward_hooks for m in _around(graph, node)):  # noqa: SLF001 - no public view
                yield NotChecked("forward hooks may take what forward discards")
            elif node.call is not None and node.call.line in keeping:
                yield NotChecked("forward keeps values on self")
            else:
                yield self._report(graph, node, loop=node.call in useful)

    def _report(self, graph: ModelGraph, node: Node, *, loop: bool) -> Finding:
        kind = (
            type(node.module).__name__
            if node.module is not None
            else str(node.op.name if node.op else "")
        )
        count = sum(p.numel() for p in parameters_of(node))
        name = f"`{node.path}` ({kind}, {count:,} parameters)"
        unused = "is not used" if not node.users else "reaches no output"
        return self.finding(
            graph,
            node.call or node.location,
            f"the result of {name} {unused}" + (" in the last round of the loop" if loop else ""),
            help="assign it (layers do not change their input), or remove the call",
            severity=Severity.NOTE if loop else None,
            evidence={"parameters": count},
            modules=[node.path],
        )


def _is_layer(node: Node) -> bool:
    if node.kind != "op" or node.stitched or node.op is None or not node.op.learned:
        return False
    return not node.family(Family.LOSS) and next(parameters_of(node), None) is not None


def _before_dead(graph: ModelGraph, dead: set[Node], live: set[Node]) -> set[Node]:
    """Return the nodes whose dead result goes into another dead layer."""
    before: set[Node] = set()
    for node in reversed(graph.nodes):
        if node not in live and any(u in dead or u in before for u in node.users):
            before.add(node)
    return before


def _around(graph: ModelGraph, node: Node) -> Iterator[torch.nn.Module]:
    if node.module is not None:
        yield node.module
    module = graph.model
    yield module
    for part in node.path.split("."):
        found = module._modules.get(part)  # noqa: SLF001 - a path of a trace, maybe made up
        if found is None:
            return
        module = found
        yield module


def _keeping_lines(graph: ModelGraph) -> set[int]:
    """Return the lines of functions that store something on an object, constructors left out."""
    lines: set[int] = set()
    if graph.source is None:
        return lines
    for function in ast.walk(graph.source.tree):
        if isinstance(function, ast.FunctionDef) and any(map(_keeps, ast.walk(function))):
            lines.update(range(function.lineno, (function.end_lineno or function.lineno) + 1))
    return lines


def _keeps(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Store)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        held = node.func.value
        return node.func.attr in _KEEPING and isinstance(held, ast.Attribute)
    return False
