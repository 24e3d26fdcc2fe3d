"""Element types and memory formats: ours on the wire, torch's in memory."""

from __future__ import annotations

import torch

from nnlint.protos.v1 import graph_pb2

_TYPES = {
    graph_pb2.SCALAR_TYPE_FLOAT32: torch.float32,
    graph_pb2.SCALAR_TYPE_FLOAT64: torch.float64,
    graph_pb2.SCALAR_TYPE_FLOAT16: torch.float16,
    graph_pb2.SCALAR_TYPE_BFLOAT16: torch.bfloat16,
    graph_pb2.SCALAR_TYPE_INT64: torch.int64,
    graph_pb2.SCALAR_TYPE_INT32: torch.int32,
    graph_pb2.SCALAR_TYPE_INT16: torch.int16,
    graph_pb2.SCALAR_TYPE_INT8: torch.int8,
    graph_pb2.SCALAR_TYPE_UINT8: torch.uint8,
    graph_pb2.SCALAR_TYPE_BOOL: torch.bool,
    graph_pb2.SCALAR_TYPE_COMPLEX64: torch.complex64,
}
_FORMATS = {
    graph_pb2.MEMORY_FORMAT_CONTIGUOUS: torch.contiguous_format,
    graph_pb2.MEMORY_FORMAT_PRESERVE: torch.preserve_format,
    graph_pb2.MEMORY_FORMAT_CHANNELS_LAST: torch.channels_last,
    graph_pb2.MEMORY_FORMAT_CHANNELS_LAST_3D: torch.channels_last_3d,
}
_TYPES_BACK = {dtype: scalar for scalar, dtype in _TYPES.items()}
_FORMATS_BACK = {memory_format: number for number, memory_format in _FORMATS.items()}


def dtype_of(scalar: graph_pb2.ScalarType) -> torch.dtype | None:
    """Return torch's element type, None for one that is not known."""
    return _TYPES.get(scalar)


def scalar_of(dtype: torch.dtype) -> graph_pb2.ScalarType | None:
    """Return the element type on the wire, None for one that has no place there."""
    return _TYPES_BACK.get(dtype)


def memory_format_of(number: graph_pb2.MemoryFormat) -> torch.memory_format | None:
    """Return torch's memory format, None for one that is not known."""
    return _FORMATS.get(number)


def number_of(memory_format: torch.memory_format) -> graph_pb2.MemoryFormat | None:
    """Return the memory format on the wire, None for one that has no place there."""
    return _FORMATS_BACK.get(memory_format)
