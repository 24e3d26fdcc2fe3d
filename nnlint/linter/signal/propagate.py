"""Carry moments forward and backward through a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Family
from nnlint.linter.signal import losses
from nnlint.linter.signal.base import (
    Call,
    Content,
    Pulled,
    Slot,
    Step,
    UnfollowedError,
    constant,
    followers,
)
from nnlint.linter.signal.constants import NotConstantError, computed
from nnlint.linter.signal.moments import Gradient, Value, combined, numbers

# What a function of the table raises where shapes are not what it takes them for.
_MISFITS = (
    UnfollowedError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
)


@dataclass(slots=True)
class Signal:
    """What is predicted of a model.

    Attributes:
        values: Moments of each node's result; None where they cannot be told.
        gradients: Moments of the gradient of each node's result, for those that get one.
        parameters: Mean square of the gradient of each parameter, by the parameter's id.
        unfollowed: Nodes that could not be followed, with the reason.
        unknown: Parameters (by id) whose gradient depends on something that was not followed.
        unsure: Nodes whose gradient does.
        reason: Why nothing is predicted at all, "" where something is.
        batch: The number of samples.
        loss: Whether the gradient comes from a known loss.
    """

    values: dict[Node, Content | None] = field(default_factory=dict)
    gradients: dict[Node, Gradient] = field(default_factory=dict)
    parameters: dict[int, float] = field(default_factory=dict)
    unfollowed: dict[Node, str] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    unsure: set[Node] = field(default_factory=set)
    reason: str = ""
    batch: int = 1
    loss: bool = False

    def value(self, node: Node) -> Value | None:
        """Return the moments of a node with a single result."""
        found = self.values.get(node)
        return found if isinstance(found, Value) else None

    def gradient_rms(self, parameter: torch.Tensor) -> float | None:
        """Return the predicted root mean square of a parameter's gradient; None where unknown."""
        if id(parameter) in self.unknown:
            return None
        power = self.parameters.get(id(parameter))
        return None if power is None else power**0.5


def predict(graph: ModelGraph) -> Signal:
    """Predict the size of every activation and gradient; nothing is run.

    Inputs are taken as standard normal, tokens as drawn evenly. Gradients start at the loss, or
    at the first output with size 1 / n where no loss is known.
    """
    signal = Signal(batch=_batch(graph))
    run = Run(signal)
    with torch.no_grad():
        run.forward(n for n in graph.nodes if n.kind != "output" and not n.family(Family.LOSS))
        if run.start(graph):
            run.backward(graph.nodes)
    return signal


def _batch(graph: ModelGraph) -> int:
    for node in graph.nodes:
        shape, batch = node.info.shape, node.info.batch
        if node.kind == "input" and shape:
            return shape[batch[0]] if batch else shape[0]
    return 1


