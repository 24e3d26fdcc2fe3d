"""From an fx graph of any origin to nodes with canonical operators and bound arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.fx

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node
from nnlint.linter.operators.arithmetic import ASSERT
from nnlint.linter.operators.base import Match, Operator, bind, table
from nnlint.linter.trace.symbolic import Mark, SymbolicTrace

BuiltAt = Callable[[torch.nn.Module], Location | None]


class Converter:
    """Turns fx nodes into graph nodes, one after the other.

    Attributes:
        nodes: What was made so far, in execution order.
    """

    def __init__(self, model: torch.nn.Module, built_at: BuiltAt) -> None:
        self.nodes: list[Node] = []
        self._model = model
        self._built_at = built_at
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._made: dict[torch.fx.Node, Node] = {}

    def add(
        self, fx_node: torch.fx.Node, mark: Mark | None, orphans: Mapping[str, torch.nn.Module]
    ) -> Node:
        """Convert one node, whose inputs are converted already."""
        node = self._node(fx_node, mark, orphans)
        self._made[fx_node] = node
        if node.op is not ASSERT:
            self.nodes.append(node)
            link(node)
        return node

    def find(self, fx_node: torch.fx.Node) -> Node | None:
        """Return what was made of an fx node."""
        return self._made.get(fx_node)

    def _values(self, argument: Any) -> Any:
        def value(found: Any) -> Any:
            if not isinstance(found, torch.fx.Node):
                return found
            if found not in self._made and found.op == "get_attr":
                # fx makes these without telling the tracer, for buffers and constants.
                self.add(found, None, {})
            return self._made.get(found)

        return torch.fx.node.map_aggregate(argument, value)

    def _node(
        self, fx_node: torch.fx.Node, mark: Mark | None, orphans: Mapping[str, torch.nn.Module]
    ) -> Node:
        args, kwargs = self._values(fx_node.args), self._values(fx_node.kwargs)
        call = mark.call if mark else None
        node = Node(len(self.nodes), "op", target=fx_node.target, name=fx_node.name)
        node.call = node.location = call
        node.path = mark.path if mark else ""
        node.grad = mark.grad if mark else True
        node.custom = mark.custom if mark else False
        if fx_node.op == "placeholder":
            node.kind, node.name = "input", str(fx_node.target).lstrip("*")
            node.location = node.call = None
        elif fx_node.op == "output":
            node.kind, node.args = "output", {"input": args[0] if args else None}
            node.location = node.call = None
        elif fx_node.op == "get_attr":
            node.kind, node.path = "param", str(fx_node.target)
            node.tensor = _attribute(self._model, node.path)
        elif fx_node.op == "call_module":
            name = str(fx_node.target)
            bind_module(
                node, orphans[name] if name in orphans else self._modules[name], args, kwargs
            )
            node.path = name
            node.built = self._built_at(node.module) if node.module is not None else None
            if mark is not None and mark.in_container and node.built is not None:
                node.location = node.built
        elif fx_node.op == "call_method":
            bind_method(node, str(fx_node.target), args, kwargs)
        else:
            bind_function(node, fx_node.target, args, kwargs)
        return node


def convert(trace: SymbolicTrace, model: torch.nn.Module, built_at: BuiltAt) -> list[Node]:
    """Turn a finished symbolic trace into graph nodes."""
    converter = Converter(model, built_at)
    for fx_node in trace.graph.nodes:
        converter.add(fx_node, trace.marks.get(fx_node), trace.orphans)
    return converter.nodes


def link(node: Node) -> None:
    """Fill `inputs` from the arguments and enter the node among its inputs' users."""
    node.inputs = nodes_in(node.args)
    for source in node.inputs:
        source.users.append(node)


def nodes_in(arguments: Any) -> tuple[Node, ...]:
    """Return the nodes in the arguments of a call, in order, without repetition."""
    found: dict[int, Node] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Node):
            found.setdefault(value.index, value)
        elif isinstance(value, (tuple, list)):
            for item in value:
                visit(item)
        elif isinstance(value, Mapping):
            for item in value.values():
                visit(item)
        elif isinstance(value, slice):
            visit((value.start, value.stop, value.step))

    visit(arguments)
    return tuple(found.values())


def bind_module(node: Node, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
    """Make a node the call of a module."""
    node.module, node.target = module, type(module)
    node.op = table().module(type(module))
    node.args = bind(module_params(node.op, module), args, kwargs)


def module_params(op: Operator | None, module: torch.nn.Module) -> tuple[str, ...]:
    """Return the parameter names of a module call: the operator's, less what the module owns."""
    if op is None:
        return ("input",)
    if "module" in op.signatures:
        return op.signatures["module"]
    return tuple(name for name in op.params if not hasattr(module, name))


def bind_method(node: Node, name: str, args: Any, kwargs: Any) -> None:
    """Make a node the call of a tensor's method, or of an attribute that is written ".name"."""
    _bind(node, table().method(name), args, kwargs)


def bind_function(node: Node, target: Any, args: Any, kwargs: Any) -> None:
    """Make a node the call of a function."""
    if target is getattr:
        bind_method(node, f".{args[1]}", (args[0],), kwargs)
    else:
        _bind(node, table().function(target), args, kwargs)


def _bind(node: Node, match: Match | None, args: Any, kwargs: Any) -> None:
    node.op = match.op if match else None
    node.args = bind(match.params if match else ("input",), args, kwargs)


def _attribute(model: torch.nn.Module, path: str) -> torch.Tensor | None:
    found: Any = model
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, torch.Tensor) else None
