"""Carry moments forward and backward through a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

# What may go wrong inside a function of the table where shapes are not what it takes them for.
_MISFITS = (UnfollowedError, RuntimeError, ValueError, TypeError, IndexError, ArithmeticError, AttributeError)


@dataclass(slots=True)
class Signal:
    """What was predicted of a model.

    Attributes:
        values: Moments of each node's result; None where they cannot be told.
        gradients: Moments of the gradient of each node's result, for those that get one.
        parameters: Mean square of the gradient of each parameter, by the parameter's id.
        unfollowed: Nodes that could not be followed, with the reason.
        unknown: Parameters (by id) whose gradient depends on something that was not followed.
        reason: Why nothing is predicted at all, "" where something is.
        batch: The number of samples.
        loss: Whether the gradient comes from a known loss.
    """

    values: dict[Node, Content | None] = field(default_factory=dict)
    gradients: dict[Node, Gradient] = field(default_factory=dict)
    parameters: dict[int, float] = field(default_factory=dict)
    unfollowed: dict[Node, str] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
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
    at the first output with size 1 where no loss is known.
    """
    signal = Signal(batch=_batch(graph))
    steps: dict[Node, Step] = {}
    known: dict[Node, torch.Tensor] = {}
    for node in graph.nodes:
        if node.kind == "output" or node.family(Family.LOSS):
            continue
        try:
            known[node] = computed(node, known)
            if not _learns(node):
                signal.values[node] = constant(known[node])
                continue
        except NotConstantError:
            pass
        try:
            signal.values[node] = _forward(node, signal, steps)
        except _MISFITS as error:
            if node in known:
                signal.values[node] = constant(known[node])
                continue
            signal.values[node] = None
            signal.unfollowed[node] = str(error) if isinstance(error, UnfollowedError) else f"{type(error).__name__}: {error}"
    _backward(graph, signal, steps)
    return signal


def _learns(node: Node) -> bool:
    """Tell whether parameters that are trained went into a constant, by a walk over its inputs."""
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


def _batch(graph: ModelGraph) -> int:
    for node in graph.nodes:
        shape, batch = node.info.shape, node.info.batch
        if node.kind == "input" and shape:
            return shape[batch[0]] if batch else shape[0]
    return 1


def _forward(node: Node, signal: Signal, steps: dict[Node, Step]) -> Content | None:
    if node.value is not None or node.family(Family.PYTHON):
        return None
    if node.kind == "input":
        return _input(node)
    if node.kind == "param":
        return constant(node.tensor) if node.tensor is not None else None
    call = Call(node, signal.values, signal.batch)
    if node.family(Family.STOP):
        found = call.content()
        return found
    if isinstance(node.target, type) and issubclass(node.target, tuple):
        step = _bundle(call)
        steps[node] = step
        return step.value
    follow = followers().get(node.op) if node.op is not None else None
    if follow is None:
        raise UnfollowedError("the operation is not known")
    step = follow(call)
    steps[node] = step
    return step.value


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


def _backward(graph: ModelGraph, signal: Signal, steps: Mapping[Node, Step]) -> None:
    pending: dict[Node, Any] = {}
    tainted: set[Node] = set()
    started = False
    for node in graph.losses:
        call = Call(node, signal.values, signal.batch)
        target = call.source()
        try:
            index, g = losses.source(call)
        except _MISFITS as error:
            signal.unfollowed[node] = str(error)
            tainted |= set(node.inputs)
            started = True
            continue
        if target is not None:
            _give(pending, Slot(target, index), g, signal)
            signal.loss = started = True
    if not started:
        output = next((n for n in graph.outputs if isinstance(signal.values.get(n), Value)), None)
        if output is None:
            signal.reason = "what the model returns could not be followed"
            return
        value = signal.values[output]
        assert isinstance(value, Value)
        _give(pending, Slot(output), losses.unit(value), signal)
    for node in reversed(graph.nodes):
        if node in tainted:
            _taint(node, tainted, signal)
        g = pending.pop(node, None)
        if g is None:
            continue
        _settle(node, g, signal, steps, pending, tainted)


def _settle(node: Node, g: Any, signal: Signal, steps: Mapping[Node, Step], pending: dict[Node, Any], tainted: set[Node]) -> None:
    if isinstance(g, Gradient):
        signal.gradients[node] = g
    if node.kind == "param" and node.tensor is not None and isinstance(g, Gradient):
        _count(signal, node.tensor, g.total)
        return
    step = steps.get(node)
    if step is None:
        return
    if isinstance(step.value, tuple) and isinstance(g, dict):
        g = tuple(g.get(i) for i in range(len(step.value)))
    try:
        found = list(step.pull(g))
    except _MISFITS as error:
        signal.unfollowed[node] = str(error)
        _taint(node, tainted, signal)
        return
    for target, part in found:
        if isinstance(target, Slot):
            assert isinstance(part, Gradient)
            _give(pending, target, part, signal)
        else:
            assert isinstance(part, float)
            _count(signal, target, part)


def _count(signal: Signal, parameter: torch.Tensor, power: float) -> None:
    signal.parameters[id(parameter)] = signal.parameters.get(id(parameter), 0.0) + power


def _give(pending: dict[Node, Any], slot: Slot, g: Gradient, signal: Signal) -> None:
    value = signal.values.get(slot.node)
    if slot.index is not None:
        held = pending.setdefault(slot.node, {})
        held[slot.index] = combined(held[slot.index], g) if slot.index in held else g
        return
    if isinstance(value, Value) and value.shape != g.shape:
        raise UnfollowedError(f"a gradient of {list(g.shape)} for a value of {list(value.shape)}")
    before = pending.get(slot.node)
    pending[slot.node] = g if before is None else combined(before, g)


def _taint(node: Node, tainted: set[Node], signal: Signal) -> None:
    """Note that the gradient of a node is not known, nor that of what it was made of."""
    tainted.update(n for n in node.inputs if not n.family(Family.STOP, Family.PYTHON))
    for parameter in _parameters(node):
        signal.unknown.add(id(parameter))


def _parameters(node: Node) -> Iterable[torch.Tensor]:
    if node.tensor is not None:
        yield node.tensor
    if node.module is not None:
        yield from node.module.parameters()
