"""Where gradients can go: trainable parameters, cuts, and what is cut on purpose."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators import moving
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.wiring.modules import parameters_of

if TYPE_CHECKING:
    import torch

# No gradient comes through these: their result is not a differentiable function of the input.
_BLIND = (Family.STOP, Family.COMPARE, Family.CREATION, Family.PYTHON)
# Values of these do not depend on the values of their inputs, only on sizes.
_VALUELESS = (Family.CREATION, Family.PYTHON)
_SUMS = frozenset({math_ops.ADD, math_ops.SUB})
# A straight-through estimator is a sum of few terms.
_MAX_TERMS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A parameter that wants a gradient, with the nodes that read it."""

    name: str
    tensor: torch.nn.Parameter
    users: tuple[Node, ...]


def trained_parameters(graph: ModelGraph) -> list[Trained]:
    """Return the trainable parameters that some node reads."""
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.kind != "param":
            for parameter in parameters_of(node):
                users.setdefault(id(parameter), []).append(node)
    return [
        Trained(name, parameter, tuple(users[id(parameter)]))
        for name, parameter in graph.model.named_parameters()
        if parameter.requires_grad and id(parameter) in users
    ]


class Gradients:
    """Answers which steps of a graph carry values, and which carry gradients."""

    def __init__(self, graph: ModelGraph) -> None:
        self._through = _straight_through(graph)

    def open(self, node: Node) -> bool:
        """Tell whether a gradient of the node's result becomes one of its inputs."""
        if not node.grad:
            return False
        return node.custom or node in self._through or not node.family(*_BLIND)

    def carries(self, source: Node, user: Node) -> bool:
        """Tell whether values of `source` go into the result of `user`, targets left out."""
        if user.family(*_VALUELESS):
            return False
        return not (user.family(Family.LOSS) and user.args.get("input") is not source)


def _straight_through(graph: ModelGraph) -> set[Node]:
    """Return the cuts inside sums that also have the uncut value: `x + (q - x).detach()`."""
    found: set[Node] = set()
    for node in graph.ops(moving.DETACH):
        for user in node.users:
            terms = _terms(user)
            uncut = {t for t in terms if t.op is not moving.DETACH}
            inner = {i for t in terms if t.op is moving.DETACH for i in _inside(t)}
            if uncut & inner:
                found.update(t for t in terms if t.op is moving.DETACH)
    return found


def _terms(node: Node) -> list[Node]:
    """Return the terms of the sum that a node is in, sums over and under it included."""
    if node.op not in _SUMS:
        return []
    for _ in range(3):
        above = next((u for u in node.users if u.op in _SUMS), None)
        if above is None:
            break
        node = above
    terms: list[Node] = []
    stack = [node]
    while stack and len(terms) < _MAX_TERMS:
        current = stack.pop()
        for source in current.inputs:
            if source.op in _SUMS and len(stack) < _MAX_TERMS:
                stack.append(source)
            terms.append(source)
    return terms


def _inside(cut: Node) -> Iterator[Node]:
    for source in cut.inputs:
        yield source
        if source.op in _SUMS:
            yield from source.inputs


def without_twins(
    cut: list[Trained], trained: Iterable[Trained], graph: ModelGraph
) -> list[Trained]:
    """Leave out parameters of teachers and moving averages: networks with a trained twin.

    A twin has the same parameters under another attribute, and does not come after the cut one.
    """
    missing = {t.name for t in cut}
    behind: set[Node] = {n for t in cut for n in t.users}
    for node in graph.nodes:
        if any(i in behind for i in node.inputs) and node.kind == "op":
            behind.add(node)
    shapes = {
        key
        for t in trained
        if t.name not in missing and not any(n in behind for n in t.users)
        for key in _keys(t)
    }
    return [t for t in cut if not any(key in shapes for key in _keys(t))]


def _keys(trained: Trained) -> Iterator[tuple[object, ...]]:
    """Yield the name with one attribute left open at a time, and the shape."""
    parts = trained.name.split(".")
    for place, part in enumerate(parts[:-1]):
        if not part.isdigit():
            yield (*parts[:place], "*", *parts[place + 1 :], tuple(trained.tensor.shape))


def writes_parameters(graph: ModelGraph) -> bool:
    """Tell whether the file updates or trains layers by hand, or switches gradients by a flag."""
    if graph.source is None:
        return False
    return any(map(_writes, _outside_constructors(graph.source.tree)))


def _outside_constructors(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of methods that are no initialisation."""
    for cls in ast.walk(tree):
        if isinstance(cls, ast.ClassDef):
            for method in cls.body:
                if isinstance(method, ast.FunctionDef) and "init" not in method.name:
                    yield from ast.walk(method)


def _writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.attr in ("data", "weight", "bias")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    called, on = node.func.attr, node.func.value
    if called in ("backward", "manual_backward", "zero_grad"):
        return True
    if called == "set_grad_enabled":
        return not (node.args and isinstance(node.args[0], ast.Constant))
    return called.endswith("_") and isinstance(on, ast.Attribute) and on.attr == "data"
