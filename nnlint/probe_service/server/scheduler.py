"""Brings probes and devices together: one loop for each device, one probe at a time on it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from nnlint.errors import UsageError
from nnlint.probe_service.server import confine, frames
from nnlint.probe_service.server.metrics import Metrics
from nnlint.probe_service.server.probes import Probe
from nnlint.probe_service.server.queue import FairQueue
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.runs import Result, Runner, Station
from nnlint.probe_service.server.settings import Settings
from nnlint.probe_service.server.store import Store
from nnlint.probe_service.server.workers import Spawner, Worker
from nnlint.protos.v1 import probe_service_pb2, worker_pb2

_LOG = logging.getLogger(__name__)
# Before the next try at a worker, after so many failures in a row.
_PAUSES = (0.0, 0.0, 0.5, 2.0, 5.0, 15.0, 60.0)
# So many make a device one that does not work. A single worker may be lost to anything.
_MANY_FAILURES = 2
_RETRY_SECONDS = 60.0
# So that workers which end as soon as they are ready keep no processor busy.
_IDLE_PAUSE = 0.05


@dataclass(eq=False, slots=True)
class Slot:
    """One device.

    Attributes:
        device: "cpu", or "cuda:" and what CUDA_VISIBLE_DEVICES calls the device.
        about: What its worker said of it; None where none could be started.
        busy: Whether a probe runs there.
        failures: Workers in a row that did not get as far as waiting for a job.
        tried: Set once a worker has been started, or could not be.
    """

    device: str
    about: probe_service_pb2.Device | None = None
    busy: bool = False
    failures: int = 0
    tried: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def kind(self) -> str:
        """The word "cpu" or "cuda"."""
        return self.device.partition(":")[0]


class Scheduler:
    """Keeps every device ready, and gives it the probes that wait for it."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        *,
        release: Callable[[Probe], object],
        on_health: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            settings: Of the server.
            store: Where the blobs are.
            metrics: Are told what happens.
            release: Called at a probe's end, to let go of its blobs.
            on_health: Called where a device began to work, or stopped.
            on_broken: Called where this part of the server itself has failed.
        """
        self._settings = settings
        self._metrics = metrics
        self._release = release
        self._on_health = on_health
        self._on_broken = on_broken
        memory = settings.memory_bytes or confine.machine_memory() * 4 // 5
        self._spawner = Spawner(settings.executor, memory)
        self._runner = Runner(
            settings.limits, store, metrics, finish=self._finish, on_stuck=self._spawner.kill
        )
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        self._queues: dict[str, FairQueue] = {}
        self._slots: list[Slot] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[Probe, asyncio.Task[None]] = {}
        self._ready = asyncio.Event()

    def launch(self) -> None:
        """Start the process that imports torch."""
        self._spawner.launch()

    async def start(self) -> None:
        """Find the devices and keep each ready, until `stop`; return once each has been tried.

        Raises:
            UsageError: torch cannot be imported, or a wanted device is not there.
        """
        await self._spawner.loaded()
        self._slots = [Slot(device) for device in await self._devices()]
        for slot in self._slots:
            self._queues.setdefault(slot.kind, FairQueue(self._settings.queue))
        for slot in self._slots:
            self._spawn(self._serve(slot))
        for slot in self._slots:
            await slot.tried.wait()
        self._ready.set()

    async def stop(self) -> None:
        """End every worker and the spawner."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._spawner.kill()

    async def ready(self) -> None:
        """Wait until every device has been tried once."""
        await self._ready.wait()

    @property
    def torch_version(self) -> str:
        """Version of torch in the workers."""
        return self._spawner.torch_version

    @property
    def devices(self) -> list[probe_service_pb2.Device]:
        """The devices that can take a probe, now or after the one that runs there."""
        return [slot.about for slot in self._slots if slot.about is not None]

    @property
    def waiting(self) -> int:
        """Probes in the queues."""
        return sum(map(len, self._queues.values()))

    @property
    def running(self) -> int:
        """Probes on devices."""
        return sum(slot.busy for slot in self._slots)

    def kind_of(self, wanted: int) -> str:
        """Return "cpu" or "cuda" for the device that a request asks for.

        Raises:
            RefusedError: INVALID_ARGUMENT where there is none, UNAVAILABLE where none works.
        """
        kinds = probe_service_pb2.ProbeSettings
        names: dict[int, list[str]] = {
            kinds.DEVICE_KIND_CPU: ["cpu"],
            kinds.DEVICE_KIND_CUDA: ["cuda"],
        }
        offered = [kind for kind in names.get(wanted, ["cuda", "cpu"]) if kind in self._queues]
        if not offered:
            text = f"this server has {' and '.join(sorted(self._queues))} only"
            raise RefusedError.invalid([Violation("settings.device", text)])
        if not any(slot.about for slot in self._slots if slot.kind == offered[0]):
            text = f"no {offered[0]} device can take a probe at present"
            raise RefusedError.unavailable(text, "NO_DEVICE")
        return offered[0]

    def submit(self, probe: Probe) -> None:
        """Let a probe wait for its device.

        Raises:
            RefusedError: RESOURCE_EXHAUSTED.
        """
        self._queues[probe.kind].put(probe)
        self._waits[probe] = self._spawn(self._wait(probe))

    async def _wait(self, probe: Probe) -> None:
        """End a probe that is cancelled, or waits too long, before it has a device."""
        outcome: Result | RefusedError
        try:
            async with asyncio.timeout(self._settings.limits.queue_seconds):
                await probe.cancelled.wait()
            outcome = Result(status=Result.STATUS_CANCELLED, message="Cancelled.")
        except TimeoutError:
            text = f"the probe has waited for {self._settings.limits.queue_seconds:.0f} seconds"
            outcome = RefusedError.exhausted(text, "QUEUE_TIMEOUT", retry_seconds=_RETRY_SECONDS)
        if self._queues[probe.kind].remove(probe):
            del self._waits[probe]
            self._finish(probe, outcome)

    async def _devices(self) -> list[str]:
        """Return the devices to serve, as `Slot.device` names them."""
        wanted = self._settings.devices
        cuda = await self._survey() if any(device != "cpu" for device in wanted) else []
        found: list[str] = []
        for device in wanted:
            if device == "auto":
                found += [*cuda, "cpu"]
            elif device == "cpu":
                found.append(device)
            else:
                number = device.partition(":")[2]
                chosen = cuda[int(number) : int(number) + 1] if number else cuda
                if not chosen:
                    raise UsageError(
                        f"there is no device {device} here",
                        hint="`nvidia-smi` shows what there is; torch must be built for CUDA.",
                    )
                found += chosen
        return list(dict.fromkeys(found))

    async def _survey(self) -> list[str]:
        """Ask a process that then ends for the CUDA devices."""
        worker = await self._spawner.fork("", 1)
        ready = await worker.ready()
        if ready is None:
            await self._explain("CUDA cannot be used", worker)
        await worker.close()
        visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        names = [name for name in visible if name]
        count = len(ready.devices) if ready is not None else 0
        return [f"cuda:{names[i] if i < len(names) else i}" for i in range(count)]

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A server without this task would hold clients for nothing.
            _LOG.critical("a part of the server has failed", exc_info=error)
            self._on_broken()

    async def _serve(self, slot: Slot) -> None:
        """Keep one device at work for ever."""
        again: Probe | None = None
        while True:
            worker = await self._standby(slot)
            if worker is None:
                if again is not None and slot.about is None:
                    text = "the device has stopped working"
                    self._finish(again, RefusedError.unavailable(text, "NO_DEVICE"))
                    again = None
                continue
            try:
                probe = again or await self._next(slot, worker)
                if probe is not None:
                    again = await self._run(slot, worker, probe, last=again is not None)
            finally:
                await worker.close()

    async def _standby(self, slot: Slot) -> Worker | None:
        """Return a worker that waits for its job; None where it ended first."""
        await asyncio.sleep(_PAUSES[min(slot.failures, len(_PAUSES) - 1)])
        worker, ready = None, None
        try:
            worker = await self._spawner.fork(slot.device, self._threads)
            ready = await worker.ready()
        except (OSError, UsageError, frames.FrameError) as error:
            _LOG.error("no worker can be started", extra={"cause": str(error)})
        if ready is None or not ready.devices:
            slot.failures += 1
            self._metrics.restarts.labels("start").inc()
            if worker is not None:
                worker.kill()
                await self._explain("a worker ended before it was ready", worker)
                await worker.close()
            worker = None
        else:
            slot.failures = 0
        self._judge(slot, ready)
        return worker

    async def _next(self, slot: Slot, worker: Worker) -> Probe | None:
        """Wait for a probe; None where the worker ends first."""
        taking = asyncio.create_task(self._queues[slot.kind].take())
        dying = asyncio.create_task(worker.died())
        try:
            await asyncio.wait([taking, dying], return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()
            if not taking.done():
                taking.cancel()
        if taking.done():
            probe = taking.result()
            self._waits.pop(probe).cancel()
            return probe
        self._metrics.restarts.labels("idle").inc()
        await self._explain("a worker ended while it waited", worker)
        await asyncio.sleep(_IDLE_PAUSE)
        return None

    async def _run(self, slot: Slot, worker: Worker, probe: Probe, *, last: bool) -> Probe | None:
        """Run a probe; return it where it is to be tried again, which happens once."""
        assert slot.about is not None
        station = Station(slot.kind, slot.about, self._threads, self.torch_version)
        slot.busy = True
        try:
            if await self._runner.run(worker, probe, station):
                return None
        finally:
            slot.busy = False
        self._metrics.restarts.labels("idle").inc()
        if not last:
            return probe
        text = "the worker has ended twice before it began"
        self._finish(probe, RefusedError.unavailable(text, "NO_WORKER"))
        return None

    def _finish(self, probe: Probe, outcome: Result | RefusedError) -> None:
        """End a probe, and account for it."""
        if isinstance(outcome, RefusedError):
            name = outcome.reason.lower()
        else:
            name = Result.Status.Name(outcome.status).removeprefix("STATUS_").lower()
        probe.end(outcome)
        self._metrics.probes.labels(name).inc()
        if probe.started:
            self._metrics.run_seconds.observe(probe.ended - probe.started)
        if name == "out_of_memory":
            self._metrics.out_of_memory.inc()
        if name in {"worker_crashed", "timed_out"}:
            self._metrics.restarts.labels(name).inc()
        seconds = round(probe.ended - probe.created, 3)
        extra = {"probe": probe.name, "outcome": name, "seconds": seconds, "steps": probe.steps}
        _LOG.info("probe ended", extra=extra)
        self._release(probe)

    async def _explain(self, message: str, worker: Worker) -> None:
        end = await worker.end()
        output = end.output.strip() if end is not None else "its keeper ended too"
        _LOG.error(message, extra={"code": end.code if end is not None else "", "output": output})

    def _judge(self, slot: Slot, ready: worker_pb2.Ready | None) -> None:
        was = slot.about is not None
        if ready is not None and ready.devices:
            slot.about = ready.devices[0]
        elif slot.failures >= _MANY_FAILURES:
            slot.about = None
        else:
            return
        slot.tried.set()
        if was != (slot.about is not None):
            _LOG.info("device", extra={"device": slot.device, "works": not was})
            self._on_health()
