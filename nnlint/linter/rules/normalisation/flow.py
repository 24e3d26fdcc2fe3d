"""What several rules ask about dropout and batch norm: rates, modes, and which reaches which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnlint.linter.graph import Node, data_inputs, takes_one, takes_several
from nnlint.linter.operators import arithmetic, dropout, linear, normalisation
from nnlint.linter.operators.base import Family

# Operators that hand each value on by itself; with a single data input there is nothing to join.
UNARY = frozenset({Family.SHAPE, Family.PASS, Family.ACTIVATION, Family.POOL, Family.ELEMENTWISE})
_OFF_BY_DEFAULT = frozenset({dropout.ALPHA_DROPOUT, dropout.FEATURE_ALPHA_DROPOUT})


def rate(node: Node) -> float | None:
    """Return the rate of a dropout, None where it is no plain number."""
    found = node.arg("p", 0.5)
    return float(found) if isinstance(found, (int, float)) else None


def drops(node: Node) -> bool:
    """Tell whether a node is a dropout that is on in training with a rate above 0."""
    if not node.family(Family.DROPOUT) or not (rate(node) or 0) > 0:
        return False
    return bool(node.arg("training", node.op not in _OFF_BY_DEFAULT))


def uses_batch_statistics(node: Node) -> bool:
    """Tell whether a batch (or instance) norm normalises by what it sees, not by kept statistics."""
    if node.op is normalisation.INSTANCE_NORM:
        return not node.arg("track_running_stats", default=False) or bool(
            node.arg("training", default=True)
        )
    if node.module is not None and getattr(node.module, "running_mean", None) is None:
        return True
    return bool(node.arg("training", default=False))


def keeps_statistics(node: Node) -> bool:
    """Tell whether a batch norm gathers running statistics in training, to use them in eval."""
    return bool(node.arg("training", default=False)) and node.arg("running_mean") is not None


def is_batch_norm(node: Node) -> bool:
    """Tell whether a node is a batch norm of any rank."""
    return node.op is normalisation.BATCH_NORM


def is_weighted(node: Node) -> bool:
    """Tell whether a node is a linear layer or a convolution."""
    return node.op in linear.WEIGHTED


def is_join(node: Node) -> bool:
    """Tell whether a node joins several values: a residual add, a concatenation, a product."""
    return node.family(Family.ELEMENTWISE, Family.SHAPE) and takes_several(node)


def is_residual_add(node: Node) -> bool:
    """Tell whether a node adds two values that both depend on the input."""
    return node.op is arithmetic.ADD and takes_several(node)


def data_users(node: Node) -> list[Node]:
    """Return the users that take the values, not the size."""
    return [u for u in node.users if u.value is None and not u.family(Family.PYTHON)]


def nearest(
    nodes: Sequence[Node], wanted: Callable[[Node], bool], through: frozenset[Family] = UNARY
) -> dict[Node, Node]:
    """Find for each node the first wanted node that its values reach through unary operators.

    One pass from the last node to the first, so that it stays linear in the size of the graph.
    """
    found: dict[Node, Node] = {}
    for node in reversed(nodes):
        for user in node.users:
            if wanted(user):
                found[node] = user
                break
            if user in found and user.family(*through) and takes_one(user):
                found[node] = found[user]
                break
    return found


def only_source(node: Node, through: frozenset[Family]) -> Node | None:
    """Walk back over single-input, single-use nodes to the first that is not of `through`."""
    while True:
        if not takes_one(node):
            return None
        node = data_inputs(node)[0]
        if not node.family(*through):
            return node
        if len(data_users(node)) > 1:
            return None
