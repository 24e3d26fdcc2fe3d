"""Calls that are not carried out: gRPC statuses with google.rpc details, from a fixed vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from nnlint.probe_service.server.blobs import Key

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "nnlint.protos.v1"
_DETAILS_KEY = "grpc-status-details-bin"
# Status and details travel as metadata, of which clients take 8 kB in all by default.
_MOST_BYTES = 4096
_MOST_MESSAGE = 1000
_MOST_TEXT = 300


class Violation(NamedTuple):
    """What is wrong with a field of a request or of a graph."""

    field: str
    description: str


class RefusedError(Exception):
    """A call that is not carried out.

    Attributes:
        code: The status.
        message: For people, in words of ours.
        reason: For programs, the reason of the ErrorInfo.
        details: Further google.rpc messages.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, reason: str, details: Sequence[Message] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = _cut(message, _MOST_MESSAGE)
        self.reason = reason
        self.details = tuple(details)

    @classmethod
    def invalid(cls, violations: Iterable[Violation]) -> Self:
        """Return the refusal of a request with wrong fields."""
        given = [Violation(_cut(v.field), _cut(v.description)) for v in violations]
        first = f"{given[0].field}: {given[0].description}" if given else "the request is invalid"
        more = f" (and {len(given) - 1} more)" if len(given) > 1 else ""
        request = error_details_pb2.BadRequest()
        for violation in given:
            request.field_violations.add(field=violation.field, description=violation.description)
        code = grpc.StatusCode.INVALID_ARGUMENT
        return cls(code, first + more, "INVALID", [request])

    @classmethod
    def missing(cls, keys: Sequence[Key]) -> Self:
        """Return the refusal of a probe whose blobs are not all there."""
        failure = error_details_pb2.PreconditionFailure()
        for key in keys:
            failure.violations.add(type="MISSING", subject=f"blobs/{key}")
        text = f"{len(keys)} blob{'s are' if len(keys) != 1 else ' is'} missing"
        return cls(grpc.StatusCode.FAILED_PRECONDITION, text, "BLOBS_MISSING", [failure])

    @classmethod
    def exhausted(cls, message: str, reason: str, *, retry_seconds: float | None = None) -> Self:
        """Return the refusal for want of room, with the pause after which to try again."""
        details = []
        if retry_seconds is not None:
            delay = Duration()
            delay.FromMilliseconds(int(retry_seconds * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        return cls(grpc.StatusCode.RESOURCE_EXHAUSTED, message, reason, details)

    @classmethod
    def unavailable(cls, message: str, reason: str) -> Self:
        """Return the refusal of a server that cannot do anything at present."""
        return cls(grpc.StatusCode.UNAVAILABLE, message, reason)

    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata: a google.rpc.Status of at most four kilobytes."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        details = [_copy(detail) for detail in self.details]
        while True:
            status = status_pb2.Status(code=self.code.value[0], message=self.message)
            for detail in (info, *details):
                packed = Any()
                packed.Pack(detail)
                status.details.append(packed)
            if status.ByteSize() <= _MOST_BYTES or not any(map(_shorten, details)):
                return ((_DETAILS_KEY, status.SerializeToString()),)


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _shorten(detail: Message) -> bool:
    """Drop the last half of the violations; return whether there were any to drop."""
    if isinstance(detail, error_details_pb2.BadRequest):
        violations = detail.field_violations
    elif isinstance(detail, error_details_pb2.PreconditionFailure):
        violations = detail.violations
    else:
        return False
    kept = len(violations) // 2
    if not len(violations):
        return False
    del violations[kept:]
    return True


def _cut(text: str, most: int = _MOST_TEXT) -> str:
    """Return text without control characters, in the given length."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return clean if len(clean) <= most else clean[: most - 3] + "..."
