"""The rule unregistered-layer (NNL502)."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.base import Category, Rule
from nnlint.linter.rules.wiring.modules import count_parameters, listing

if TYPE_CHECKING:
    import torch

# A list attribute is searched up to here; layer lists are short, data tables are not.
_MAX_ELEMENTS = 10_000
_KIND: dict[Any, str] = {
    list: "list",
    tuple: "tuple",
    dict: "dict",
    set: "set",
    types.FunctionType: "closure",
}


class UnregisteredLayer(Rule):
    """A layer is kept where `parameters()` does not find it: in a plain list, tuple or dict.

    ## What it does
    Finds modules with trainable parameters in plain Python containers of a module, and modules
    that forward calls without their being registered at all (a global, a closure).

    ## Why is this bad?
    `nn.Module` registers modules that are attributes, not those in a list. An optimiser made of
    `model.parameters()` never updates them, `.to(device)` leaves them behind, and `state_dict()`
    does not save them. The model still runs, with random layers in it.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [nn.Linear(16, 16) for _ in range(3)]
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            for block in self.blocks:
                x = torch.relu(block(x))
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            for block in self.blocks:
                x = torch.relu(block(x))
            return self.head(x)
    ```

    ## How it is decided
    The attributes of the live modules are searched, nested containers and closures included. What
    counts is that the parameters are not among `model.parameters()` under another name, and that
    the trace calls the layer with gradients on; a layer that is kept so and never called is a note.
    A network that was hidden on purpose is left alone: frozen parameters, evaluation mode, or
    calls under `torch.no_grad()` only.

    ## Known limits
    Layers inside arbitrary objects are found only when forward calls them and torch.fx can follow.

    ## References
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
    """

    name = "unregistered-layer"
    code = "NNL502"
    severity = Severity.ERROR
    category = Category.WIRING

    def check(self, graph: ModelGraph) -> Iterator[Finding]:
        """Report hidden modules by attribute, then those that only the trace shows."""
        import torch

        if type(graph.model).parameters is not torch.nn.Module.parameters:
            return  # the class has its own idea of what its parameters are
        registered = {id(p) for p in graph.model.parameters()}
        created = {id(layer) for module, _ in graph.created for layer in module.modules()}
        calls = _calls(graph)
        reported: set[int] = set()
        for path, module in list(graph.model.named_modules()):
            for attribute, kind, found in _hidden(module):
                hidden = [m for m in found if _is_hidden(m, registered)]
                for item in hidden:
                    reported.update(map(id, item.modules()))
                hidden = [m for m in hidden if not _on_purpose(m, graph.model, calls)]
                if hidden:
                    where = f"{path}.{attribute}" if path else attribute
                    yield self._held(graph, where, kind, hidden, calls)
        for node in graph.nodes:
            layer = node.module
            if layer is None or node.stitched or id(layer) in reported or id(layer) in created:
                continue
            reported.add(id(layer))
            if _is_hidden(layer, registered) and not _on_purpose(layer, graph.model, calls):
                yield self.finding(
                    graph,
                    graph.built_at(layer) or node,
                    f"{type(layer).__name__} ({count_parameters(layer):,} parameters) is called in"
                    " forward but belongs to no registered module",
                    help="make it an attribute of the model in __init__",
                    modules=[node.path],
                )

    def _held(
        self,
        graph: ModelGraph,
        where: str,
        kind: str,
        hidden: list[torch.nn.Module],
        calls: Mapping[int, list[Node]],
    ) -> Finding:
        count = sum(map(count_parameters, hidden))
        called = any(id(layer) in calls for module in hidden for layer in module.modules())
        names = listing(type(m).__name__ for m in hidden)
        use = "nn.ModuleDict" if kind == "dict" else "nn.ModuleList"
        return self.finding(
            graph,
            graph.built_at(hidden[0]),
            f"`{where}` keeps {len(hidden)} module{'s' * (len(hidden) > 1)} ({names}, {count:,}"
            f" parameters) in a plain {kind}: model.parameters() does not have them",
            help=f"wrap them in {use}, so that they are trained, moved and saved",
            severity=None if called else Severity.NOTE,
            evidence={"parameters": count, "modules": len(hidden)},
            modules=[where],
        )


def _calls(graph: ModelGraph) -> dict[int, list[Node]]:
    calls: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.module is not None:
            calls.setdefault(id(node.module), []).append(node)
    return calls


def _is_hidden(module: torch.nn.Module, registered: set[int]) -> bool:
    parameters = [id(p) for p in module.parameters()]
    return bool(parameters) and not any(p in registered for p in parameters)


def _on_purpose(
    module: torch.nn.Module, model: torch.nn.Module, calls: Mapping[int, list[Node]]
) -> bool:
    if not any(p.requires_grad for p in module.parameters()):
        return True
    if model.training and not module.training:
        return True  # someone has called .eval() on it
    nodes = [node for layer in module.modules() for node in calls.get(id(layer), ())]
    return bool(nodes) and not any(node.grad for node in nodes)


def _hidden(module: torch.nn.Module) -> Iterator[tuple[str, str, list[torch.nn.Module]]]:
    """Yield the attributes of a module that keep modules in Python containers or closures."""
    if type(module).__module__.partition(".")[0] == "torch":
        return
    import torch

    internal = vars(torch.nn.Module())
    for name, value in vars(module).items():
        kind = _KIND.get(type(value))
        if kind is None or name in internal:
            continue
        found = _modules_in(value)
        if found:
            yield name, kind, found


def _modules_in(value: Any) -> list[torch.nn.Module]:
    import torch

    found: dict[int, torch.nn.Module] = {}
    stack, seen = [value], 0
    while stack and seen < _MAX_ELEMENTS:
        current = stack.pop()
        seen += 1
        if isinstance(current, torch.nn.Module):
            found[id(current)] = current
        elif type(current) is dict:
            stack.extend(list(current.values())[:_MAX_ELEMENTS])
        elif isinstance(current, types.FunctionType):
            cells = current.__closure__ or ()
            stack.extend(cell.cell_contents for cell in cells if _filled(cell))
        elif type(current) in _KIND:
            stack.extend(list(current)[:_MAX_ELEMENTS])
    return list(reversed(found.values()))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
