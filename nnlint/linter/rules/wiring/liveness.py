"""Which values of a graph reach an output or a loss, and what changes values in place."""

from __future__ import annotations

from collections.abc import Callable

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family


def has_effect(node: Node) -> bool:
    """Tell whether a call puts a value somewhere else than in its result.

    Calls that are not in the operator table may do anything. An in-place operator with a single
    input only changes that.
    """
    if node.kind != "op":
        return False
    if node.op is None or "out" in node.args:
        return True
    if len(node.inputs) < 2:
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    base = name.partition(".")[0]
    return base == "setitem" or (base.endswith("_") and not base.endswith("__"))


def is_root(node: Node) -> bool:
    """Tell whether a node is an end that training sees: an output or a loss that it runs."""
    return node.kind == "output" or (node.family(Family.LOSS) and node.training)


def reaches(
    graph: ModelGraph, *, root: Callable[[Node], bool], passes: Callable[[Node, Node], bool]
) -> set[Node]:
    """Return the nodes from which a way leads to a root, the roots included.

    Args:
        graph: The graph.
        root: Tells the ends.
        passes: Called as passes(source, user); tells whether this step of the way counts.
    """
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        if root(node) or any(user in found and passes(node, user) for user in node.users):
            found.add(node)
    return found
