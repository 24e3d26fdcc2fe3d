"""One probe on one worker: hands over the job, passes on the events, and says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from nnlint import __version__
from nnlint.probe_service.server import frames
from nnlint.probe_service.server.metrics import Metrics
from nnlint.probe_service.server.probes import Probe, State
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.requests import limits_message
from nnlint.probe_service.server.settings import Limits
from nnlint.probe_service.server.store import Store
from nnlint.probe_service.server.workers import Worker
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2, worker_pb2

_LOG = logging.getLogger(__name__)
Result = measurement_pb2.Result
# A worker ends itself once it has sent its result.
_LEAVING_SECONDS = 1.0
# Beyond the time of the probe itself, at whose end the worker should say what it has.
_GRACE_SECONDS = 2.0
# Beyond the keeper's time: then something is wrong with the keeper.
_OVERDUE_SECONDS = 10.0
# Far more than any probe has.
_MOST_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class Station:
    """Where a probe runs.

    Attributes:
        kind: "cpu" or "cuda".
        about: What the worker said of the device.
        threads: Of the CPU.
        torch_version: In the workers.
    """

    kind: str
    about: probe_service_pb2.Device
    threads: int
    torch_version: str


class Runner:
    """Runs probes on workers that wait for them."""

    def __init__(
        self,
        limits: Limits,
        store: Store,
        metrics: Metrics,
        *,
        finish: Callable[[Probe, Result | RefusedError], None],
        on_stuck: Callable[[], None],
    ) -> None:
        """Prepare; `finish` ends a probe, `on_stuck` ends all workers where one cannot be ended."""
        self._limits = limits
        self._store = store
        self._metrics = metrics
        self._finish = finish
        self._on_stuck = on_stuck

    async def run(self, worker: Worker, probe: Probe, station: Station) -> bool:
        """Have a probe done, and wait until the worker and its children are gone.

        Returns:
            False where the worker turned out to have ended before it began; the probe then goes on.
        """
        probe.state = State.RUNNING
        probe.started = time.monotonic()
        self._metrics.queue_seconds.observe(probe.started - probe.created)
        _LOG.info("probe runs", extra={"probe": probe.name, "device": station.about.name})
        job, events = self._job(probe, station), probe.events
        watching = asyncio.create_task(self._watch(probe, worker))
        try:
            await worker.begin(job)
            await self._pump(worker, probe, job.seconds + _OVERDUE_SECONDS)
            worker.kill()
            end = await worker.end()
            if not probe.over:
                late = end is not None and (end.timed_out or end.node >= 0)
                if probe.events == events and not late and not probe.cancelled.is_set():
                    return False
                self._finish(probe, self._result_of(probe, end, station))
            if end is not None and end.code != 0 and not probe.cancelled.is_set():
                extra = {"probe": probe.name, "code": end.code, "output": end.output}
                _LOG.warning("worker ended", extra=extra)
        except asyncio.CancelledError:
            if not probe.over:
                text = "The server was stopped."
                self._finish(probe, Result(status=Result.STATUS_CANCELLED, message=text))
            raise
        finally:
            watching.cancel()
        return True

    def _job(self, probe: Probe, station: Station) -> worker_pb2.WorkerJob:
        job = worker_pb2.WorkerJob(
            request=probe.request,
            blob_folder=str(self._store.folder),
            limits=limits_message(self._limits),
            # The one that is visible to the worker.
            device="cuda:0" if station.kind == "cuda" else "cpu",
            threads=station.threads,
        )
        job.request.settings.seconds = self._seconds(probe)
        job.seconds = self._seconds(probe) + _GRACE_SECONDS
        return job

    def _seconds(self, probe: Probe) -> float:
        return probe.request.settings.seconds or self._limits.seconds

    async def _watch(self, probe: Probe, worker: Worker) -> None:
        """End the worker of a probe that is cancelled."""
        await probe.cancelled.wait()
        worker.kill()
        await asyncio.sleep(_OVERDUE_SECONDS)
        _LOG.error("a worker cannot be ended", extra={"probe": probe.name})
        self._on_stuck()

    async def _pump(self, worker: Worker, probe: Probe, seconds: float) -> None:
        """Pass on what the worker says, to the end of its process."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds) as limit:
                while (event := await worker.event()) is not None:
                    if probe.over:
                        continue
                    await self._take(event, probe)
                    if probe.ended_event.is_set():
                        limit.reschedule(loop.time() + _LEAVING_SECONDS)
        except TimeoutError:
            if not probe.over:
                _LOG.error("a keeper does not answer", extra={"probe": probe.name})
                self._on_stuck()
        except frames.FrameError as error:
            _LOG.error("a worker broke the protocol", extra={"cause": str(error)})

    async def _take(self, event: worker_pb2.WorkerEvent, probe: Probe) -> None:
        kind = event.WhichOneof("event")
        if probe.events > _MOST_EVENTS:
            raise frames.FrameError("far too many events")
        if kind in {"stage", "plan", "step", "progress", "experiment"}:
            if kind == "step" and not probe.steps:
                self._metrics.first_step_seconds.observe(time.monotonic() - probe.started)
            probe.add(getattr(event, kind))
        elif kind == "result":
            event.result.timings.queued = probe.started - probe.created
            self._finish(probe, event.result)
        elif kind == "refusal":
            found = event.refusal.violations
            violations = [Violation(each.field, each.description) for each in found]
            self._finish(probe, RefusedError.invalid(violations))
        elif kind == "damage":
            # The others may be damaged too; a client should hear of all of them at once.
            damaged = await asyncio.to_thread(self._store.drop_damaged, probe.lease)
            for key in damaged:
                _LOG.error("damaged blob", extra={"probe": probe.name, "blob": str(key)})
            self._finish(probe, RefusedError.missing(damaged))

    def _result_of(self, probe: Probe, end: worker_pb2.Exit | None, station: Station) -> Result:
        """Return the result of a probe whose worker ended without one."""
        result = Result(steps=probe.steps)
        result.timings.queued = probe.started - probe.created
        result.environment.device = station.kind
        result.environment.device_name = station.about.name
        result.environment.torch_version = station.torch_version
        result.environment.nnlint_version = __version__
        if end is not None and end.node >= 0:
            result.node = end.node
        if probe.cancelled.is_set():
            result.status, result.message = Result.STATUS_CANCELLED, "Cancelled."
        elif end is not None and end.timed_out:
            result.status = Result.STATUS_TIMED_OUT
            result.message = f"The probe was not done within {self._seconds(probe):g} seconds."
        elif end is not None and end.out_of_memory:
            result.status = Result.STATUS_OUT_OF_MEMORY
            result.message = "The machine ran out of memory, and its kernel ended the worker."
        else:
            result.status = Result.STATUS_WORKER_CRASHED
            result.message = f"The worker ended {_manner(end)} without a result."
        return result


def _manner(end: worker_pb2.Exit | None) -> str:
    """Return how a process ended, for people."""
    if end is None:
        return "together with its keeper"
    if end.code >= 0:
        return f"with exit code {end.code}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-end.code).name}"
    return f"by signal {-end.code}"
