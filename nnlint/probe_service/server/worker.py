"""Does one probe and ends. Whatever the graph does to this process, it dies with it."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from nnlint.probe_service.server import confine, frames
from nnlint.probe_service.server.blobs import DamagedBlobError, Key, read_blob
from nnlint.protos.v1 import graph_pb2, probe_service_pb2, worker_pb2

_DONE = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to be ready for.

    Attributes:
        device: "cpu", or "cuda:" and what CUDA_VISIBLE_DEVICES calls the device; empty for a
            process that only says which CUDA devices there are.
        threads: Of the CPU.
        executor: "module:function" that does a probe.
        memory: Bytes for the process, where the device is the CPU; 0 for no limit.
    """

    device: str
    threads: int
    executor: str
    memory: int


class Execute(Protocol):
    """Does a whole probe; raises nothing for what a client sent."""

    def __call__(
        self,
        job: worker_pb2.WorkerJob,
        read: Callable[[graph_pb2.Digest], bytearray],
        emit: Callable[[worker_pb2.WorkerEvent], None],
        journal: Callable[[int], None],
    ) -> None:
        """Read blobs, emit what happens, and journal each operation before it runs."""


def run(connection: socket.socket, order: Order, journal: Callable[[int], None]) -> NoReturn:
    """Get ready, wait for the job, do it, and end the process.

    Args:
        connection: Where the job comes from and the events go to.
        order: What to be ready for.
        journal: Takes the operation that is about to run.
    """
    if not order.device:
        ready = worker_pb2.Ready(devices=_survey())
        _send(connection, worker_pb2.WorkerEvent(ready=ready))
        os._exit(_DONE)
    confine.confine(order.device, order.memory)
    module, _, name = order.executor.partition(":")
    execute: Execute = getattr(importlib.import_module(module), name)
    device = _warm(order)
    _send(connection, worker_pb2.WorkerEvent(ready=worker_pb2.Ready(devices=[device])))
    job = frames.receive(connection, worker_pb2.WorkerJob)
    if job is not None:
        _execute(connection, job, execute, journal)
    # Without the teardown of torch and CUDA: the kernel does it faster.
    os._exit(_DONE)


def _execute(
    connection: socket.socket,
    job: worker_pb2.WorkerJob,
    execute: Execute,
    journal: Callable[[int], None],
) -> None:
    folder = Path(job.blob_folder)

    def read(digest: graph_pb2.Digest) -> bytearray:
        key = Key.of(digest)
        try:
            return read_blob(folder, key)
        except DamagedBlobError:
            # Told at once: the front ends the probe on this, whatever comes after.
            damage = worker_pb2.Damage(digest=digest)
            _send(connection, worker_pb2.WorkerEvent(damage=damage))
            raise

    execute(job, read, lambda event: _send(connection, event), journal)


def _send(connection: socket.socket, event: worker_pb2.WorkerEvent) -> None:
    connection.sendall(frames.encode(event))


def _warm(order: Order) -> probe_service_pb2.Device:
    """Do what the first probe would wait for: the context of the device, libraries, threads."""
    import torch

    torch.set_num_threads(order.threads)
    device = torch.device("cuda:0" if order.device.startswith("cuda") else "cpu")
    weight = torch.ones(8, 3, 3, 3, device=device, requires_grad=True)
    image = torch.ones(2, 3, 8, 8, device=device)
    features = torch.nn.functional.conv2d(image, weight).flatten(1)
    torch.autograd.backward((features @ features.t()).sum())
    if device.type == "cpu":
        return probe_service_pb2.Device(
            kind="cpu",
            name=f"CPU, {order.threads} thread{'s' if order.threads != 1 else ''}",
            memory_bytes=confine.machine_memory(),
        )
    del weight, image, features
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return _cuda_device(0)


def _survey() -> list[probe_service_pb2.Device]:
    """Return the CUDA devices, which only a process that then ends may ask for."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return []
    return [_cuda_device(index) for index in range(torch.cuda.device_count())]


def _cuda_device(index: int) -> probe_service_pb2.Device:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return probe_service_pb2.Device(
        kind="cuda", name=properties.name, memory_bytes=properties.total_memory
    )
