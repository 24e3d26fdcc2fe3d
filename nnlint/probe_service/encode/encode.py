"""Turn a training step into the Graph message and the blobs that it names.

What goes on the wire is data and names of ATen operators. Nothing of the user's files, classes or
layers is in a `Step`, so nothing of them can get into the message.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nnlint.probe_service.encode.scalars import number_of, scalar_of
from nnlint.probe_service.encode.step import Autocast, Entry, Mode, Operation, Ref, Step, Value
from nnlint.protos.v1 import graph_pb2

FORMAT_VERSION = 1
_DEVICES = {
    "cpu": graph_pb2.Region.Autocast.DEVICE_CPU,
    "cuda": graph_pb2.Region.Autocast.DEVICE_CUDA,
}


class NotEncodableError(Exception):
    """A value that has no place in the message; the text says which.

    Attributes:
        operation: Position of the operation that takes or gives it, -1 for a tensor of the step.
    """

    def __init__(self, message: str, operation: int = -1) -> None:
        super().__init__(message)
        self.operation = operation


@dataclass(frozen=True, slots=True)
class Encoded:
    """A graph with its blobs by SHA-256; the blobs are views of the step's tensors."""

    graph: graph_pb2.Graph
    blobs: dict[bytes, memoryview]


def encode(step: Step) -> Encoded:
    """Encode a step.

    Raises:
        NotEncodableError: A tensor or argument is of a kind that the message cannot hold.
    """
    names = list(dict.fromkeys(operation.operator for operation in step.operations))
    positions = {name: index for index, name in enumerate(names)}
    graph = graph_pb2.Graph(
        format_version=FORMAT_VERSION,
        operators=names,
        regions=[region(mode) for mode in step.modes],
        loss=reference(step.loss),
        outputs=[reference(output) for output in step.outputs],
        batch_size=step.batch_size,
    )
    blobs: dict[bytes, memoryview] = {}
    for entry in step.tensors:
        graph.tensors.append(_tensor(entry, blobs))
    for index, operation in enumerate(step.operations):
        try:
            graph.nodes.append(_node(operation, positions[operation.operator]))
        except NotEncodableError as error:
            raise NotEncodableError(str(error), index) from None
    return Encoded(graph, blobs)


def argument(value: Value) -> graph_pb2.Argument:
    """Encode one argument.

    Raises:
        NotEncodableError: The message has no place for such a value.
    """
    if isinstance(value, (list, tuple)):
        return graph_pb2.Argument(
            list=graph_pb2.ArgumentList(items=[_item(each) for each in value])
        )
    return _item(value)


def reference(ref: Ref) -> graph_pb2.Reference:
    """Encode a reference to a tensor."""
    if ref.kind == "tensor":
        return graph_pb2.Reference(tensor=ref.index)
    return graph_pb2.Reference(node=ref.index, output=ref.output)


def region(mode: Mode) -> graph_pb2.Region:
    """Encode the modes of an operation."""
    return graph_pb2.Region(
        grad_enabled=mode.grad,
        autocasts=[_autocast(each) for each in mode.autocasts],
        parent=mode.parent,
    )


def content(tensors: Sequence[torch.Tensor]) -> memoryview:
    """Return the elements of tensors of one type in row-major, little-endian order.

    The view reads the memory of a single contiguous tensor and keeps it alive; nothing is copied.
    """
    flat = [each.detach().resolve_conj().resolve_neg().contiguous() for each in tensors]
    whole = flat[0] if len(flat) == 1 else torch.stack(flat)
    if sys.byteorder == "big":
        size = 4 if whole.is_complex() else whole.element_size()
        whole = whole.reshape(-1).view(torch.uint8).reshape(-1, size).flip(1).contiguous()
    count = whole.numel() * whole.element_size()
    if not count:
        return memoryview(b"")
    buffer = (ctypes.c_ubyte * count).from_address(whole.data_ptr())
    buffer.owner = whole  # type: ignore[attr-defined] # a ctypes array takes attributes: this one keeps the memory
    return memoryview(buffer).cast("B").toreadonly()


def strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the strides of a dense tensor in another order than row-major, () for all others."""
    if tensor.is_contiguous() or not _dense(tensor):
        return ()
    return tuple(tensor.stride())


def _dense(tensor: torch.Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _tensor(entry: Entry, blobs: dict[bytes, memoryview]) -> graph_pb2.Tensor:
    scalar = scalar_of(entry.dtype)
    if scalar is None:
        raise NotEncodableError(f"a tensor of {entry.dtype} cannot be sent")
    message = graph_pb2.Tensor(
        role=entry.role,
        dtype=scalar,
        shape=entry.shape,
        requires_grad=entry.requires_grad,
        draw=entry.draw,
    )
    if entry.contents:
        message.strides.extend(strides(entry.contents[0]))
        if entry.role in {graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET}:
            message.batches = len(entry.contents)
        message.digest.CopyFrom(_store(entry.contents, blobs))
    return message


def _store(tensors: Sequence[torch.Tensor], blobs: dict[bytes, memoryview]) -> graph_pb2.Digest:
    data = content(tensors)
    sha256 = hashlib.sha256(data).digest()
    blobs.setdefault(sha256, data)
    return graph_pb2.Digest(sha256=sha256, size_bytes=data.nbytes)


def _autocast(mode: Autocast) -> graph_pb2.Region.Autocast:
    device, dtype = _DEVICES.get(mode.device), scalar_of(mode.dtype)
    if device is None or dtype is None:
        raise NotEncodableError(f"autocast to {mode.dtype} on {mode.device} cannot be sent")
    return graph_pb2.Region.Autocast(
        device=device, dtype=dtype, enabled=mode.enabled, cache_enabled=mode.cache_enabled
    )


def _node(operation: Operation, position: int) -> graph_pb2.Node:
    return graph_pb2.Node(
        operator=position,
        arguments=[argument(value) for value in operation.arguments],
        keywords=[
            graph_pb2.KeywordArgument(name=name, value=argument(value))
            for name, value in operation.keywords.items()
        ],
        region=operation.mode,
        outputs=[
            graph_pb2.ValueType(
                dtype=_needed(result.dtype) if result.dtype is not None else None,
                shape=result.shape,
            )
            for result in operation.results
        ],
    )


def _needed(dtype: torch.dtype) -> graph_pb2.ScalarType:
    found = scalar_of(dtype)
    if found is None:
        raise NotEncodableError(f"a tensor of {dtype} cannot be sent")
    return found


def _item(value: object) -> graph_pb2.Argument:
    match value:
        case None:
            return graph_pb2.Argument()
        case Ref():
            return graph_pb2.Argument(reference=reference(value))
        case bool():
            return graph_pb2.Argument(boolean=value)
        case int():
            if not -(1 << 63) <= value < 1 << 63:
                raise NotEncodableError(f"the number {value} has more than 64 bits")
            return graph_pb2.Argument(integer=value)
        case float():
            return graph_pb2.Argument(real=value)
        case str():
            return graph_pb2.Argument(text=value)
        case torch.dtype():
            return graph_pb2.Argument(dtype=_needed(value))
        case torch.memory_format():
            number = number_of(value)
            if number is None:
                raise NotEncodableError(f"the memory format {value} cannot be sent")
            return graph_pb2.Argument(memory_format=number)
        case torch.device():
            return graph_pb2.Argument(device=True)
        case _:
            raise NotEncodableError(f"a value of type {type(value).__name__} cannot be sent")
