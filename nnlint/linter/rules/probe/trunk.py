"""The trunk of a model: the layers that every gradient passes, in order, and how it fares there.

A gradient that shrinks along a residual branch, at a gate, or before a layer scale harms nobody: it
flows around. What a layer in the trunk takes away is lost to everything before it. In a plain chain
each layer belongs to the trunk; in a residual network the stem, the transitions and the head do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.reading import (
    MAPS,
    NORMS,
    RECURRENT,
    at,
    is_finite,
    short,
    users_of,
    words,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter

# Their slope is at most 1 (tanh) or 1/4 (sigmoid), and near 0 for most arguments.
SATURATING = words("sigmoid tanh hardsigmoid softsign softmax _softmax hardtanh")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the trunk.

    Attributes:
        node: Its operation.
        weight: The matrix or kernel that the operation takes.
    """

    node: MeasuredNode
    weight: MeasuredParameter

    @property
    def name(self) -> str:
        """Path of the layer, or the name of its weight."""
        return self.node.site.path or self.weight.site.path or self.weight.name

    def gradient(self, step: int) -> float | None:
        """Norm of the gradient with respect to the layer's output."""
        rms = at(self.node.gradient_rms, step)
        if not is_finite(rms) or self.node.shape is None:
            return None
        return rms * math.sqrt(math.prod(self.node.shape))

    def activation(self, step: int) -> float | None:
        """Root mean square of the layer's output."""
        rms = at(self.node.activation_rms, step)
        return rms if is_finite(rms) else None

    def weight_gradient(self, step: int) -> float | None:
        """Root mean square of the gradient with respect to the weight."""
        rms = at(self.weight.gradient_rms, step)
        return rms if is_finite(rms) else None


@dataclass(frozen=True, slots=True)
class Trunk:
    """The layers that all gradients pass, from the input to the loss.

    Attributes:
        layers: In execution order.
        way: All operations that lie on every way, the layers among them.
    """

    layers: tuple[Layer, ...]
    way: tuple[MeasuredNode, ...]

    def between(self, first: int, last: int) -> list[str]:
        """Return the names of the operations between two layers of the trunk."""
        start, end = self.layers[first].node.index, self.layers[last].node.index
        return [short(node) for node in self.way if start < node.index < end]

    def has_norm(self, first: int, last: int) -> bool:
        """Return whether a norm lies between two layers."""
        return not NORMS.isdisjoint(self.between(first, last))


def trunk_of(measured: Measured) -> Trunk:
    """Return the trunk of a measured model."""
    shape = _Shape(measured)
    way = shape.cut_points()
    return Trunk(tuple(shape.trunk(way)), tuple(way))


class _Shape:
    """Which operations lie on every way to the loss, from where. Sets are bits of integers."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.users = users_of(measured)
        self.nodes = {node.index: node for node in measured.nodes}
        self.order = sorted(self.nodes)
        self.loss = self._loss()
        self.behind, self.depth = self._behind()
        self.bit = {index: 1 << position for position, index in enumerate(self.order)}
        self.before = self._before()

    def _loss(self) -> int | None:
        ends = [i for i in self.order if self.nodes[i].in_loss] or self.order
        return ends[-1] if ends else None

    def _behind(self) -> tuple[dict[int, int | None], dict[int, int]]:
        """Return for each node that reaches the loss the next one that all its ways share."""
        behind: dict[int, int | None] = {}
        depth: dict[int, int] = {}
        if self.loss is None:
            return behind, depth
        behind[self.loss], depth[self.loss] = None, 0
        for index in reversed(self.order):
            if index in behind:
                continue
            meeting: int | None = None
            for user in self.users.get(index, ()):
                if user.index not in behind or user.index <= index:
                    continue
                meeting = (
                    user.index
                    if meeting is None
                    else self._meet(meeting, user.index, behind, depth)
                )
            if meeting is not None:
                behind[index], depth[index] = meeting, depth[meeting] + 1
        return behind, depth

    @staticmethod
    def _meet(a: int, b: int, behind: dict[int, int | None], depth: dict[int, int]) -> int:
        while a != b:
            if depth[a] < depth[b]:
                a, b = b, a
            following = behind[a]
            assert following is not None, "all ways end at the loss"
            a = following
        return a

    def _before(self) -> dict[int, int]:
        """Return for each node all nodes that it depends on."""
        before: dict[int, int] = {}
        for index in self.order:
            found = 0
            for source in self.nodes[index].inputs:
                if source in before:
                    found |= before[source] | self.bit[source]
            before[index] = found
        return before

    def cut_points(self) -> list[MeasuredNode]:
        """Return the nodes that all parameters before them pass on their way to the loss."""
        # Sources whose ways all pass a node, against the sources that it depends on.
        passing = dict.fromkeys(self.order, 0)
        sources = 0
        for index in self.order:
            following = self.behind.get(index)
            own = bool(self.nodes[index].parameters) and index in self.behind
            sources |= self.bit[index] if own else 0
            if following is not None:
                passing[following] += passing[index] + own
        return [
            self.nodes[index]
            for index in self.order
            if index in self.behind
            and not self.nodes[index].in_loss
            and passing[index] == (self.before[index] & sources).bit_count()
        ]

    def trunk(self, on_way: list[MeasuredNode]) -> list[Layer]:
        """Return the layers among the cut points that no other layer stands beside."""
        parameters = self.measured.parameters
        layers: dict[int, Layer] = {}
        for index in self.order:
            node = self.nodes[index]
            if node.in_loss or index not in self.behind or short(node) not in MAPS | RECURRENT:
                continue
            weights = [
                parameters[p]
                for p in node.parameters
                if 0 <= p < len(parameters) and len(parameters[p].shape) > 1
            ]
            # A weight that is used several times (a recurrence by hand) is no layer of a chain.
            if weights and len(weights[0].nodes) <= 1:
                layers[index] = Layer(node, weights[0])
        everything = 0
        for index in layers:
            everything |= self.bit[index]
        after = dict.fromkeys(layers, 0)
        for index in layers:
            for other in layers:
                if self.before[index] & self.bit[other]:
                    after[other] |= self.bit[index]
        cuts = {node.index for node in on_way}
        return [
            layer
            for index, layer in layers.items()
            if index in cuts
            and not everything & ~(self.before[index] | after[index] | self.bit[index])
        ]
