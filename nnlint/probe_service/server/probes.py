"""Probes that are known: their events, who follows them, and how long they are kept."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

import grpc

from nnlint.probe_service.server.refusals import RefusedError
from nnlint.probe_service.server.store import Lease
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2

KEPT_SECONDS = 60.0
# Of one probe's events. Over it the arrays of steps are dropped, so that a client that reads
# slowly, or not at all, never stops the worker.
BUFFER_BYTES = 16 << 20
# Of all events together, those of probes that have ended included.
ALL_BYTES = 96 << 20


class State(enum.Enum):
    """Where a probe is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Probe:
    """One probe.

    Attributes:
        id: 16 bytes that the client chose.
        client: Who sent it.
        request: What to do.
        kind: "cpu" or "cuda".
        lease: Keeps its blobs in the store.
        state: Where it is in its life.
        failure: Why it ended without a result: the status of the stream.
        cancelled: Set once it is to end.
        buffered: Bytes of its events.
        created: When it came, on the monotonic clock; likewise started and ended.
    """

    def __init__(
        self, request: probe_service_pb2.RunProbeRequest, *, client: str, kind: str, lease: Lease
    ) -> None:
        self.id = bytes(request.probe_id)
        self.client = client
        self.request = request
        self.kind = kind
        self.lease = lease
        self.state = State.QUEUED
        self.failure: RefusedError | None = None
        self.cancelled = asyncio.Event()
        self.ended_event = asyncio.Event()
        self.buffered = 0
        self.created = time.monotonic()
        self.started = 0.0
        self.ended = 0.0
        self._events: list[probe_service_pb2.ProbeEvent] = []
        self._shortened = 0  # events before this one have been shortened where they could be
        self._steps = 0
        self._stream: object | None = None
        self._bell = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The id for logs."""
        return self.id.hex()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state is State.ENDED

    @property
    def steps(self) -> int:
        """Steps that were made."""
        return self._steps

    @property
    def events(self) -> int:
        """How many events there were."""
        return len(self._events)

    def add(
        self,
        event: (
            probe_service_pb2.Stage
            | measurement_pb2.MeasurementPlan
            | measurement_pb2.StepStatistics
            | measurement_pb2.ExperimentResult
            | probe_service_pb2.Progress
            | measurement_pb2.Result
        ),
    ) -> None:
        """Append what happened, with the next sequence number."""
        assert self.state is not State.ENDED
        numbered = probe_service_pb2.ProbeEvent(sequence=len(self._events) + 1)
        if isinstance(event, probe_service_pb2.Stage):
            numbered.stage.CopyFrom(event)
        elif isinstance(event, measurement_pb2.MeasurementPlan):
            numbered.plan.CopyFrom(event)
        elif isinstance(event, measurement_pb2.StepStatistics):
            numbered.step.CopyFrom(event)
            self._steps += 1
        elif isinstance(event, measurement_pb2.ExperimentResult):
            numbered.experiment.CopyFrom(event)
        elif isinstance(event, probe_service_pb2.Progress):
            numbered.progress.CopyFrom(event)
        else:
            numbered.result.CopyFrom(event)
        self._events.append(numbered)
        self.buffered += numbered.ByteSize()
        if self.buffered > BUFFER_BYTES:
            self.shorten(self.buffered - BUFFER_BYTES)
        self._ring()

    def end(self, outcome: measurement_pb2.Result | RefusedError) -> None:
        """End with a result, or without one."""
        if self.state is State.ENDED:
            return
        if isinstance(outcome, RefusedError):
            self.failure = outcome
        else:
            self.add(outcome)
        self.state = State.ENDED
        self.ended = time.monotonic()
        self._stop_expiry()
        self.ended_event.set()
        self._ring()

    def shorten(self, wanted: int) -> None:
        """Free bytes by dropping the arrays of the oldest steps; their losses stay."""
        goal = self.buffered - wanted
        while self.buffered > goal and self._shortened < len(self._events):
            old = self._events[self._shortened]
            if old.HasField("step") and old.step.measured:
                new = probe_service_pb2.ProbeEvent(sequence=old.sequence)
                new.step.step = old.step.step
                new.step.loss = old.step.loss
                new.step.seconds = old.step.seconds
                self.buffered -= old.ByteSize() - new.ByteSize()
                self._events[self._shortened] = new
            self._shortened += 1

    def attach(self) -> object:
        """Become the one stream of this probe; the stream of before ends."""
        self._stop_expiry()
        self._stream = object()
        self._ring()
        return self._stream

    def detach(self, stream: object) -> None:
        """Go; without a client the probe is cancelled after its keep-alive time."""
        if self._stream is not stream:
            return
        self._stream = None
        if self.state is State.ENDED:
            return
        if self.request.keep_alive_seconds > 0:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self.request.keep_alive_seconds, self.cancel)
        else:
            self.cancel()

    def cancel(self) -> None:
        """Ask for its end; whoever has it at the moment brings it about."""
        self.cancelled.set()

    async def follow(
        self, stream: object, first: int
    ) -> AsyncIterator[probe_service_pb2.ProbeEvent]:
        """Yield the events from sequence number `first` to the end.

        Raises:
            RefusedError: ABORTED where another stream took over, or why the probe has no result.
        """
        position = first - 1
        while True:
            bell = self._bell
            while position < len(self._events):
                if self._stream is not stream:
                    break
                yield self._events[position]
                position += 1
            if self._stream is not stream:
                code = grpc.StatusCode.ABORTED
                raise RefusedError(code, "another call follows this probe now", "TAKEN_OVER")
            if self.state is State.ENDED and position >= len(self._events):
                if self.failure is not None:
                    raise self.failure
                return
            await bell.wait()

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


class Probes:
    """Every probe that is known, by its id."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, Probe] = OrderedDict()

    def active(self) -> list[Probe]:
        """Return the probes that have not ended."""
        return [probe for probe in self._known.values() if probe.state is not State.ENDED]

    def add(self, probe: Probe) -> None:
        """Know a probe.

        Raises:
            RefusedError: ALREADY_EXISTS.
        """
        self.sweep()
        self.check_new(probe.id)
        self._known.pop(probe.id, None)
        self._known[probe.id] = probe

    def forget(self, probe: Probe) -> None:
        """Know a probe no more that was not let in."""
        if self._known.get(probe.id) is probe:
            del self._known[probe.id]

    def check_new(self, probe_id: bytes) -> None:
        """Check that an id is free. That of a probe which never ran may be used again.

        Raises:
            RefusedError: ALREADY_EXISTS.
        """
        other = self._known.get(probe_id)
        if other is not None and other.failure is None:
            code = grpc.StatusCode.ALREADY_EXISTS
            raise RefusedError(code, "there is a probe with this id", "PROBE_EXISTS")

    def find(self, probe_id: bytes, client: str) -> Probe:
        """Return a client's probe.

        Raises:
            RefusedError: NOT_FOUND; a probe of another client is not told apart from none.
        """
        self.sweep()
        probe = self._known.get(probe_id)
        if probe is None or probe.client != client:
            code = grpc.StatusCode.NOT_FOUND
            raise RefusedError(code, "there is no such probe", "NO_PROBE")
        return probe

    def sweep(self) -> None:
        """Forget what ended a while ago, and keep the memory of all events bounded."""
        now = self._clock()
        for probe in list(self._known.values()):
            if probe.state is State.ENDED and now - probe.ended > KEPT_SECONDS:
                del self._known[probe.id]
        over = sum(probe.buffered for probe in self._known.values()) - ALL_BYTES
        for probe in list(self._known.values()):
            if over <= 0:
                return
            if probe.state is State.ENDED:
                del self._known[probe.id]
                over -= probe.buffered
