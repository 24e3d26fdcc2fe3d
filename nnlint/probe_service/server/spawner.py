"""The process that has torch imported and forks a keeper, with its worker, for each probe.

It is started as `main(...)` before the front opens its port, and never uses CUDA, which would not
survive a fork. Each message on its socket carries two sockets: one for the keeper, one for the
worker.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

from nnlint.linter.load import processes
from nnlint.probe_service.server import frames
from nnlint.protos.v1 import worker_pb2

BROKEN = 3
"""Exit code where torch cannot be imported; the reason stands on standard error."""


def main(descriptor: int, front: int, executor: str, memory: int) -> None:
    """Serve the front until it closes the socket.

    Args:
        descriptor: The socket.
        front: Process id of the front, whose end ends this process.
        executor: "module:function" that does a probe.
        memory: Bytes for a worker on the CPU.
    """
    processes.die_with(front)
    control = socket.socket(fileno=descriptor)
    sys.dont_write_bytecode = True  # workers may write no files
    with _no_cuda():
        version = _preload(executor)
    # Collections in a child would touch, and so copy, every page of torch's objects.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.sendall(frames.encode(worker_pb2.Ready(torch_version=version)))
    while (received := _next(control)) is not None:
        job, keeper_end, worker_end = received
        own = os.getpid()
        with keeper_end, worker_end:
            if os.fork() == 0:
                from nnlint.probe_service.server import keeper, worker

                control.close()
                order = worker.Order(job.device, job.threads, executor, memory)
                keeper.run(keeper_end, worker_end, order, own)


@contextlib.contextmanager
def _no_cuda() -> Iterator[None]:
    """Hide the devices: merely asking whether there are any can start CUDA in this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if visible is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _next(
    control: socket.socket,
) -> tuple[worker_pb2.WorkerJob, socket.socket, socket.socket] | None:
    # The descriptors come with the first byte, the one that is read here.
    flag, descriptors, _, _ = socket.recv_fds(control, 1, 2)
    if not flag:
        return None
    job = frames.receive(control, worker_pb2.WorkerJob)
    if job is None:
        return None
    keeper_end, worker_end = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    return job, keeper_end, worker_end


def _preload(executor: str) -> str:
    """Import what every worker needs; return torch's version."""
    try:
        import torch

        module = importlib.import_module(executor.partition(":")[0])
        # What the first operations import would otherwise be imported by every worker.
        getattr(module, "preload", lambda: None)()
        from nnlint.probe_service.server import keeper, worker

        del keeper, worker
        return str(torch.__version__)
    except Exception as error:  # noqa: BLE001 - a broken torch raises anything
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(BROKEN)