class Run:
    """One pass forward and one backward over some nodes.

    Attributes:
        signal: What is found out.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self._steps: dict[Node, Step] = {}
        self._known: dict[Node, torch.Tensor] = {}
        self._pending: dict[Node, Any] = {}

    def forward(self, nodes: Iterable[Node]) -> None:
        """Carry moments through nodes in their order."""
        values = self.signal.values
        for node in nodes:
            if node in values:
                continue
            try:
                values[node] = self._value(node)
            except _MISFITS as error:
                values[node] = None
                self.signal.unfollowed[node] = _text(error)

    def _value(self, node: Node) -> Content | None:
        if node.value is not None or node.family(Family.PYTHON):
            return None
        if node.kind == "input":
            return _input(node)
        if node.kind == "param":
            return constant(node.tensor) if node.tensor is not None else None
        try:
            self._known[node] = computed(node, self._known)
        except NotConstantError:
            return self._followed(node)
        if not learns(node):
            return constant(self._known[node])
        try:
            return self._followed(node)
        except _MISFITS:
            return constant(self._known[node])

    def _followed(self, node: Node) -> Content:
        call = Call(node, self.signal.values, self.signal.batch)
        if node.family(Family.STOP):
            return call.content()
        if isinstance(node.target, type) and issubclass(node.target, tuple):
            step = _bundle(call)
        else:
            follow = followers().get(node.op) if node.op is not None else None
            if follow is None:
                raise UnfollowedError("the operation is not known")
            step = follow(call)
        self._steps[node] = step
        return step.value

    def start(self, graph: ModelGraph) -> bool:
        """Put a gradient where losses, or else outputs, are; tell whether there is any."""
        signal, started = self.signal, False
        for node in graph.losses:
            call = Call(node, signal.values, signal.batch)
            started = True
            try:
                index, g = losses.source(call)
            except _MISFITS as error:
                signal.unfollowed[node] = _text(error)
                self.signal.unsure |= set(node.inputs)
                continue
            if (target := call.source()) is not None:
                self.give(Slot(target, index), g)
                signal.loss = True
        if not started:
            output = next((n for n in graph.outputs if signal.value(n) is not None), None)
            if output is None:
                signal.reason = "what the model returns could not be followed"
                return False
            value = signal.value(output)
            assert value is not None
            self.give(Slot(output), losses.unit(value))
        return True

    def give(self, slot: Slot, g: Any) -> None:
        """Add a gradient to a node's."""
        pending = self._pending
        if slot.index is not None:
            held = pending.setdefault(slot.node, {})
            held[slot.index] = _summed(held.get(slot.index), g)
            return
        value = self.signal.value(slot.node)
        if value is not None and isinstance(g, Gradient) and value.shape != g.shape:
            raise UnfollowedError(
                f"a gradient of {list(g.shape)} meets a value of {list(value.shape)}"
            )
        pending[slot.node] = _summed(pending.get(slot.node), g)

    def backward(self, nodes: Sequence[Node]) -> None:
        """Pull gradients back through nodes, last one first."""
        for node in reversed(nodes):
            if node in self.signal.unsure:
                self._taint(node)
            g = self._pending.pop(node, None)
            if g is None:
                continue
            try:
                self._pull(node, g)
            except _MISFITS as error:
                self.signal.unfollowed[node] = _text(error)
                self._taint(node)

    def _pull(self, node: Node, g: Any) -> None:
        if isinstance(g, Gradient):
            self.signal.gradients[node] = g
            if node.kind == "param" and node.tensor is not None:
                self._count(node.tensor, g.total)
                return
        step = self._steps.get(node)
        if step is None:
            return
        if isinstance(step.value, tuple) and isinstance(g, dict):
            g = tuple(g.get(i) for i in range(len(step.value)))
        for target, part in step.pull(g):
            if isinstance(target, Slot):
                if (
                    not step.linked
                    and isinstance(part, Gradient)
                    and (part.along or part.along_all)
                ):
                    part = replace(part, along=0.0, along_all=0.0)  # noqa: PLW2901 - the same gradient
                self.give(target, part)
            else:
                assert isinstance(part, float)
                self._count(target, part)

    def _count(self, parameter: torch.Tensor, power: float) -> None:
        powers = self.signal.parameters
        powers[id(parameter)] = powers.get(id(parameter), 0.0) + power

    def _taint(self, node: Node) -> None:
        """Note that the gradient of a node is not known, nor that of what it was made of."""
        self.signal.unsure.update(
            n for n in node.inputs if not n.family(Family.STOP, Family.PYTHON)
        )
        for parameter in _parameters(node):
            self.signal.unknown.add(id(parameter))


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, UnfollowedError) else f"{type(error).__name__}: {error}"


def _summed(first: Any, second: Any) -> Any:
    """Add gradients of one value, or of several values place by place."""
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, Gradient) and isinstance(second, Gradient):
        return combined(first, second)
    return tuple(_summed(a, b) for a, b in zip(first, second, strict=True))


def learns(node: Node) -> bool:
    """Tell whether a trained parameter went into a node."""
    stack, seen = [node], {node}
    while stack:
        current = stack.pop()
        if current.kind == "param" and isinstance(current.tensor, torch.nn.Parameter):
            return True
        for source in current.inputs:
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return False


def _bundle(call: Call) -> Step:
    """Follow values into a named tuple and back."""
    parts = [value for value in call.node.args.values() if isinstance(value, Node)]
    found = [call.values.get(part) for part in parts]
    values = tuple(value for value in found if isinstance(value, Value))
    if len(values) != len(found) or not values:
        raise UnfollowedError("not all of its parts are known")

    def pull(gradients: Sequence[Gradient | None]) -> Iterator[Pulled]:
        for part, g in zip(parts, gradients, strict=True):
            if g is not None:
                yield Slot(part), g

    return Step(values, pull)


def _input(node: Node) -> Value:
    shape = node.info.shape
    if shape is None:
        raise UnfollowedError("the shape of an input is not known")
    rank = len(shape)
    batch = node.info.batch or (0,)
    if node.info.kind == "int":
        roles = "".join("s" if d in batch else "p" for d in range(rank))
    else:
        channel = 1 if rank > 3 else rank - 1
        roles = "".join("s" if d in batch else ("c" if d == channel else "p") for d in range(rank))
    return Value(shape, roles, numbers(0.0, rank), numbers(1.0, rank))


def _parameters(node: Node) -> Iterable[torch.Tensor]:
    if node.tensor is not None:
        yield node.tensor
    if node.module is not None:
        yield from node.module.parameters()
