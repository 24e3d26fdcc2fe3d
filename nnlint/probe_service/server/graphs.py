"""The graph of a request, as far as the front looks at it: no torch, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from nnlint.probe_service.replay import structure
from nnlint.probe_service.server.blobs import DamagedBlobError, Key, read_blob
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.requests import limits_message
from nnlint.probe_service.server.settings import Limits
from nnlint.protos.v1 import graph_pb2

_FIELDS = ("operators", "tensors", "regions", "nodes", "outputs")
_NAMES = {graph_pb2.Graph.DESCRIPTOR.fields_by_name[name].number: name for name in _FIELDS}


def blobs_of(folder: Path, key: Key, limits: Limits) -> list[Key]:
    """Read and check a graph; return the blobs that it needs, each once.

    Raises:
        RefusedError: INVALID_ARGUMENT; FAILED_PRECONDITION where its own blob is damaged.
    """
    try:
        content = bytes(read_blob(folder, key))
    except DamagedBlobError as error:
        raise RefusedError.missing([key]) from error
    graph = parse(content, limits)
    found = structure.check(graph, limits_message(limits))
    if found:
        raise RefusedError.invalid(Violation(each.field, each.description) for each in found)
    needed = {Key.of(tensor.digest): None for tensor in graph.tensors if tensor.HasField("digest")}
    return list(needed)


def parse(content: bytes, limits: Limits) -> graph_pb2.Graph:
    """Parse a graph.

    Raises:
        RefusedError: INVALID_ARGUMENT where it is malformed, or has too much of something.
    """
    # An empty node takes two bytes here and a hundred once it is parsed; so count before.
    counts = dict.fromkeys(_FIELDS, 0)
    for number in _field_numbers(content):
        name = _NAMES.get(number)
        if name is not None:
            counts[name] += 1
            if counts[name] > limits.nodes:
                text = f"more than {limits.nodes}"
                raise RefusedError.invalid([Violation(f"graph.{name}", text)])
    try:
        return graph_pb2.Graph.FromString(content)
    except DecodeError as error:
        raise RefusedError.invalid([Violation("graph", "not a serialised Graph")]) from error


def _field_numbers(content: bytes) -> Iterator[int]:
    """Yield the number of each field at the top of a message, as far as it is well-formed."""
    position, end = 0, len(content)
    while position < end:
        tag, position = _varint(content, position)
        yield tag >> 3
        match tag & 7:
            case 0:
                _, position = _varint(content, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(content, position)
                position += length
            case 5:
                position += 4
            case _:
                return  # groups, which no field of ours is: the parser judges them


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(content) and shift < 70:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return 0, len(content)
