"""A probe from the client's side: ask, upload, run, follow the events to the result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from nnlint.errors import ServiceError, UnreachableError
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client import failures, request, upload
from nnlint.probe_service.client.address import Address
from nnlint.probe_service.client.channel import PATIENCE, Service
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.client.outcome import Outcome
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

# Seconds that a probe on another machine outlives its connection.
KEEP_ALIVE_SECONDS = 10.0
# Beside the run itself: the queue, loading, checking, localising.
_QUEUE_SECONDS = 3600.0
_MOST_RUNS = 3

Recapture = Callable[[int], Capture]


class Watch:
    """Called with what happens; a subclass shows it."""

    def connected(self, server: pb.GetCapabilitiesResponse) -> None:
        """Take what the service says of itself."""

    def asked(self, capture: Capture, asked: request.Asked) -> None:
        """Take what is asked of the service, before anything is sent."""

    def uploading(self, sent: int, total: int) -> None:
        """Take the bytes that have been sent and those that have to be; in another thread."""

    def event(self, event: pb.ProbeEvent) -> None:
        """Take an event of the probe, in order, each once."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Take why nothing happens for some seconds."""

    def restarted(self) -> None:
        """Take that the service has lost the probe, and runs it again."""

    def halved(self, batch_size: int) -> None:
        """Take that memory ran out, and that a smaller batch is tried."""


