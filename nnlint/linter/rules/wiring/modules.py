"""Which registered modules and parameters the nodes of a graph use."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family, table

if TYPE_CHECKING:
    import torch


def parameters_of(node: Node) -> Iterator[torch.nn.Parameter]:
    """Yield the parameters that a node reads: its layer's, and those among its arguments."""
    import torch

    if node.module is not None:
        yield from node.module.parameters()
    for source in node.inputs:
        if source.kind == "param" and isinstance(source.tensor, torch.nn.Parameter):
            yield source.tensor


def used_objects(graph: ModelGraph) -> set[int]:
    """Return the identities of all modules and parameters that some node uses."""
    import torch

    modules = dict(graph.model.named_modules(remove_duplicate=False))
    used = {id(graph.model)}
    paths: set[str] = set()
    for node in graph.nodes:
        if node.kind == "param":
            if node.users and isinstance(node.tensor, torch.nn.Parameter):
                used.add(id(node.tensor))
            continue
        paths.add(node.path)
        if node.module is not None and id(node.module) not in used:
            # Whatever hangs below a layer is the layer's own business.
            used.update(map(id, node.module.modules()))
            used.update(map(id, node.module.parameters()))
    for path in paths:
        parts = path.split(".") if path else []
        for prefix in itertools.accumulate(parts, lambda a, b: f"{a}.{b}"):
            if (module := modules.get(prefix)) is not None:
                used.add(id(module))
    return used


@dataclass(frozen=True, slots=True, eq=False)
class Unused:
    """A module that no node uses, the outermost such.

    Attributes:
        module: The module.
        path: Its qualified path.
        owner: The nearest module around it that is no plain container.
        attribute: The attribute of the owner that holds it, or the container that it is in.
        key: Its index or key in the container that holds it directly, "" where there is none.
        size: How many elements that container has.
    """

    module: torch.nn.Module
    path: str
    owner: torch.nn.Module
    attribute: str
    key: str
    size: int


def unused_modules(graph: ModelGraph) -> Iterator[Unused]:
    """Yield the outermost modules that no node uses, each once.

    Of those without parameters only single layers that compute something count: no containers, no
    losses, which training code calls by itself.
    """
    import torch

    containers = (torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.Sequential)
    used = used_objects(graph)
    touched = _touched(graph.model, used)
    seen: set[int] = set()
    stack: list[tuple[torch.nn.Module, str, torch.nn.Module, str]] = [
        (graph.model, "", graph.model, "")
    ]
    while stack:
        module, path, owner, attribute = stack.pop()
        inside = type(module) in containers
        below: list[tuple[torch.nn.Module, str, torch.nn.Module, str]] = []
        for name, child in module.named_children():
            if id(child) in seen:
                continue
            seen.add(id(child))
            where = f"{path}.{name}" if path else name
            holder = owner if inside else module
            held = attribute if inside else name
            if id(child) in touched:
                below.append((child, where, holder, held))
            elif next(child.parameters(), None) is not None or _computes(child):
                size = len(module._modules)  # noqa: SLF001 - all three containers keep them there
                yield Unused(child, where, holder, held, name if inside else "", size)
        stack.extend(reversed(below))


def _computes(module: torch.nn.Module) -> bool:
    """Tell whether a module without parameters is a layer of torch's that changes its input."""
    op = table().module(type(module))
    return op is not None and op.family not in (Family.LOSS, Family.PASS)


def _touched(model: torch.nn.Module, used: set[int]) -> set[int]:
    """Return the identities of the modules that are used or contain anything used."""
    touched: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[torch.nn.Module, bool]] = [(model, False)]
    while stack:
        module, children_done = stack.pop()
        if children_done:
            below = any(id(child) in touched for child in module.children())
            own = any(id(p) in used for p in module.parameters(recurse=False))
            if id(module) in used or own or below:
                touched.add(id(module))
        elif id(module) not in done:
            done.add(id(module))
            stack.append((module, True))
            stack.extend((child, False) for child in module.children())
    return touched


def count_parameters(module: torch.nn.Module) -> int:
    """Count the values of a module's parameters; those of lazy layers have no size yet."""
    from torch.nn.parameter import is_lazy

    return sum(p.numel() for p in module.parameters() if not is_lazy(p))


def listing(names: Iterable[str], limit: int = 4) -> str:
    """Join names for a message: `a`, `b` and 3 more."""
    found = [f"`{name}`" for name in dict.fromkeys(names)]
    if len(found) > limit:
        return f"{', '.join(found[: limit - 1])} and {len(found) - limit + 1} more"
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else found[0]
