"""A probe service in this process that does as a test says, and captures without a model."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from nnlint.linter.findings import Location
from nnlint.linter.measured import Site
from nnlint.probe_service.capture.bundle import Capture, Parity, TensorSite
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2_grpc
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.graphs import Built, mlp

Event = pb.ProbeEvent
COMPLETED = measurement_pb2.Result.STATUS_COMPLETED


def capture_of(built: Built, **changes: Any) -> Capture:
    """Return a graph as what the capture of a model `Net` in net.py would be."""
    nodes = tuple(
        Site(f"fc{index}", Location("net.py", 10 + index))
        for index in range(len(built.graph.nodes))
    )
    tensors = tuple(TensorSite(f"tensor{i}") for i in range(len(built.graph.tensors)))
    values: dict[str, Any] = {
        "model": "Net",
        "location": Location("net.py", 5),
        "graph": built.serialised,
        "blobs": built.blobs,
        "nodes": nodes,
        "tensors": tensors,
        "loss_nodes": frozenset({len(nodes) - 1}),
        "batch_size": built.graph.batch_size,
        "loss": "cross_entropy at train.py:30",
        "loss_source": "found",
        "data": "random",
        "parity": Parity(0.0, 0.0, bit_equal=True, gradients=4),
    }
    return Capture(**{**values, **changes})


def fail(context: Any, code: Any, message: str, *details: Any) -> Any:
    """End a call as a server does, with google.rpc details."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number = getattr(code_pb2, code.name)
    status = status_pb2.Status(code=number, message=message, details=packed)
    return context.abort_with_status(rpc_status.to_status(status))


def retry_after(seconds: float) -> Any:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    return info


def missing(*digests: bytes) -> Any:
    return error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(
                type="MISSING", subject=f"blobs/{digest.hex()}/1"
            )
            for digest in digests
        ]
    )


def bad_request(*violations: tuple[str, str]) -> Any:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )


def whole_story(steps: int = 2) -> list[Event]:
    """Return the events of a probe that goes well."""
    events = [
        Event(stage=pb.Stage(kind=pb.Stage.KIND_QUEUED)),
        Event(stage=pb.Stage(kind=pb.Stage.KIND_RUNNING)),
        Event(plan=measurement_pb2.MeasurementPlan(nodes=[0], parameters=[0])),
        *(
            Event(step=measurement_pb2.StepStatistics(step=i, loss=2.0 - i, measured=True))
            for i in range(steps)
        ),
        Event(result=measurement_pb2.Result(status=COMPLETED, steps=steps)),
    ]
    for number, event in enumerate(events, start=1):
        event.sequence = number
    return events


class Fake(probe_service_pb2_grpc.ProbeServiceServicer):
    """A service whose answers are scripted; each call takes the next script of its kind.

    A script is a function of (request, context) that returns the answer, or yields events; the
    last one of a kind stays.
    """

    def __init__(self) -> None:
        self.capabilities = pb.GetCapabilitiesResponse(
            oldest_format_version=1,
            newest_format_version=1,
            nnlint_version="0.1.0",
            devices=[pb.Device(kind="cpu", name="CPU, 2 threads")],
            operators=mlp().graph.operators,
            limits=pb.Limits(
                steps=100, samples=10_000, seconds=600, digests_per_call=3, keep_alive_seconds=60
            ),
        )
        self.stored: dict[bytes, bytes] = {}
        self.scripts: dict[str, list[Callable[[Any, Any], Any]]] = {}
        self.metadata: dict[str, str] = {}
        self.remaining = 0.0
        self.log: list[tuple[str, Any]] = []
        self.messages: list[pb.UploadBlobsRequest] = []
        self.cancelled = threading.Event()

    def script(self, kind: str, *scripts: Callable[[Any, Any], Any]) -> None:
        self.scripts[kind] = list(scripts)

    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    def requests(self, kind: str) -> list[Any]:
        return [request for name, request in self.log if name == kind]

    def _next(self, kind: str, request: Any, context: Any) -> Callable[[Any, Any], Any] | None:
        self.log.append((kind, request))
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        scripts = self.scripts.get(kind, [])
        return scripts.pop(0) if len(scripts) > 1 else next(iter(scripts), None)

    def GetCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's names
        script = self._next("capabilities", request, context)
        return script(request, context) if script else self.capabilities

    def FindMissingBlobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        script = self._next("missing", request, context)
        if script:
            return script(request, context)
        absent = [d for d in request.digests if d.sha256 not in self.stored]
        return pb.FindMissingBlobsResponse(missing=absent)

    def UploadBlobs(self, requests: Iterable[Any], context: Any) -> Any:  # noqa: N802
        script = self._next("upload", None, context)
        if script:
            return script(requests, context)
        self.store(requests)
        return pb.UploadBlobsResponse(stored=len(self.stored))

    def store(self, requests: Iterable[pb.UploadBlobsRequest]) -> None:
        current, content = b"", b""
        for message in requests:
            self.messages.append(message)
            for part in message.parts:
                if part.HasField("digest"):
                    current, content = part.digest.sha256, b""
                content += part.data
                if part.last:
                    self.stored[current] = content

    def RunProbe(self, request: Any, context: Any) -> Any:  # noqa: N802
        script = self._next("run", request, context)
        events = script(request, context) if script else whole_story()
        return (pb.RunProbeResponse(event=event) for event in events)

    def AttachProbe(self, request: Any, context: Any) -> Any:  # noqa: N802
        script = self._next("attach", request, context)
        events = script(request, context) if script else whole_story()[request.from_sequence - 1 :]
        return (pb.AttachProbeResponse(event=event) for event in events)

    def CancelProbe(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._next("cancel", request, context)
        self.cancelled.set()  # the stream of an interrupted client may never end by itself
        return pb.CancelProbeResponse()


class FakeServer:
    """The fake behind a port."""

    def __init__(self, fake: Fake, target: str, credentials: Any = None) -> None:
        self.fake = fake
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)]
        )
        probe_service_pb2_grpc.add_ProbeServiceServicer_to_server(fake, self.server)
        if credentials is None:
            self.port = self.server.add_insecure_port(target)
        else:
            self.port = self.server.add_secure_port(target, credentials)
        self.server.start()

    def stop(self) -> None:
        self.server.stop(None).wait()