class Session:
    """A connection on which several probes can be run; a context.

    Args:
        server: Where, or a server of the client's own, which has to outlive the session.
        watch: Called with what happens.
        patience: Seconds for which a service that has answered before is tried again.
    """

    def __init__(
        self,
        server: Address | Embedded,
        *,
        watch: Watch | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.watch = watch or Watch()
        self.embedded = isinstance(server, Embedded)
        if isinstance(server, Embedded):
            # It ends with this process, and nothing lies between the two.
            self._keep_alive_seconds = 0.0
            address, ended = server.address(), server.ended
        else:
            self._keep_alive_seconds = KEEP_ALIVE_SECONDS
            address, ended = server, str
        self.service = Service(address, patience=patience, on_wait=self.watch.waiting, ended=ended)
        self._server: pb.GetCapabilitiesResponse | None = None

    def __enter__(self) -> Self:
        self.service.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.service.__exit__(kind, error, trace)

    def connect(self) -> pb.GetCapabilitiesResponse:
        """Ask what the service can do, once."""
        if self._server is None:
            self._server = self.service.capabilities()
            self.watch.connected(self._server)
        return self._server

    def probe(
        self, capture: Capture, options: ProbeOptions, recapture: Recapture | None = None
    ) -> Outcome:
        """Run one probe to its result.

        Args:
            capture: What to run.
            options: How.
            recapture: Captures the model with another batch, for `options.fit_batch`.

        Raises:
            ServiceError: Why there is no result. What goes wrong in a run is in its result.
        """
        outcome = self._probe(capture, options)
        while (
            options.fit_batch
            and recapture is not None
            and outcome.result.status == measurement_pb2.Result.STATUS_OUT_OF_MEMORY
            and outcome.capture.batch_size > 1
        ):
            size = outcome.capture.batch_size // 2
            self.watch.halved(size)
            outcome = self._probe(recapture(size), options)
        return outcome

    def _probe(self, capture: Capture, options: ProbeOptions) -> Outcome:
        server = self.connect()
        request.check(capture, options, server, self.service.address)
        run = _Run(self, capture, options, server)
        return run.do()

    def new_request(
        self,
        capture: Capture,
        options: ProbeOptions,
        server: pb.GetCapabilitiesResponse,
        asked: request.Asked,
    ) -> pb.RunProbeRequest:
        """Return a request for one probe, with an identity of its own."""
        return request.run_request(
            capture, options, server, asked, keep_alive_seconds=self._keep_alive_seconds
        )


class _Run:
    """The state of one probe."""

    def __init__(
        self,
        session: Session,
        capture: Capture,
        options: ProbeOptions,
        server: pb.GetCapabilitiesResponse,
    ) -> None:
        self._service = session.service
        self._watch = session.watch
        self._capture = capture
        self._server = server
        self._asked = request.ask(capture, options, server.limits)
        self._request = session.new_request(capture, options, server, self._asked)
        self._seconds = self._request.settings.seconds + _QUEUE_SECONDS
        self._blobs = upload.contents(capture)
        self._uploaded = upload.Uploaded(0, 0, 0.0)
        self._runs = 0
        self._forget()

    def do(self) -> Outcome:
        """Upload, run, and follow to the result."""
        self._watch.asked(self._capture, self._asked)
        self._upload()
        stream: Any = None
        try:
            stream = self._start()
            self._follow(stream)
        except ServiceError:
            raise
        except BaseException:
            # Above all an interrupt: the device is wanted by others.
            self._service.cancel(self._request.probe_id)
            raise
        assert self._result is not None
        return Outcome(
            self._capture,
            self._plan,
            tuple(self._steps),
            self._result,
            self._uploaded,
            self._server,
            self._asked,
            tuple(self._found),
        )

    def _forget(self) -> None:
        self._next = 1
        self._plan = measurement_pb2.MeasurementPlan()
        self._steps: list[measurement_pb2.StepStatistics] = []
        self._found: list[measurement_pb2.ExperimentResult] = []
        self._result: measurement_pb2.Result | None = None

    def _upload(self, known_missing: tuple[bytes, ...] = ()) -> None:
        started = time.monotonic()
        number, size = upload.send(
            self._service,
            self._blobs,
            limits=self._server.limits,
            on_progress=self._watch.uploading,
            known_missing=known_missing,
        )
        before = self._uploaded
        self._uploaded = upload.Uploaded(
            before.blobs + number,
            before.size + size,
            before.seconds + time.monotonic() - started,
        )

    def _start(self) -> Any:
        """Start the probe, anew where the service has forgotten it."""
        self._runs += 1
        if self._runs > 1:
            self._request.probe_id = request.new_id()
            self._forget()
        return self._service.run(self._request, self._seconds)

    def _follow(self, stream: Any) -> None:
        pauses = self._service.pauses()
        uploaded_again = attached = False
        while True:
            failure: failures.Failure | None = None
            before = self._next
            with contextlib.closing(_Stream(stream)) as events:
                try:
                    if self._take_all(events):
                        return
                except grpc.RpcError as error:
                    failure = failures.decode(error)
            if self._next > before:
                pauses.reset()
            if failure is None:
                failure = failures.Failure(
                    grpc.StatusCode.UNAVAILABLE, "the stream ended before the result"
                )
            match failure.code:
                # CANCELLED is what proxies make of a connection that they lose.
                case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                    self._service.wait(failure, pauses)
                    stream, attached = self._attach(), True
                case grpc.StatusCode.OUT_OF_RANGE if attached:
                    self._service.wait(failure, pauses)
                    stream = self._attach()
                case grpc.StatusCode.NOT_FOUND if attached and self._runs < _MOST_RUNS:
                    if self._next > 1:
                        self._watch.restarted()
                    stream, attached = self._start(), False
                case grpc.StatusCode.FAILED_PRECONDITION if failure.missing and not uploaded_again:
                    # They went between the question and the run.
                    uploaded_again = True
                    self._upload(_digests(failure))
                    stream = self._start()
                case grpc.StatusCode.RESOURCE_EXHAUSTED if failure.retry_seconds is not None:
                    self._service.wait(failure, pauses)
                    stream = self._start_again()
                case _:
                    raise self._error(failure)

    def _start_again(self) -> Any:
        self._runs -= 1  # it had not begun
        return self._start()

    def _attach(self) -> Any:
        return self._service.attach(self._request.probe_id, self._next, self._seconds)

    def _take_all(self, events: _Stream) -> bool:
        """Take events until the stream ends; return whether the result has come."""
        for event in events:
            if event.sequence > self._next:
                return False  # one is missing: ask for it
            if event.sequence == self._next:
                self._take(event)
            if self._result is not None:
                # The call ends by itself; cancelled, it would count as a failed one at the server.
                with contextlib.suppress(grpc.RpcError):
                    for _ in events:
                        pass
                return True
        return False

    def _take(self, event: pb.ProbeEvent) -> None:
        self._next += 1
        match event.WhichOneof("event"):
            case "plan":
                self._plan = event.plan
            case "step":
                self._steps.append(event.step)
            case "experiment":
                self._found.append(event.experiment)
            case "result":
                self._result = event.result
        self._watch.event(event)

    def _error(self, failure: failures.Failure) -> ServiceError:
        address = self._service.address
        if failure.code is grpc.StatusCode.NOT_FOUND:
            return UnreachableError(
                f"{address} lost the probe {self._runs} times",
                hint="does it restart again and again? Its log says why",
            )
        if failure.code is grpc.StatusCode.ABORTED:
            return ServiceError(f"{address}: another client took the probe over")
        return failures.explain(failure, address, self._capture)


class _Stream:
    """The events of one call; closing it ends the call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Any:
        return (response.event for response in self._call)

    def close(self) -> None:
        """End the call, which does nothing where it has ended."""
        self._call.cancel()


def _digests(failure: failures.Failure) -> tuple[bytes, ...]:
    """Return the SHA-256 of missing blobs; their subjects are "blobs/<hex>/<size>"."""
    found = []
    for subject in failure.missing:
        parts = subject.split("/")
        with contextlib.suppress(ValueError, IndexError):
            found.append(bytes.fromhex(parts[1] if parts[0] == "blobs" else parts[0]))
    return tuple(found)


def run(
    capture: Capture,
    options: ProbeOptions,
    address: Address | None,
    watch: Watch | None = None,
    recapture: Recapture | None = None,
) -> Outcome:
    """Run one probe, on a server of its own where `address` is None.

    Raises:
        ServiceError: Why there is no result.
    """
    with contextlib.ExitStack() as stack:
        server = address or stack.enter_context(Embedded())
        session = stack.enter_context(Session(server, watch=watch))
        return session.probe(capture, options, recapture)
