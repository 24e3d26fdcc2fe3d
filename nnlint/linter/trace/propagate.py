"""Carry shapes through a graph, twice with different batches, to see where the batch goes."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nnlint.linter.graph import Node, ShapeFailure, TensorInfo
from nnlint.linter.operators.shapes import UNKNOWN, Call, ShapeError, Tensor, Unknown

_PYTHON = frozenset(
    id(f) for module in (operator, math, builtins) for f in vars(module).values() if callable(f)
)


def run(
    nodes: Sequence[Node], inputs: Mapping[str, Any]
) -> tuple[dict[Node, Any], ShapeFailure | None]:
    """Compute the value of each node: a `Tensor`, a plain Python value, or UNKNOWN.

    Stops nowhere: after a call whose shapes do not fit, everything that depends on it is unknown.

    Args:
        nodes: Execution order.
        inputs: Values of the input nodes by name.

    Returns:
        The values, and the first failure.
    """
    values: dict[Node, Any] = {}
    failure: ShapeFailure | None = None
    for node in nodes:
        try:
            values[node] = value_of(node, values, inputs)
        except ShapeError as error:
            values[node] = Tensor()
            if failure is None:
                failure = ShapeFailure(
                    node, str(error), certain=False, got=error.got, expected=error.expected
                )
    return values, failure


def value_of(node: Node, values: Mapping[Node, Any], inputs: Mapping[str, Any]) -> Any:
    """Compute the value of one node from those of its inputs; raises ShapeError."""
    if node.kind == "input":
        return inputs.get(node.name, Tensor())
    if node.kind == "param":
        tensor = node.tensor
        return UNKNOWN if tensor is None else Tensor(tuple(tensor.shape), _kind(tensor.dtype))
    if node.kind == "output":
        return UNKNOWN
    args = {name: _replace(value, values) for name, value in node.args.items()}
    tensors, unknowns = _content(args)
    if not tensors:
        plain = _python(node, args, unknown=bool(unknowns))
        if plain is not _NOT_PYTHON:
            return plain
    if node.op is None or node.op.shape is None:
        return UNKNOWN if not tensors else Tensor()
    return node.op.shape(Call(args, node.module))


_NOT_PYTHON = object()


def _python(node: Node, args: Mapping[str, Any], *, unknown: bool) -> Any:
    if id(node.target) not in _PYTHON and node.target not in (torch.sym_int, torch.Size):
        return _NOT_PYTHON
    if unknown:
        return UNKNOWN
    try:
        return node.target(*args.values())
    except (TypeError, ValueError, ArithmeticError, LookupError):
        return UNKNOWN


def _replace(value: Any, values: Mapping[Node, Any]) -> Any:
    if isinstance(value, Node):
        return values.get(value, UNKNOWN)
    if isinstance(value, tuple):
        return tuple(_replace(v, values) for v in value)
    if isinstance(value, list):
        return [_replace(v, values) for v in value]
    if isinstance(value, slice):
        return slice(*(_replace(v, values) for v in (value.start, value.stop, value.step)))
    return value


def _content(value: Any) -> tuple[bool, bool]:
    """Tell whether there is a tensor and whether there is something unknown in a value."""
    if isinstance(value, Tensor):
        return True, False
    if isinstance(value, Unknown):
        return False, True
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        found = [_content(v) for v in value]
        return any(t for t, _ in found), any(u for _, u in found)
    return False, False


def _kind(dtype: torch.dtype) -> Any:
    if dtype.is_floating_point or dtype.is_complex:
        return "float"
    return "bool" if dtype == torch.bool else "int"


def annotate(
    nodes: Sequence[Node],
    first: Mapping[Node, Any],
    second: Mapping[Node, Any] | None,
    batch: tuple[int, int],
) -> None:
    """Write shapes into the nodes; a dimension that differs between both runs carries the batch.

    Args:
        nodes: The graph.
        first: Values of the run that the shapes are taken from.
        second: Values of a run with another batch; None leaves the batch unknown.
        batch: The batch of either run.
    """
    for node in nodes:
        value = first.get(node, UNKNOWN)
        if isinstance(value, Tensor):
            other = second.get(node) if second is not None else None
            node.info = _info(value, other if isinstance(other, Tensor) else None, batch)
        elif not isinstance(value, Unknown) and _content(value) == (False, False):
            node.value = value


def compared(first: TensorInfo, second: TensorInfo, batch: tuple[int, int]) -> TensorInfo:
    """Return what is known of a value that was met in two runs with different batches."""
    return _info(Tensor(first.shape, first.kind), Tensor(second.shape, second.kind), batch)


def _info(value: Tensor, other: Tensor | None, batch: tuple[int, int]) -> TensorInfo:
    if value.shape is None:
        return TensorInfo(None, value.kind)
    if other is None or other.shape is None or len(other.shape) != len(value.shape):
        return TensorInfo(value.shape, value.kind)
    places, mixed = [], False
    for place, sizes in enumerate(zip(value.shape, other.shape, strict=True)):
        if sizes == batch:
            places.append(place)
        elif sizes[0] != sizes[1]:
            mixed = True
    return TensorInfo(value.shape, value.kind, tuple(places), mixed)
