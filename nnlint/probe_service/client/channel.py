"""The connection to a probe service: its calls with deadlines, and what is tried again."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from nnlint.errors import ServiceError
from nnlint.probe_service.client import failures
from nnlint.probe_service.client.address import Address
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from nnlint.protos.v1.probe_service_pb2_grpc import ProbeServiceStub

if TYPE_CHECKING:
    from google.protobuf.message import Message

# Seconds that a call which only asks something may take.
ANSWER_SECONDS = 30.0
# Seconds for which a service that has answered before is tried again.
PATIENCE = 60.0
# For one that has not: the name may be wrong, or it may just be starting.
FIRST_PATIENCE = 5.0
CANCEL_SECONDS = 2.0
CLOSE_SECONDS = 2.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SLOWEST_UPLOAD = 128 * 1024  # bytes a second, for the deadline alone
_OPTIONS: dict[str, int] = {
    # A sleeping or departed machine is noticed, and a NAT remembers a connection that waits.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 0,
    # gRPC's own pause after a failed connection would come on top of ours.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
}

# Called with what is waited for, and for how many seconds.
OnWait = Callable[[str, float], None]


def open_channel(address: Address) -> grpc.Channel:
    """Return a channel; nothing is connected before the first call."""
    options = dict(_OPTIONS)
    if address.local:
        options["grpc.enable_http_proxy"] = 0
    listed = list(options.items())
    if address.tls is None:
        return grpc.insecure_channel(address.target, options=listed)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=address.tls.authorities,
        private_key=address.tls.key,
        certificate_chain=address.tls.certificate,
    )
    return grpc.secure_channel(address.target, credentials, options=listed)


class Pauses:
    """How long to wait between attempts: doubling, jittered, until the patience is at its end."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """Begin anew, after something has worked."""
        self._end = time.monotonic() + self._patience
        self._pause = _FIRST_PAUSE

    def next(self, at_least: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up."""
        pause = max(self._pause * random.uniform(0.5, 1.0), at_least)  # noqa: S311 - no secret
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return pause if time.monotonic() + pause < self._end else None


def no_wait(reason: str, seconds: float) -> None:
    """Say nothing while something is waited for."""


class Service:
    """The calls of a probe service, as a context that closes the connection.

    The calls that ask and store raise ServiceError, after what may be tried again has been. The
    two that stream raise grpc.RpcError while they are read: the session goes on with another.

    `ended` says why the service has ended for good, and "" where that is not known.

    Attributes:
        address: Where it is.
        patience: Seconds for which a service that has answered before is tried again.
        on_wait: Called before each wait for it.
        bytes_sent: Size of all messages to it, as protobuf.
    """

    def __init__(
        self,
        address: Address,
        *,
        patience: float = PATIENCE,
        on_wait: OnWait = no_wait,
        ended: Callable[[], str] = lambda: "",
    ) -> None:
        self.address = address
        self._ended = ended
        self.patience = patience
        self.on_wait = on_wait
        self.bytes_sent = 0
        self._answered = False
        self._channel = open_channel(address)
        self._stub = ProbeServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._metadata = (("authorization", f"Bearer {address.token}"),) if address.token else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An interrupt within gRPC's own code can leave a call that nothing drains, and close() waits
        # for it for ever (https://github.com/grpc/grpc/issues/19973).
        closing = threading.Thread(target=self._channel.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def pauses(self) -> Pauses:
        """Return the pauses of one undertaking."""
        return Pauses(self.patience if self._answered else min(FIRST_PATIENCE, self.patience))

    def capabilities(self) -> pb.GetCapabilitiesResponse:
        """Ask what the service can do."""
        request = pb.GetCapabilitiesRequest()
        answer: pb.GetCapabilitiesResponse = self._ask(self._stub.GetCapabilities, request)
        return answer

    def missing(self, digests: Sequence[graph_pb2.Digest]) -> Sequence[graph_pb2.Digest]:
        """Ask which blobs it lacks."""
        request = pb.FindMissingBlobsRequest(digests=digests)
        answer: pb.FindMissingBlobsResponse = self._ask(self._stub.FindMissingBlobs, request)
        return answer.missing

    def upload(self, messages: Iterable[pb.UploadBlobsRequest], size: int) -> None:
        """Send blobs of `size` bytes together.

        Raises:
            grpc.RpcError: Nothing is tried again here: what is missing has to be asked anew.
        """
        seconds = ANSWER_SECONDS + size / _SLOWEST_UPLOAD
        call = self._stub.UploadBlobs.future(
            self._counted(messages), timeout=seconds, metadata=self._metadata
        )
        try:
            call.result()
        except BaseException:
            call.cancel()
            raise

    def run(self, request: pb.RunProbeRequest, seconds: float) -> Any:
        """Start a probe and return its stream, with `seconds` until its deadline."""
        self.bytes_sent += request.ByteSize()
        return self._stub.RunProbe(request, timeout=seconds, metadata=self._metadata)

    def attach(self, probe_id: bytes, sequence: int, seconds: float) -> Any:
        """Return the stream of a running probe from an event on."""
        request = pb.AttachProbeRequest(probe_id=probe_id, from_sequence=sequence)
        self.bytes_sent += request.ByteSize()
        return self._stub.AttachProbe(request, timeout=seconds, metadata=self._metadata)

    def cancel(self, probe_id: bytes) -> None:
        """End a probe, where the service can still be reached."""
        request = pb.CancelProbeRequest(probe_id=probe_id)
        with contextlib.suppress(grpc.RpcError):  # it has ended, or it ends with the connection
            self._stub.CancelProbe(request, timeout=CANCEL_SECONDS, metadata=self._metadata)

    def wait(self, failure: failures.Failure, pauses: Pauses) -> None:
        """Wait before another attempt.

        Raises:
            ServiceError: The patience is at its end, or waiting is of no use.
        """
        error: ServiceError
        if reason := self._ended():
            raise ServiceError(f"the server that runs the probe is gone: {reason}")
        if failure.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
            error, lasting = failures.unavailable(failure, self.address)
            if lasting:
                raise error
        else:
            error = failures.explain(failure, self.address)
        pause = pauses.next(failure.retry_seconds or 0.0)
        if pause is None:
            raise error
        self.on_wait(str(error), pause)
        time.sleep(pause)

    def _ask(self, method: Any, request: Message) -> Any:
        pauses = self.pauses()
        while True:
            self.bytes_sent += request.ByteSize()
            try:
                answer = method(request, timeout=ANSWER_SECONDS, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = failures.decode(error)
                if failure.code is not grpc.StatusCode.UNAVAILABLE:
                    raise failures.explain(failure, self.address) from None
                self.wait(failure, pauses)
            else:
                self._answered = True
                return answer

    def _counted(self, messages: Iterable[pb.UploadBlobsRequest]) -> Iterator[Any]:
        for message in messages:
            self.bytes_sent += message.ByteSize()
            yield message
