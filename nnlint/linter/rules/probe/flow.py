"""Why a parameter gets no gradient: where the way from it to the loss ends."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.reading import (
    BATCH_NORMS,
    PASSING,
    by_index,
    is_bias,
    nodes_of,
    passed_to,
    short,
    users_of,
    words,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter

_CUTS = words(
    "detach argmax argmin argsort sign round floor ceil trunc bernoulli multinomial one_hot"
)
_WHOLE = words("int64 int32 int16 int8 uint8 bool")
_SOFTMAXES = words("softmax _softmax")
_ATTENTION = words("scaled_dot_product_attention")


class Why(enum.Enum):
    """Why there is no gradient."""

    UNUSED = "never used"
    NO_GRAD = "used under torch.no_grad() alone"
    CUT = "cut"
    OUTPUT = "reaches an output that the loss does not use"
    DISCARDED = "its result is not used"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the way of a gradient ends.

    Attributes:
        why: The reason.
        node: The operation that ends it, where there is one.
    """

    why: Why
    node: MeasuredNode | None = None


class Flow:
    """The ways of gradients through one measured model."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.nodes = by_index(measured)
        self.users = users_of(measured)
        self.outputs = frozenset(measured.outputs)
        self.dead = {
            units.node: len(units.dead) / units.count
            for units in measured.units
            if units.dead is not None and units.count
        }

    def ending(self, parameter: MeasuredParameter) -> Ending:
        """Return why no gradient comes to a parameter whose grad is None."""
        starts = nodes_of(parameter, self.nodes)
        if not starts:
            return Ending(Why.UNUSED)
        if not any(node.grad for node in starts):
            return Ending(Why.NO_GRAD, starts[0])
        reached, cut = self._forward(starts)
        if cut is not None:
            return Ending(Why.NO_GRAD if not cut.grad else Why.CUT, cut)
        if any(self.nodes[i].in_loss for i in reached):
            return Ending(Why.UNKNOWN, starts[0])
        if any(i in self.outputs for i in reached):
            return Ending(Why.OUTPUT, starts[0])
        return Ending(Why.DISCARDED, starts[0])

    def _forward(self, starts: list[MeasuredNode]) -> tuple[set[int], MeasuredNode | None]:
        """Return what the values reach without a cut, and the first cut."""
        reached: set[int] = set()
        cuts: list[MeasuredNode] = []
        waiting = [node for node in starts if node.grad]
        while waiting:
            node = waiting.pop()
            if node.index in reached:
                continue
            if not node.grad or short(node) in _CUTS or node.dtype in _WHOLE:
                # What is cut off and never reaches the result (a metric, a shape) is no cut.
                if self._matters(node):
                    cuts.append(node)
                continue
            reached.add(node.index)
            waiting.extend(self.users.get(node.index, ()))
        return reached, min(cuts, key=lambda node: node.index, default=None)

    def _matters(self, node: MeasuredNode) -> bool:
        """Return whether a value reaches the loss or an output, gradient or not."""
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            current = waiting.pop()
            if current.index in seen:
                continue
            if current.in_loss or current.index in self.outputs:
                return True
            seen.add(current.index)
            waiting.extend(self.users.get(current.index, ()))
        return False

    def is_cancelled(self, parameter: MeasuredParameter) -> bool:
        """Return whether a bias is taken away again by a batch norm, or by a softmax over one value.

        Then its gradient is zero by arithmetic, and right so.
        """
        starts = nodes_of(parameter, self.nodes)
        if not starts:
            return False
        if is_bias(parameter):
            ends = [end for node in starts for end in passed_to(node, self.users)]
            if ends and all(short(end) in BATCH_NORMS for end in ends):
                return True
        return all(self._is_single(node) for node in starts)

    def _is_single(self, start: MeasuredNode) -> bool:
        """Return whether all ways on lead through a softmax over a single value."""
        seen: set[int] = set()
        waiting = [start]
        found = False
        while waiting:
            node = waiting.pop()
            if node.index in seen:
                continue
            seen.add(node.index)
            name = short(node)
            if name in _SOFTMAXES and node.shape and node.shape[-1] == 1:
                found = True
                continue
            if name in _ATTENTION:
                sources = [self.nodes[i] for i in node.inputs if i in self.nodes]
                lengths = [s.shape[-2] for s in sources if s.shape and len(s.shape) > 1]
                # Query, key, value: with one key the result is the value, whatever the query.
                is_value = bool(node.inputs) and node.inputs[-1] in seen
                if len(lengths) > 1 and lengths[1] == 1 and not is_value:
                    found = True
                    continue
            users = self.users.get(node.index, ())
            if not users or node.in_loss:
                return False
            waiting.extend(users)
        return found

    def shut(self, parameter: MeasuredParameter) -> MeasuredNode | None:
        """Return the activation behind a layer that never fires, if that is what stops gradients."""
        starts = nodes_of(parameter, self.nodes)
        seen: set[int] = set()
        waiting = list(starts)
        found: MeasuredNode | None = None
        while waiting:
            node = waiting.pop()
            if node.index in seen:
                continue
            seen.add(node.index)
            if self.dead.get(node.index, 0.0) >= 1.0:
                found = found or node
                continue
            users = self.users.get(node.index, ())
            if node.in_loss or not users:
                return None
            waiting.extend(users)
        return found

    def starved(self, parameter: MeasuredParameter) -> MeasuredNode | None:
        """Return the dead activation in front of a layer, where that leaves it nothing to weigh."""
        sources = [
            self.nodes[i]
            for node in nodes_of(parameter, self.nodes)
            for i in node.inputs
            if i in self.nodes
        ]
        for _ in range(len(self.nodes)):
            dead = [s for s in sources if self.dead.get(s.index, 0.0) >= 1.0]
            if dead:
                return dead[0]
            if len(sources) != 1 or short(sources[0]) not in PASSING:
                return None
            sources = [self.nodes[i] for i in sources[0].inputs if i in self.nodes]
        return None
