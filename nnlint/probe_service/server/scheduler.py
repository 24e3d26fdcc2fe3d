"""Brings probes and devices together: one loop for each device, one probe at a time on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from nnlint import __version__
from nnlint.errors import UsageError
from nnlint.probe_service.server import confine, frames
from nnlint.probe_service.server.blobs import Key
from nnlint.probe_service.server.metrics import Metrics
from nnlint.probe_service.server.probes import Probe, Probes, State
from nnlint.probe_service.server.queue import FairQueue
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.requests import limits_message
from nnlint.probe_service.server.settings import Settings
from nnlint.probe_service.server.store import Store
from nnlint.probe_service.server.workers import Spawner, Worker
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2, worker_pb2

_LOG = logging.getLogger(__name__)
_Result = measurement_pb2.Result
# A worker ends itself once it has sent its result.
_LEAVING_SECONDS = 2.0
# Beyond the time of the probe itself, at whose end the worker should say what it has.
_GRACE_SECONDS = 2.0
# Beyond the keeper's time: then something is wrong with the keeper.
_OVERDUE_SECONDS = 10.0
_PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0, 60.0)
# Far more than any probe has.
_MOST_EVENTS = 100_000


@dataclass(eq=False, slots=True)
class Slot:
    """One device.

    Attributes:
        device: "cpu", or "cuda:" and what CUDA_VISIBLE_DEVICES calls the device.
        kind: "cpu" or "cuda".
        about: What the worker said of it.
        healthy: Whether it has or had a worker that could take a probe, and no failure since.
        probe: The one that runs there.
    """

    device: str
    kind: str
    about: probe_service_pb2.Device | None = None
    healthy: bool = False
    probe: Probe | None = None
    failures: int = 0
    tried: asyncio.Event = field(default_factory=asyncio.Event)


class Scheduler:
    """Runs probes on devices."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        probes: Probes,
        metrics: Metrics,
        *,
        release: Callable[[Probe], object],
        on_health: Callable[[], None],
    ) -> None:
        """Prepare; `release` is called at a probe's end, `on_health` where a device's changed."""
        self._settings = settings
        self._store = store
        self._probes = probes
        self._metrics = metrics
        self._release = release
        self._on_health = on_health
        memory = settings.memory_bytes or confine.machine_memory() * 4 // 5
        self._spawner = Spawner(settings.executor, memory)
        self._queues: dict[str, FairQueue] = {}
        self._slots: list[Slot] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._threads = settings.threads or max(len(os.sched_getaffinity(0)), 1)

    def launch(self) -> None:
        """Start the process that imports torch."""
        self._spawner.launch()

    async def start(self) -> None:
        """Find the devices and keep each ready, until `stop`.

        Raises:
            UsageError: torch cannot be imported, or a wanted device is not there.
        """
        await self._spawner.loaded()
        self._slots = [Slot(device, device.partition(":")[0]) for device in await self._devices()]
        for kind in {slot.kind for slot in self._slots}:
            self._queues[kind] = FairQueue(self._settings.queue)
        for slot in self._slots:
            self._spawn(self._serve(slot))
        await asyncio.wait([asyncio.ensure_future(slot.tried.wait()) for slot in self._slots])
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
    def healthy(self) -> bool:
        """Whether some device can take a probe."""
        return any(slot.healthy for slot in self._slots)

    @property
    def devices(self) -> list[probe_service_pb2.Device]:
        """The devices that can take a probe."""
        return [slot.about for slot in self._slots if slot.about is not None and slot.healthy]

    @property
    def waiting(self) -> int:
        """Probes in the queues."""
        return sum(map(len, self._queues.values()))

    @property
    def running(self) -> int:
        """Probes on devices."""
        return sum(slot.probe is not None for slot in self._slots)

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
            has = " and ".join(sorted(self._queues)) or "nothing"
            text = f"this server has {has} only"
            raise RefusedError.invalid([Violation("settings.device", text)])
        if not any(slot.healthy for slot in self._slots if slot.kind == offered[0]):
            text = f"no {offered[0]} device can take a probe at present"
            raise RefusedError.unavailable(text, "NO_DEVICE")
        return offered[0]

    def submit(self, probe: Probe) -> None:
        """Let a probe wait for its device.

        Raises:
            RefusedError: RESOURCE_EXHAUSTED.
        """
        self._queues[probe.kind].put(probe)
        self._spawn(self._wait_in_queue(probe))

    async def _wait_in_queue(self, probe: Probe) -> None:
        """End a probe that is cancelled, or waits too long, before it has a device."""
        text = "cancelled"
        try:
            async with asyncio.timeout(self._settings.limits.queue_seconds):
                await probe.cancelled.wait()
        except TimeoutError:
            text = ""
        if not self._queues[probe.kind].remove(probe):
            return
        if text:
            self._finish(probe, _Result(status=_Result.STATUS_CANCELLED, message="Cancelled."))
        else:
            waited = f"the probe has waited for {self._settings.limits.queue_seconds:.0f} seconds"
            self._finish(probe, RefusedError.exhausted(waited, "QUEUE_TIMEOUT", retry_seconds=60.0))

    async def _devices(self) -> list[str]:
        """Return the devices to serve, as `Slot.device` names them."""
        wanted, cuda = self._settings.devices, []
        if any(device != "cpu" for device in wanted):
            cuda = await self._survey()
        found: list[str] = []
        for device in wanted:
            if device == "auto":
                found += [*cuda, "cpu"]
            elif device == "cpu":
                found.append("cpu")
            elif device == "cuda":
                found += cuda or [self._no_device(device)]
            else:
                number = int(device.partition(":")[2])
                found.append(cuda[number] if number < len(cuda) else self._no_device(device))
        return list(dict.fromkeys(found))

    def _no_device(self, device: str) -> str:
        raise UsageError(
            f"there is no device {device} here",
            hint="`nvidia-smi` lists what the driver sees; torch must be a CUDA build.",
        )

    async def _survey(self) -> list[str]:
        worker = await self._spawner.fork("", 1)
        ready = await worker.ready()
        if ready is None:
            end = await worker.end()
            _LOG.error("CUDA cannot be used", extra={"output": end.output if end else ""})
        await worker.close()
        number = len(ready.devices) if ready else 0
        names = [n for n in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n.strip()]
        return [f"cuda:{names[i].strip() if i < len(names) else i}" for i in range(number)]

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, slot: Slot) -> None:
        """Keep one device at work for ever."""
        while True:
            worker = await self._standby(slot)
            if worker is None:
                continue
            try:
                probe = await self._next(slot, worker)
                if probe is not None:
                    await self._run(slot, worker, probe)
            finally:
                await worker.close()

    async def _standby(self, slot: Slot) -> Worker | None:
        """Return a worker that waits for its job; None where it ended first."""
        pause = _PAUSES[min(slot.failures, len(_PAUSES) - 1)]
        if pause:
            await asyncio.sleep(pause)
        worker = None
        try:
            worker = await self._spawner.fork(slot.device, self._threads)
            ready = await worker.ready()
        except (OSError, ValueError, frames.FrameError) as error:
            _LOG.error("no worker could be started", extra={"cause": str(error)})
            ready = None
        if ready is not None:
            slot.about = ready.devices[0]
            slot.failures = 0
        else:
            slot.failures += 1
            self._metrics.restarts.labels("start").inc()
            if worker is not None:
                worker.kill()
                end = await worker.end()
                await worker.close()
                output = end.output if end else ""
                _LOG.error("worker ended before its job", extra={"output": output})
            worker = None
        self._judge(slot, healthy=ready is not None)
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
        if taking.done() and not taking.cancelled():
            return taking.result()
        slot.failures = min(slot.failures + 1, 1)
        self._metrics.restarts.labels("idle").inc()
        return None

    async def _run(self, slot: Slot, worker: Worker, probe: Probe) -> None:
        """Have a probe done, and wait until the worker and its children are gone."""
        slot.probe = probe
        probe.state = State.RUNNING
        probe.started = time.monotonic()
        self._metrics.queue_seconds.observe(probe.started - probe.created)
        _LOG.info("probe runs", extra={"probe": probe.name, "device": slot.device})
        job = self._job(slot, probe)
        watching = asyncio.create_task(self._watch(probe, worker))
        try:
            await worker.begin(job)
            try:
                async with asyncio.timeout(job.seconds + _OVERDUE_SECONDS) as limit:
                    await self._pump(worker, probe, limit)
            except TimeoutError:
                if not probe.over:
                    _LOG.error("a keeper does not answer", extra={"probe": probe.name})
                    self._spawner.kill()
            except frames.FrameError as error:
                _LOG.error("a worker spoke nonsense", extra={"cause": str(error)})
            worker.kill()
            end = await worker.end()
            if not probe.over:
                self._finish(probe, self._result_of(slot, probe, end))
            if end is not None and end.code != 0 and not probe.cancelled.is_set():
                _LOG.warning(
                    "worker ended",
                    extra={"probe": probe.name, "code": end.code, "output": end.output},
                )
        finally:
            watching.cancel()
            slot.probe = None
            if not probe.over:  # the server is being stopped
                result = _Result(status=_Result.STATUS_CANCELLED, message="The server was stopped.")
                self._finish(probe, result)

    def _job(self, slot: Slot, probe: Probe) -> worker_pb2.WorkerJob:
        limits = self._settings.limits
        job = worker_pb2.WorkerJob(
            request=probe.request,
            blob_folder=str(self._store.folder),
            limits=limits_message(limits),
            device="cuda:0" if slot.kind == "cuda" else "cpu",
            threads=self._threads,
        )
        job.request.settings.seconds = probe.request.settings.seconds or limits.seconds
        job.seconds = job.request.settings.seconds + _GRACE_SECONDS
        return job

    async def _watch(self, probe: Probe, worker: Worker) -> None:
        """End the worker of a probe that is cancelled."""
        await probe.cancelled.wait()
        worker.kill()
        await asyncio.sleep(_OVERDUE_SECONDS)
        _LOG.error("a keeper does not answer", extra={"probe": probe.name})
        self._spawner.kill()

    async def _pump(self, worker: Worker, probe: Probe, limit: asyncio.Timeout) -> None:
        """Pass on what the worker says, to the end of its process."""
        while (event := await worker.event()) is not None:
            if probe.over:
                continue
            kind = event.WhichOneof("event")
            if probe.events > _MOST_EVENTS:
                raise frames.FrameError("far too many events")
            if kind in {"stage", "plan", "step"}:
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
                key = Key.of(event.damage.digest)
                _LOG.error("damaged blob", extra={"probe": probe.name, "blob": str(key)})
                self._store.drop(key.sha256)
                self._finish(probe, RefusedError.missing([key]))
            if probe.ended_event.is_set():
                limit.reschedule(asyncio.get_running_loop().time() + _LEAVING_SECONDS)

    def _result_of(self, slot: Slot, probe: Probe, end: worker_pb2.Exit | None) -> _Result:
        """Return the result of a probe whose worker ended without one."""
        result = _Result(steps=probe.steps)
        result.timings.queued = probe.started - probe.created
        result.environment.device = slot.kind
        result.environment.device_name = slot.about.name if slot.about else ""
        result.environment.torch_version = self.torch_version
        result.environment.nnlint_version = __version__
        if end is not None and end.node >= 0:
            result.node = end.node
        if probe.cancelled.is_set():
            result.status, result.message = _Result.STATUS_CANCELLED, "Cancelled."
        elif end is not None and end.timed_out:
            result.status = _Result.STATUS_TIMED_OUT
            seconds = probe.request.settings.seconds or self._settings.limits.seconds
            result.message = f"The probe was not done within {seconds:g} seconds."
        elif end is not None and end.out_of_memory:
            result.status = _Result.STATUS_OUT_OF_MEMORY
            result.message = "The machine ran out of memory, and its kernel ended the worker."
        else:
            result.status = _Result.STATUS_WORKER_CRASHED
            result.message = f"The worker ended {_manner(end)} without a result."
        return result

    def _finish(self, probe: Probe, outcome: _Result | RefusedError) -> None:
        """End a probe, and account for it."""
        if isinstance(outcome, RefusedError):
            name = outcome.reason.lower()
        else:
            name = _Result.Status.Name(outcome.status).removeprefix("STATUS_").lower()
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

    def _judge(self, slot: Slot, *, healthy: bool) -> None:
        changed, slot.healthy = slot.healthy != healthy, healthy
        slot.tried.set()
        if changed:
            _LOG.info("device", extra={"device": slot.device, "healthy": healthy})
        self._on_health()


def _manner(end: worker_pb2.Exit | None) -> str:
    """Return how a process ended, for people."""
    if end is None:
        return "together with its keeper"
    if end.code >= 0:
        return f"with exit code {end.code}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-end.code).name}"
    return f"by signal {-end.code}"
