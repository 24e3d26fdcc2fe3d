"""Probes that wait for a device: bounded, and fair to every client."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from itertools import zip_longest

from nnlint.probe_service.server.probes import Probe
from nnlint.probe_service.server.refusals import RefusedError
from nnlint.protos.v1 import probe_service_pb2

_RETRY_SECONDS = 5.0


class FairQueue:
    """Serves clients in turn, each client's probes in the order in which they came."""

    def __init__(self, size: int) -> None:
        """Make a queue for `size` probes, of which one client may hold half."""
        self._size = size
        self._waiting: OrderedDict[str, deque[Probe]] = OrderedDict()
        self._positions: dict[Probe, int] = {}
        self._arrival = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, probe: Probe) -> None:
        """Let a probe wait, and tell it how many are before it.

        Raises:
            RefusedError: RESOURCE_EXHAUSTED.
        """
        own = len(self._waiting.get(probe.client, ()))
        if len(self) >= self._size or own >= max(self._size // 2, 1):
            text = f"{len(self)} probes are waiting, {own} of them yours"
            raise RefusedError.exhausted(text, "QUEUE_FULL", retry_seconds=_RETRY_SECONDS)
        self._waiting.setdefault(probe.client, deque()).append(probe)
        self._tell()
        self._arrival.set()

    def remove(self, probe: Probe) -> bool:
        """Take a probe out; return whether it was waiting."""
        waiting = self._waiting.get(probe.client)
        if waiting is None or probe not in waiting:
            return False
        waiting.remove(probe)
        if not waiting:
            del self._waiting[probe.client]
        self._tell()
        return True

    async def take(self) -> Probe:
        """Return the next probe once there is one."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        client, waiting = next(iter(self._waiting.items()))
        probe = waiting.popleft()
        if waiting:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        self._positions.pop(probe, None)
        self._tell()
        return probe

    def order(self) -> list[Probe]:
        """Return the probes as they would be served if no other came."""
        rounds = zip_longest(*self._waiting.values())
        return [probe for each in rounds for probe in each if probe is not None]

    def _tell(self) -> None:
        positions = {probe: position for position, probe in enumerate(self.order())}
        for probe, position in positions.items():
            if self._positions.get(probe) != position:
                kind = probe_service_pb2.Stage.KIND_QUEUED
                probe.add(probe_service_pb2.Stage(kind=kind, position=position))
        self._positions = positions
