"""What makes a value: the nodes behind all that only moves, selects or resamples it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nnlint.linter.graph import TRANSPARENT, Node
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators import linear, moving, normalisation, pooling
from nnlint.linter.operators.base import Family, Operator

SOFTMAXES = frozenset({act.SOFTMAX, act.SOFTMIN, act.GUMBEL_SOFTMAX})
SIGMOIDS = frozenset({act.SIGMOID, act.HARDSIGMOID})
# Averages and selections over space: what is bounded stays bounded, what is raw stays raw.
_RESAMPLING = frozenset(
    {
        pooling.MAX_POOL1D,
        pooling.MAX_POOL2D,
        pooling.MAX_POOL3D,
        pooling.AVG_POOL1D,
        pooling.AVG_POOL2D,
        pooling.AVG_POOL3D,
        pooling.ADAPTIVE_AVG_POOL1D,
        pooling.ADAPTIVE_AVG_POOL2D,
        pooling.ADAPTIVE_AVG_POOL3D,
        pooling.ADAPTIVE_MAX_POOL1D,
        pooling.ADAPTIVE_MAX_POOL2D,
        pooling.ADAPTIVE_MAX_POOL3D,
        pooling.INTERPOLATE,
    }
)
# In families of movers, but these combine or compute values.
_NO_MOVERS = frozenset({moving.CHECKPOINT, moving.SCATTER})
_RAW_NORMS = frozenset(
    {
        normalisation.BATCH_NORM,
        normalisation.LAYER_NORM,
        normalisation.GROUP_NORM,
        normalisation.INSTANCE_NORM,
        normalisation.RMS_NORM,
    }
)
_KEPT = 8

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Origin:
    """What makes a value, behind all that only moves values.

    Attributes:
        ops: The operators; None stands for inputs, parameters and operations not in the table.
        nodes: The first few of the nodes.
    """

    ops: frozenset[Operator | None]
    nodes: tuple[Node, ...]


class Origins:
    """Walks back from values, each node at most once per instance."""

    def __init__(self, *, resampled: bool = False) -> None:
        self._resampled = resampled
        self._origins: dict[int, Origin] = {}
        self._raw: dict[int, bool] = {}

    def of(self, node: Node) -> Origin:
        """Return what makes the values of `node`; poolings are passed where `resampled`."""
        return fold(node, self._parents, _join, self._origins)

    def raw(self, node: Node) -> bool:
        """Tell whether the values are for certain an unconstrained result of learned layers.

        Sums of such values, and shifts and scales by numbers and parameters, are so too.
        """
        return fold(node, self._summands, _is_raw, self._raw)

    def _parents(self, node: Node) -> Sequence[Node]:
        moves = node.family(*TRANSPARENT) or (self._resampled and node.op in _RESAMPLING)
        return _moved(node) if moves and node.op not in _NO_MOVERS else ()

    def _summands(self, node: Node) -> Sequence[Node]:
        if node.op in _LINEAR_IN_VALUE:
            return [n for n in node.inputs if n.kind != "param" and n.value is None]
        return self._parents(node)


_LINEAR_IN_VALUE = frozenset(
    {
        math_ops.ADD,
        math_ops.SUB,
        math_ops.MUL,
        math_ops.DIV,
        math_ops.NEG,
        math_ops.MEAN,
        math_ops.SUM,
    }
)


def _moved(node: Node) -> Sequence[Node]:
    """Return the values that a mover moves, without indices and sizes."""
    moved = node.args.get("input")
    found = moved if isinstance(moved, (tuple, list)) else (moved,)
    return [n for n in found if isinstance(n, Node)]


def _join(node: Node, parents: Sequence[Origin]) -> Origin:
    if not parents:
        return Origin(frozenset({node.op}), (node,))
    nodes = dict.fromkeys(n for parent in parents[:_KEPT] for n in parent.nodes)
    return Origin(frozenset().union(*(p.ops for p in parents)), tuple(nodes)[:_KEPT])


def _is_raw(node: Node, parents: Sequence[bool]) -> bool:
    if parents:
        # x - y may be x minus its own maximum or logsumexp, x / y a normalisation.
        alone = len(parents) == 1
        return all(parents) and (alone or node.op not in (math_ops.SUB, math_ops.DIV))
    if node.op in linear.WEIGHTED or node.op is linear.BILINEAR:
        weight = node.parameter("weight")  # a fixed kernel may average probabilities
        return weight is not None and weight.requires_grad
    if node.op in (linear.MATMUL, linear.ADDMM):
        return any(
            n.kind == "param" and n.tensor is not None and n.tensor.requires_grad
            for n in node.inputs
        )
    return node.op in _RAW_NORMS or node.family(Family.RECURRENT)


def fold(
    root: Node,
    parents: Callable[[Node], Sequence[Node]],
    combine: Callable[[Node, Sequence[Result]], Result],
    known: dict[int, Result],
) -> Result:
    """Compute a value from those of a node's parents, without recursion."""
    stack = [root]
    while stack:
        node = stack[-1]
        above = parents(node)
        missing = [p for p in above if p.index not in known]
        if node.index not in known and missing:
            stack.extend(missing)
            continue
        stack.pop()
        if node.index not in known:
            known[node.index] = combine(node, [known[p.index] for p in above])
    return known[root.index]
