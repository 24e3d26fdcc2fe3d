"""What `nnlint summary` tells of a model, layer by layer; made where the model is alive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.load.initialised import last_write

if TYPE_CHECKING:
    import torch

    from nnlint.linter.load.tasks import Work
    from nnlint.linter.signal.propagate import Signal


def task(work: Work) -> Mapping[str, Any]:
    """Return the layers of a model with what is predicted of them."""
    if work.graph is None:
        return {"layers": []}
    return summary_of(work.graph)


def summary_of(graph: ModelGraph) -> Mapping[str, Any]:
    """Return inputs, loss, parameters and layers of a traced model."""
    from nnlint.linter.signal.chains import signal_of

    signal = signal_of(graph)
    parameters = {id(p): p for p in graph.model.parameters()}
    return {
        "inputs": [
            {"name": node.name, "shape": None if node.info.shape is None else list(node.info.shape)}
            for node in graph.nodes
            if node.kind == "input"
        ],
        "loss": next((node.op.name for node in graph.losses if node.op is not None), None),
        "parameters": sum(p.numel() for p in parameters.values() if not hasattr(p, "materialize")),
        "layers": list(_layers(graph, signal)),
    }


def _layers(graph: ModelGraph, signal: Signal) -> Iterator[Mapping[str, Any]]:
    """Yield the modules with parameters of their own in the order in which they are run.

    A module that is registered twice comes once, and a parameter that two modules share counts
    with the first of them.
    """
    places = _places(graph)
    owners = [
        (path, module)
        for path, module in graph.model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    order = {path: index for index, (path, _) in enumerate(owners)}
    counted: set[int] = set()
    for path, module in sorted(owners, key=lambda pair: (_first(places, pair[0]), order[pair[0]])):
        own = dict(module.named_parameters(recurse=False))
        fresh = [p for p in own.values() if id(p) not in counted]
        counted.update(map(id, own.values()))
        node = _result(places.get(path, ()))
        value = None if node is None else signal.value(node)
        shape = None if node is None else node.info.shape
        yield {
            "path": path,
            "type": type(module).__name__,
            "output_shape": None if shape is None else list(shape),
            "parameters": sum(p.numel() for p in fresh if not hasattr(p, "materialize")),
            "initialiser": _initialiser(module, own),
            "predicted_activation_rms": None if value is None else _finite(value.rms),
            "predicted_gradient_rms": _gradient(signal, own),
        }


def _places(graph: ModelGraph) -> dict[str, list[Node]]:
    """Return for each module the nodes that call it or that use its parameters."""
    found: dict[str, list[Node]] = {}
    names = {id(p): name for name, p in graph.model.named_parameters()}
    paths = {id(module): path for path, module in graph.model.named_modules()}
    for node in graph.nodes:
        if node.stitched:
            continue
        if node.module is not None and id(node.module) in paths:
            found.setdefault(paths[id(node.module)], []).append(node)
        elif node.kind == "param" and node.tensor is not None and id(node.tensor) in names:
            owner = names[id(node.tensor)].rpartition(".")[0]
            found.setdefault(owner, []).extend(user for user in node.users if user.kind == "op")
    return found


def _first(places: Mapping[str, list[Node]], path: str) -> float:
    """Return when a module is first run; inside a module of torch's, when that one is."""
    while True:
        if path in places:
            return min(node.index for node in places[path])
        if not path:
            return math.inf
        path = path.rpartition(".")[0]


def _result(nodes: Any) -> Node | None:
    return next((node for node in nodes if node.kind == "op"), None)


def _initialiser(module: torch.nn.Module, own: Mapping[str, torch.nn.Parameter]) -> str | None:
    """Return what wrote the weight, or else the first parameter; None where it is not known."""
    name = "weight" if "weight" in own else next(iter(own))
    write = last_write(module, name)
    if write is None:
        return None
    return "default" if write.kind == "default" else write.name


def _gradient(signal: Signal, own: Mapping[str, torch.nn.Parameter]) -> float | None:
    """Return the predicted RMS over all of a module's parameters; None unless all are known."""
    total = count = 0.0
    for parameter in own.values():
        if not parameter.requires_grad:
            continue
        rms = signal.gradient_rms(parameter)
        if rms is None:
            return None
        total += rms**2 * parameter.numel()
        count += parameter.numel()
    return _finite(math.sqrt(total / count)) if count else None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
