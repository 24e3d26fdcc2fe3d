"""One pass over a graph that computes for each node in which interval its values lie."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

from nnlint.linter.graph import ModelGraph, Node, in_place
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.moving import SETITEM
from nnlint.linter.rules.numerics.intervals import NONE, UNKNOWN, Interval, number
from nnlint.linter.rules.numerics.transfer import transfer

_LAYERS = frozenset({Family.RECURRENT, Family.ATTENTION, Family.EMBEDDING})
# What these return has no gradient.
_CUTS = frozenset({Family.STOP, Family.COMPARE, Family.CREATION, Family.PYTHON})


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one node's values.

    Attributes:
        range: The bounds, and why it can be 0.
        data: Whether the values depend on the model's input.
        learned: Whether a gradient flows on from here into something that learns.
    """

    range: Interval = UNKNOWN
    data: bool = False
    learned: bool = False


class Ranges:
    """The facts of one graph.

    Values that are changed in place are unknown, since the graph shows them before the change.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self._facts: dict[Node, Fact] = {}
        block = not any(_is_layer(node) for node in graph.nodes)
        for node in graph.nodes:
            self._facts[node] = self._fact(node, block=block)
            if in_place(node) or node.op is SETITEM:
                self._forget(node.input)
        self._graph = weakref.ref(graph)
        self._reaching: set[Node] | None = None

    def of(self, value: Any) -> Interval:
        """Return the interval of an argument: a node or a plain number."""
        if isinstance(value, Node):
            if isinstance(value.value, (int, float)):
                return number(value.value)
            found = self._facts.get(value)
            return UNKNOWN if found is None else found.range
        return number(value) if isinstance(value, (int, float)) else UNKNOWN

    def learned(self, value: Any) -> bool:
        """Tell whether a gradient into this value reaches a parameter (or a block's input)."""
        found = self._facts.get(value) if isinstance(value, Node) else None
        return found is not None and found.learned

    def data(self, value: Any) -> bool:
        """Tell whether this value depends on the model's input."""
        found = self._facts.get(value) if isinstance(value, Node) else None
        return found is not None and found.data

    def trained_through(self, node: Node) -> bool:
        """Tell whether the loss, or what the model returns, sends a gradient into this node."""
        if self._reaching is None:
            graph = self._graph()
            nodes = graph.nodes if graph is not None else ()
            self._reaching = set()
            for current in reversed(nodes):
                ends = current.kind == "output" or current.family(Family.LOSS)
                if ends or (
                    current.grad
                    and not current.family(*_CUTS)
                    and any(user in self._reaching for user in current.users)
                ):
                    self._reaching.add(current)
        return node in self._reaching

    def _fact(self, node: Node, *, block: bool) -> Fact:
        if node.kind == "input":
            return Fact(data=True, learned=block and node.info.kind in (None, "float"))
        if node.kind == "param":
            return _parameter(node)
        if node.kind == "output":
            return Fact()
        known = [self._facts[i] for i in node.inputs if i in self._facts]
        data = any(fact.data for fact in known)
        learned = (
            node.grad
            and not node.family(*_CUTS)
            and (any(fact.learned for fact in known) or _trains(node))
        )
        found = transfer(node, self.of)
        # A constant, a size or a weight is what it is: nothing drives it to 0.
        return Fact(found if data else replace(found, zero=NONE), data, learned)

    def _forget(self, node: Node | None) -> None:
        while node is not None:
            if node in self._facts:
                self._facts[node] = replace(self._facts[node], range=UNKNOWN)
            node = node.input if node.family(Family.SHAPE) else None


def _parameter(node: Node) -> Fact:
    tensor = node.tensor
    if tensor is None or tensor.requires_grad:
        return Fact(learned=tensor is not None)
    if tensor.numel() == 1 and tensor.device.type == "cpu" and not tensor.is_complex():
        return Fact(number(float(tensor.item())))  # an eps that is kept as a buffer
    return Fact()


def _is_layer(node: Node) -> bool:
    return node.family(*_LAYERS) or _trains(node)


def _trains(node: Node) -> bool:
    return node.module is not None and any(p.requires_grad for p in node.module.parameters())


_CACHE: weakref.WeakKeyDictionary[ModelGraph, Ranges] = weakref.WeakKeyDictionary()


def ranges(graph: ModelGraph) -> Ranges:
    """Return the facts of a graph, computed once."""
    found = _CACHE.get(graph)
    if found is None:
        found = _CACHE[graph] = Ranges(graph)
    return found
