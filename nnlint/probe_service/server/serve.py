"""Runs the server: starts everything in order, waits, and stops everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

# Nothing is forked here; the handlers for it would only cost and warn.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Its own lines about clients that hang up would stand between those of the log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nnlint import __version__
from nnlint.errors import UsageError
from nnlint.probe_service.server import logs
from nnlint.probe_service.server.guard import Guard
from nnlint.probe_service.server.metrics import Exporter, Metrics
from nnlint.probe_service.server.place import bind, placed
from nnlint.probe_service.server.probes import Probe, Probes
from nnlint.probe_service.server.scheduler import Scheduler
from nnlint.probe_service.server.servicer import ProbeServicer
from nnlint.probe_service.server.settings import Listen, Settings, check, default_store
from nnlint.probe_service.server.signals import Stop, announce, notify
from nnlint.probe_service.server.store import Store, StoreInUseError
from nnlint.protos.v1 import probe_service_pb2_grpc

_LOG = logging.getLogger(__name__)
SERVICE = "nnlint.protos.v1.ProbeService"
FAILED = 1
# For the last events of probes that have ended to reach their clients.
_FLUSH_SECONDS = 2.0
_DEFAULT_STORES = 8
_DISK_THREADS = 8
_MOST_STREAMS = 256
_MILLISECONDS = 1000


def run(settings: Settings) -> int:
    """Serve until told to stop; return the exit code, 1 where running probes were lost.

    Raises:
        UsageError: Something in the settings, the machine or the network is not as needed.
    """
    listen = check(settings)
    logs.set_up(settings.log_format)
    return asyncio.run(_serve(settings, listen))


async def _serve(settings: Settings, listen: Listen) -> int:
    async with contextlib.AsyncExitStack() as stack:
        stop = Stop(settings.parent)
        stack.callback(stop.close)
        server = await stack.enter_async_context(_running(settings, listen, stop))
        devices = asyncio.create_task(server.scheduler.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([devices, stopping], return_when=asyncio.FIRST_COMPLETED)
        if devices.done():
            await devices
            notify("READY=1")
            await stopping
        else:
            devices.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await devices
        notify("STOPPING=1")
        return await server.drain(0.0 if stop.orphaned else settings.grace, stop)


@dataclass(eq=False, slots=True)
class _Server:
    """What runs."""

    scheduler: Scheduler
    probes: Probes
    guard: Guard
    health: Any
    grpc: grpc.aio.Server

    async def drain(self, grace: float, stop: Stop) -> int:
        """Refuse new work, give running probes their grace, and end the rest."""
        self.guard.draining = True
        await self.tell_health()
        # Those that wait would not begin before the end.
        for probe in self.probes.active():
            if probe.state.value == "queued":
                probe.cancel()
        _LOG.info("draining", extra={"running": self.scheduler.running, "grace": grace})
        active = [each for each in self.probes.active() if not each.cancelled.is_set()]
        ended = asyncio.create_task(_all(active))
        hurry = asyncio.create_task(stop.again())
        await asyncio.wait([ended, hurry], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        lost = [each for each in active if not each.ended_event.is_set()]
        for probe in lost:
            probe.cancel()
        await asyncio.wait([ended], timeout=_FLUSH_SECONDS)
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ended
        await self.grpc.stop(_FLUSH_SECONDS if self.guard.calls else 0.0)
        _LOG.info("stopped", extra={"lost": len(lost)})
        return FAILED if lost or stop.failed else 0

    async def tell_health(self) -> None:
        """Say whether a probe can be taken."""
        well = bool(self.scheduler.devices) and not self.guard.draining
        status = health_pb2.HealthCheckResponse
        now = status.SERVING if well else status.NOT_SERVING
        for name in ("", SERVICE):
            await self.health.set(name, now)


async def _all(probes: list[Probe]) -> None:
    """Wait for the end of every probe."""
    for probe in probes:
        await probe.ended_event.wait()


@contextlib.asynccontextmanager
async def _running(settings: Settings, listen: Listen, stop: Stop) -> AsyncIterator[_Server]:
    """Start everything; at the end stop it in the opposite order."""
    async with contextlib.AsyncExitStack() as stack:
        listen = stack.enter_context(placed(listen))
        metrics, probes = Metrics(), Probes()
        guard = Guard(settings.tokens, metrics)
        store = stack.enter_context(_open_store(settings))
        threads = stack.enter_context(ThreadPoolExecutor(_DISK_THREADS, "disk"))
        tasks: set[asyncio.Task[None]] = set()

        def on_health() -> None:
            task = asyncio.get_running_loop().create_task(server.tell_health())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        scheduler = Scheduler(
            settings,
            store,
            metrics,
            release=lambda probe: threads.submit(store.release, probe.lease),
            on_health=on_health,
            on_broken=stop.fail,
        )
        # Before gRPC has threads.
        scheduler.launch()
        stack.push_async_callback(scheduler.stop)
        metrics.watch(store, waiting=lambda: scheduler.waiting, running=lambda: scheduler.running)
        server = _Server(
            scheduler,
            probes,
            guard,
            health.aio.HealthServicer(),
            grpc.aio.server(interceptors=[guard], options=_options(settings)),
        )
        servicer = ProbeServicer(
            store=store,
            probes=probes,
            scheduler=scheduler,
            limits=settings.limits,
            threads=threads,
            metrics=metrics,
        )
        add_servicer: Any = probe_service_pb2_grpc.add_ProbeServiceServicer_to_server
        add_servicer(servicer, server.grpc)
        health_pb2_grpc.add_HealthServicer_to_server(server.health, server.grpc)
        if settings.reflection:
            _add_reflection(server.grpc)
        await server.tell_health()
        bound = bind(server.grpc, listen, settings.tls)
        await server.grpc.start()
        stack.push_async_callback(server.grpc.stop, 0.0)
        metrics_port = 0
        if settings.metrics:
            exporter = Exporter(settings.metrics, metrics)
            stack.callback(exporter.close)
            metrics_port = exporter.port
        _LOG.info("listening", extra={"address": bound.target, "version": __version__})
        announce(settings.announce, address=bound.target, metrics_port=metrics_port)
        yield server


def _open_store(settings: Settings) -> Store:
    """Open the given store, or the first of the user's own that no other server has."""
    if settings.store is not None:
        return Store(settings.store, limit=settings.store_bytes)
    first = default_store()
    for number in range(1, _DEFAULT_STORES):
        folder = first.with_name(f"{first.name}-{number}") if number > 1 else first
        with contextlib.suppress(StoreInUseError):
            return Store(folder, limit=settings.store_bytes)
    return Store(first.with_name(f"{first.name}-{_DEFAULT_STORES}"), limit=settings.store_bytes)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Without this a second server binds the same port and takes half of the connections.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.limits.message_bytes),
        ("grpc.max_send_message_length", settings.limits.message_bytes),
        ("grpc.max_concurrent_streams", _MOST_STREAMS),
        # A laptop behind a router pings every 30 seconds; one that has gone is noticed.
        ("grpc.http2.min_ping_interval_without_data_ms", 20 * _MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60 * _MILLISECONDS),
        ("grpc.keepalive_timeout_ms", 20 * _MILLISECONDS),
    ]


def _add_reflection(server: grpc.aio.Server) -> None:
    try:
        from grpc_reflection.v1alpha import reflection
    except ImportError as error:
        raise UsageError(
            "--reflection needs the package grpcio-reflection",
            hint="`pip install 'nnlint[reflection]'` installs it.",
        ) from error
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
