"""What a failed call means for the user: grpc's status and details as errors of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from nnlint.errors import (
    BusyError,
    IncompatibleError,
    RefusedError,
    ServiceError,
    UnauthenticatedError,
    UnreachableError,
)
from nnlint.linter.findings import Location
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.address import TOKEN_VARIABLE, Address
from nnlint.probe_service.client.diagnosis import diagnose

_SHOWN = 3
_MISSING = "MISSING"
_NODE = re.compile(r"graph\.nodes\[(\d+)\]")
_TENSOR = re.compile(r"graph\.tensors\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason why a request is refused: the field, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, decoded.

    Attributes:
        code: The gRPC status.
        message: The server's sentence, or gRPC's.
        violations: Of a BadRequest.
        missing: Subjects of the blobs that are not there.
        retry_seconds: When to try again; None where the server does not say.
    """

    code: grpc.StatusCode
    message: str
    violations: tuple[Violation, ...] = ()
    missing: tuple[str, ...] = ()
    retry_seconds: float | None = None


def decode(error: Any) -> Failure:
    """Read the status and the google.rpc details of a failed call, a grpc.RpcError."""
    status = _status(error)
    violations: list[Violation] = []
    missing: list[str] = []
    retry: float | None = None
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(detail.value)
            violations += (Violation(v.field, v.description) for v in request.field_violations)
        elif detail.Is(error_details_pb2.PreconditionFailure.DESCRIPTOR):
            failure = error_details_pb2.PreconditionFailure.FromString(detail.value)
            missing += (v.subject for v in failure.violations if v.type == _MISSING)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info = error_details_pb2.RetryInfo.FromString(detail.value)
            retry = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return Failure(error.code(), error.details() or "", tuple(violations), tuple(missing), retry)


def _status(error: Any) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)
    except ValueError:  # the details and the status contradict each other
        return None


def explain(failure: Failure, address: Address, capture: Capture | None = None) -> ServiceError:
    """Return the error that tells the user what happened and what to do.

    Args:
        failure: The failed call.
        address: The service.
        capture: What was sent, to say violations in terms of the user's layers and lines.
    """
    match failure.code:
        case grpc.StatusCode.UNAVAILABLE:
            return unavailable(failure, address)[0]
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnreachableError(
                f"{address} does not answer in time",
                hint="is the machine overloaded, or the network slow? Try again",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return _unauthenticated(address)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return _refused(failure, address, capture)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return BusyError(
                f"{address} has no room: {_sentence(failure)}",
                hint="try again later" if failure.retry_seconds is not None else "",
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return IncompatibleError(
                f"{address} is no probe service that this client understands",
                hint="is the port right, and has the server the same version of nnlint?",
            )
        case _:
            word = failure.code.name.lower().replace("_", " ")
            return ServiceError(
                f"{address}: {word}: {_sentence(failure)}",
                hint="the server's log says more",
            )


def unavailable(failure: Failure, address: Address) -> tuple[ServiceError, bool]:
    """Return the error for a connection that does not work, and whether that will last."""
    found = diagnose(address)
    if found is not None:
        return UnreachableError(f"{address} {found.message}", hint=found.hint), found.lasting
    # It answers, so it is the service itself that is not available.
    text = _sentence(failure)
    return UnreachableError(f"{address}: {text}", hint="try again in a moment"), False


def _unauthenticated(address: Address) -> UnauthenticatedError:
    if address.token:
        return UnauthenticatedError(
            f"{address} does not accept the token",
            hint=f"--token-file FILE or ${TOKEN_VARIABLE} must hold the token that the server was "
            "started with",
        )
    return UnauthenticatedError(
        f"{address} wants a token",
        hint=f"give the server's token with --token-file FILE or in ${TOKEN_VARIABLE}",
    )


def _refused(failure: Failure, address: Address, capture: Capture | None) -> RefusedError:
    told = [describe(violation, capture) for violation in failure.violations]
    if not told:
        told = [_sentence(failure)]
    more = f" (and {len(told) - _SHOWN} more)" if len(told) > _SHOWN else ""
    return RefusedError(
        f"{address} refuses the probe: {'; '.join(told[:_SHOWN])}{more}",
        hint="this is a defect of nnlint; please report it with the model"
        if address.label
        else "where client and server have different versions of nnlint, make them equal",
    )


def describe(violation: Violation, capture: Capture | None) -> str:
    """Say what is wrong with a field in terms of the user's layer and line."""
    place = _place(violation.field, capture)
    return f"{place}: {violation.description}" if place else violation.description


def _place(field: str, capture: Capture | None) -> str:
    if capture is None:
        return field
    if (found := _NODE.search(field)) and int(found[1]) < len(capture.nodes):
        site = capture.nodes[int(found[1])]
        return _join(site.location or capture.location, site.path)
    if (found := _TENSOR.search(field)) and int(found[1]) < len(capture.tensors):
        tensor = capture.tensors[int(found[1])]
        return _join(tensor.site.location, tensor.name)
    return field


def _join(location: Location | None, name: str) -> str:
    place = f"{location.path}:{location.line}" if location else ""
    return f"{place} ({name})" if place and name else place or name


def _sentence(failure: Failure) -> str:
    text = " ".join(failure.message.split()).rstrip(".")
    return text[:500] or failure.code.name.lower().replace("_", " ")
