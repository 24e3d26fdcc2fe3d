"""The six calls of the service. Imports neither torch nor CUDA."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

import grpc

from nnlint import __version__
from nnlint.probe_service.operators import reviewed
from nnlint.probe_service.replay.structure import FORMAT_VERSION
from nnlint.probe_service.server import graphs, requests, uploads
from nnlint.probe_service.server.blobs import Key
from nnlint.probe_service.server.guard import Context, client_of
from nnlint.probe_service.server.metrics import Metrics
from nnlint.probe_service.server.probes import Probe, Probes
from nnlint.probe_service.server.refusals import RefusedError
from nnlint.probe_service.server.scheduler import Scheduler
from nnlint.probe_service.server.settings import Limits
from nnlint.probe_service.server.store import Lease, Store
from nnlint.protos.v1 import probe_service_pb2 as pb
from nnlint.protos.v1 import probe_service_pb2_grpc

# From the request to the end of its worker.
_CANCEL_SECONDS = 5.0
# Each has a file open and some megabytes in memory.
_MOST_UPLOADS = 32

T = TypeVar("T")


class ProbeServicer(probe_service_pb2_grpc.ProbeServiceServicer):
    """Answers clients; what each call does stands in the protocol."""

    def __init__(
        self,
        *,
        store: Store,
        probes: Probes,
        scheduler: Scheduler,
        limits: Limits,
        threads: Executor,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._probes = probes
        self._scheduler = scheduler
        self._limits = limits
        self._threads = threads
        self._metrics = metrics
        # One graph at a time: parsed, it may take a hundred times its size.
        self._checking = asyncio.Lock()
        self._uploads = 0

    async def GetCapabilities(  # noqa: N802 - the protocol's name
        self, request: pb.GetCapabilitiesRequest, context: Context
    ) -> pb.GetCapabilitiesResponse:
        """Say what this server can do, once it knows its devices."""
        del request, context
        await self._scheduler.ready()
        return pb.GetCapabilitiesResponse(
            oldest_format_version=FORMAT_VERSION,
            newest_format_version=FORMAT_VERSION,
            nnlint_version=__version__,
            torch_version=self._scheduler.torch_version,
            devices=self._scheduler.devices,
            operators=list(reviewed()),
            limits=requests.limits_message(self._limits),
        )

    async def FindMissingBlobs(  # noqa: N802 - the protocol's name
        self, request: pb.FindMissingBlobsRequest, context: Context
    ) -> pb.FindMissingBlobsResponse:
        """Say which blobs have to be uploaded."""
        del context
        keys = list(dict.fromkeys(requests.check_digests(request.digests, self._limits)))
        missing = await self._blocking(lambda: self._store.missing(keys))
        return pb.FindMissingBlobsResponse(missing=[key.digest() for key in missing])

    async def UploadBlobs(  # noqa: N802 - the protocol's name
        self, request_iterator: AsyncIterator[pb.UploadBlobsRequest], context: Context
    ) -> pb.UploadBlobsResponse:
        """Store blobs."""
        del context
        if self._uploads >= _MOST_UPLOADS:
            raise RefusedError.unavailable(f"{self._uploads} uploads are under way", "BUSY")
        self._uploads += 1
        try:
            stored = await uploads.receive(
                request_iterator, self._store, self._limits, self._threads
            )
        finally:
            self._uploads -= 1
        return pb.UploadBlobsResponse(stored=stored)

    async def RunProbe(self, request: pb.RunProbeRequest, context: Context) -> None:  # noqa: N802 - the protocol's name
        """Run a probe and stream what happens."""
        began = time.monotonic()
        requests.check_run(request, self._limits)
        self._probes.check_new(request.probe_id)
        await self._scheduler.ready()
        kind = self._scheduler.kind_of(request.settings.device)
        lease = Lease()
        try:
            await self._pin(request, lease)
            # From here to the loop that follows the probe nothing waits.
            probe = Probe(request, client=client_of(context), kind=kind, lease=lease)
            self._probes.add(probe)
            try:
                self._scheduler.submit(probe)
            except RefusedError:
                self._probes.forget(probe)
                raise
        except BaseException:
            self.release(lease)
            raise
        self._metrics.fetch_seconds.observe(time.monotonic() - began)
        await self._follow(probe, 1, pb.RunProbeResponse, context)

    async def AttachProbe(self, request: pb.AttachProbeRequest, context: Context) -> None:  # noqa: N802 - the protocol's name
        """Go on with the stream of a probe."""
        requests.check_probe_id(request.probe_id)
        probe = self._probes.find(request.probe_id, client_of(context))
        first = request.from_sequence
        # The next one may be asked for before it has happened.
        if not 1 <= first <= probe.events + 1:
            raise RefusedError(
                grpc.StatusCode.OUT_OF_RANGE,
                f"event {first} has not happened; the next is {probe.events + 1}",
                "NO_EVENT",
            )
        await self._follow(probe, first, pb.AttachProbeResponse, context)

    async def CancelProbe(  # noqa: N802 - the protocol's name
        self, request: pb.CancelProbeRequest, context: Context
    ) -> pb.CancelProbeResponse:
        """End a probe, and answer when its device is free."""
        requests.check_probe_id(request.probe_id)
        probe = self._probes.find(request.probe_id, client_of(context))
        probe.cancel()
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await probe.ended_event.wait()
        except TimeoutError:
            text = "the probe has not ended yet"
            raise RefusedError.unavailable(text, "NOT_ENDED") from None
        return pb.CancelProbeResponse()

    def release(self, lease: Lease) -> None:
        """Let blobs be evicted again; a thread does it, since that may wait for the disk."""
        self._threads.submit(self._store.release, lease)

    async def _pin(self, request: pb.RunProbeRequest, lease: Lease) -> None:
        """Check the graphs and keep all blobs that they need."""
        for graph in requests.graphs_of(request):
            await self._pin_graph(graph, lease)

    async def _pin_graph(self, graph: Key, lease: Lease) -> None:
        await self._pin_keys([graph], lease)
        async with self._checking:
            try:
                needed = await self._blocking(
                    lambda: graphs.blobs_of(self._store.folder, graph, self._limits)
                )
            except RefusedError as error:
                if error.reason == "BLOBS_MISSING":
                    await self._blocking(lambda: self._store.drop(graph.sha256))
                raise
        await self._pin_keys(needed, lease)

    async def _pin_keys(self, keys: list[Key], lease: Lease) -> None:
        missing = await self._blocking(lambda: self._store.pin(keys, lease))
        if missing:
            raise RefusedError.missing(missing)

    async def _follow(
        self, probe: Probe, first: int, response: type[Any], context: Context
    ) -> None:
        stream = probe.attach()
        try:
            async for event in probe.follow(stream, first):
                await context.write(response(event=event))
        finally:
            probe.detach(stream)

    async def _blocking(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)
