"""Linear maps with weights of their own, and which of them follow one another directly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnlint.linter.graph import Node, consumers, sources
from nnlint.linter.operators import arithmetic, linear, moving, pooling
from nnlint.linter.operators.base import Family

_DENSE = linear.CONVOLUTIONS | {linear.LINEAR}
# The products of attention, and its scaling.
_PRODUCTS = frozenset({linear.MATMUL, linear.EINSUM, linear.ADDMM})
_SCALES = frozenset({arithmetic.MUL, arithmetic.DIV})
# What keeps a sequence of linear maps linear, each on the features that the other made.
_BETWEEN = frozenset(
    {
        moving.VIEW, moving.VIEW_AS, moving.FLATTEN, moving.SQUEEZE, moving.UNSQUEEZE,
        pooling.AVG_POOL1D, pooling.AVG_POOL2D, pooling.AVG_POOL3D,
        pooling.ADAPTIVE_AVG_POOL1D, pooling.ADAPTIVE_AVG_POOL2D, pooling.ADAPTIVE_AVG_POOL3D,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LinearMap:
    """A linear layer or dense convolution.

    Attributes:
        node: Its call.
        inputs: Input features or channels.
        outputs: Output features or channels.
        taps: Positions of the kernel, 1 for a linear layer.
        stride: Input positions for each output position.
    """

    node: Node
    inputs: int
    outputs: int
    taps: int = 1
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Pair:
    """Two linear maps, the second of which takes the first's result and nothing else.

    Attributes:
        first: The earlier one.
        second: The later one.
        flattened: Whether the later one takes all positions of the earlier one as its features.
    """

    first: LinearMap
    second: LinearMap
    flattened: bool = False

    @property
    def factorised(self) -> bool:
        """Whether the product has a lower rank than a single map of its size could have."""
        first, second = self.first, self.second
        middle, coming = first.outputs, first.inputs * first.stride
        if self.flattened:
            # One small map at each position, then one over all: a factorisation if it narrows.
            return middle < coming
        if first.taps > 1 and second.taps > 1:
            return middle < min(coming, second.outputs)
        return middle < min(first.inputs * first.taps, second.outputs * second.taps)


def linear_map(node: Node) -> LinearMap | None:
    """Return what a node is as a linear map, None for all that is not dense and trained."""
    if node.op not in _DENSE or not node.grad:
        return None
    weight = node.parameter("weight")
    if weight is None or not weight.requires_grad or hasattr(weight, "cls_to_become"):
        return None  # computed by another layer, frozen, or of a size that is not known yet
    if weight.dim() < 2:
        return None
    if node.op is linear.LINEAR:
        return LinearMap(node, weight.shape[1], weight.shape[0])
    sides = tuple(weight.shape[2:])
    if node.arg("groups", 1) != 1 or len(set(sides)) > 1:
        return None
    stride = node.arg("stride", 1)
    steps = tuple(stride) if isinstance(stride, (tuple, list)) else (stride,) * len(sides)
    if len(steps) == 1:
        steps *= len(sides)
    if not all(isinstance(step, int) for step in steps):
        return None
    return LinearMap(node, weight.shape[1], weight.shape[0], math.prod(sides), math.prod(steps))


def pair(second: LinearMap) -> Pair | None:
    """Return a map with the one whose result goes into it and nowhere else, None without one."""
    current = second.node.args.get("input")
    while isinstance(current, Node) and (
        current.family(Family.PASS, Family.DROPOUT) or current.op in _BETWEEN
    ):
        if len(_takers(current)) != 1:
            return None
        current = current.input
    if not isinstance(current, Node):
        return None
    if current.op is moving.CAT:
        return _parallel(current.inputs, second)
    first = linear_map(current)
    if first is None or len(_takers(current)) != 1:
        return None
    if first.node.module is second.node.module is not None:
        return None  # one layer applied again and again: a recurrence
    made_from = [s for i in first.node.inputs[:1] for s in sources(i)]
    if _mixes(made_from) or _mixes(consumers(second.node)):
        return None  # the output projection of attention, or a projection to Q, K or V
    if first.outputs == second.inputs:
        between = first.node.op is linear.LINEAR and second.node.op is not linear.LINEAR
        return None if between else Pair(first, second)
    fits = second.node.op is linear.LINEAR and second.inputs % first.outputs == 0
    return Pair(first, second, flattened=True) if fits else None


def _parallel(parts: Sequence[Node], second: LinearMap) -> Pair | None:
    """Read linear layers on one input, whose results are concatenated, as one layer."""
    maps = [found for part in parts if (found := linear_map(part)) is not None]
    same = len({found.node.args.get("input") for found in maps}) == 1
    if len(maps) < max(2, len(parts)) or not same:
        return None
    width = sum(found.outputs for found in maps)
    own = [found for found in maps if len(_takers(found.node)) == 1]
    if not own or second.inputs != width or any(m.node.op is not linear.LINEAR for m in maps):
        return None
    return Pair(LinearMap(own[0].node, own[0].inputs, width), second)


def _mixes(nodes: Sequence[Node]) -> bool:
    """Tell whether one of the nodes is an attention product, perhaps behind a scaling."""
    scaled = (n for node in nodes if node.op in _SCALES for n in consumers(node))
    return any(n.op in _PRODUCTS or n.family(Family.ATTENTION) for n in (*nodes, *scaled))


def _takers(node: Node) -> list[Node]:
    """Return the users that take the values, not the size."""
    return [u for u in node.users if u.value is None and not u.family(Family.PYTHON)]
