"""Sends the blobs of a capture that the service does not have yet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc

from nnlint.errors import RefusedError
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client import failures
from nnlint.probe_service.client.channel import Service
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

MESSAGE_BYTES = 1 << 20
"""Data in one message: in Python the number of messages sets the speed, up to about this size."""
# A digest, three tags and their sizes, generously.
_PART_BYTES = 64
_MOST_DIGESTS = 1000

Blob = bytes | memoryview
# Called with the bytes that are sent and those that have to be.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What had to be sent.

    Attributes:
        blobs: How many of the capture's.
        size: Their bytes.
        seconds: How long it took, with the question which are missing.
    """

    blobs: int
    size: int
    seconds: float


def digest_of(content: Blob) -> graph_pb2.Digest:
    """Return the identity of a blob."""
    return graph_pb2.Digest(sha256=hashlib.sha256(content).digest(), size_bytes=_size(content))


def contents(capture: Capture) -> dict[bytes, Blob]:
    """Return every blob that a probe needs by its SHA-256; the graph is the first."""
    graphs = [capture.graph]
    if capture.evaluation is not None and capture.evaluation.graph:
        graphs.append(capture.evaluation.graph)
    return {**{hashlib.sha256(graph).digest(): graph for graph in graphs}, **capture.blobs}


def send(
    service: Service,
    blobs: Mapping[bytes, Blob],
    *,
    limits: pb.Limits,
    on_progress: OnProgress = lambda _sent, _total: None,
    known_missing: Iterable[bytes] = (),
) -> tuple[int, int]:
    """Upload the blobs that the service lacks and return their number and size in bytes.

    Args:
        service: Where to.
        blobs: SHA-256 -> content.
        limits: Of the service.
        on_progress: Called while it goes on.
        known_missing: What the service has said it lacks; asked where empty.

    Raises:
        ServiceError: Why it cannot be done.
    """
    wanted = list(known_missing) or _missing(service, blobs, limits)
    if unknown := [digest for digest in wanted if digest not in blobs]:
        raise RefusedError(f"{service.address} wants a blob of no tensor: {unknown[0].hex()}")
    number, size = len(wanted), sum(_size(blobs[digest]) for digest in wanted)
    pauses = service.pauses()
    while wanted:
        chosen = [(digest, blobs[digest]) for digest in wanted]
        total = sum(_size(content) for _, content in chosen)
        try:
            service.upload(messages(chosen, on_progress), total)
        except grpc.RpcError as error:
            failure = failures.decode(error)
            if failure.code is not grpc.StatusCode.UNAVAILABLE:
                raise failures.explain(failure, service.address) from None
            service.wait(failure, pauses)
            wanted = _missing(service, {digest: blobs[digest] for digest in wanted}, limits)
        else:
            break
    return number, size


def messages(
    blobs: Sequence[tuple[bytes, Blob]], on_progress: OnProgress = lambda _sent, _total: None
) -> Iterator[pb.UploadBlobsRequest]:
    """Yield the messages that carry the blobs, in order.

    Each is full to about `MESSAGE_BYTES`: small blobs share one, large ones are cut. No more than
    one message is in memory beside the blobs themselves.
    """
    total = sum(_size(content) for _, content in blobs)
    sent = 0
    message, room = pb.UploadBlobsRequest(), MESSAGE_BYTES
    for sha256, content in blobs:
        view = memoryview(content).cast("B")
        start = 0
        while True:
            if room <= _PART_BYTES:
                yield message
                on_progress(sent, total)
                message, room = pb.UploadBlobsRequest(), MESSAGE_BYTES
            stop = min(start + room - _PART_BYTES, len(view))
            part = message.parts.add(data=bytes(view[start:stop]), last=stop == len(view))
            if start == 0:
                part.digest.sha256, part.digest.size_bytes = sha256, len(view)
            room -= stop - start + _PART_BYTES
            sent += stop - start
            start = stop
            if part.last:
                break
    if message.parts:
        yield message
        on_progress(sent, total)


def _missing(service: Service, blobs: Mapping[bytes, Blob], limits: pb.Limits) -> list[bytes]:
    """Ask which blobs are missing, in the order of the blobs."""
    digests = [
        graph_pb2.Digest(sha256=sha256, size_bytes=_size(content))
        for sha256, content in blobs.items()
    ]
    step = limits.digests_per_call or _MOST_DIGESTS
    found = {
        digest.sha256
        for start in range(0, len(digests), step)
        for digest in service.missing(digests[start : start + step])
    }
    return [sha256 for sha256 in blobs if sha256 in found] + sorted(found - blobs.keys())


def _size(content: Blob) -> int:
    return content.nbytes if isinstance(content, memoryview) else len(content)
