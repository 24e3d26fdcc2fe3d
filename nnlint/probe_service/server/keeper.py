"""Watches over one worker: drains its output, keeps its time, and cleans up after it.

A keeper never runs a graph. It is forked by the spawner, forks the worker, and ends with it, or
when the front closes its end of the socket.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import IO, NoReturn

from nnlint.linter.load import processes
from nnlint.probe_service.server import frames, worker
from nnlint.protos.v1 import worker_pb2

_KEPT = 4096
_FAILED = 70
_NODE = struct.Struct("=i")


class Journal:
    """The operation that a worker is about to run, where its keeper can read it after a crash."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self(-1)

    def __call__(self, node: int) -> None:
        """Say which operation comes next; -1 for none."""
        _NODE.pack_into(self._shared, 0, node)

    @property
    def node(self) -> int:
        """What was said last."""
        return int(_NODE.unpack_from(self._shared, 0)[0])


def run(
    connection: socket.socket, worker_end: socket.socket, order: worker.Order, spawner: int
) -> NoReturn:
    """Watch over one worker and end the process.

    Args:
        connection: Where the job comes from and the worker's end is told.
        worker_end: The worker's own socket.
        order: What the worker is to be ready for.
        spawner: Process id of the parent, whose end ends this process.
    """
    try:
        processes.die_with(spawner)
        end = _keep(connection, worker_end, order)
        connection.settimeout(None)
        with contextlib.suppress(OSError):
            connection.sendall(frames.encode(end))
    finally:
        os._exit(0)


def _keep(
    connection: socket.socket, worker_end: socket.socket, order: worker.Order
) -> worker_pb2.Exit:
    processes.adopt_orphans()
    wake = processes.wake_on_child()
    journal = Journal()
    output, output_end = os.pipe()
    short_of_memory = _out_of_memory_kills()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_worker(keeper, worker_end, output_end, order, journal)
    os.close(output_end)
    worker_end.close()
    os.set_blocking(output, False)
    connection.settimeout(0.0)
    watch = _Watch(pid, connection, output, wake)
    watch.wait()
    alive = watch.status is None
    processes.kill_group(pid)
    if watch.status is None:
        # It may have ended by itself just before.
        watch.status = os.waitpid(pid, 0)[1]
    processes.end_children()
    watch.drain()
    code = os.waitstatus_to_exitcode(watch.status)
    return worker_pb2.Exit(
        code=code,
        node=journal.node,
        timed_out=watch.timed_out,
        output=watch.tail.decode(errors="replace"),
        # A kill that was not ours, while the kernel says that it made one for memory.
        out_of_memory=not alive
        and code == -signal.SIGKILL
        and _out_of_memory_kills() > short_of_memory,
    )


def _become_worker(
    keeper: int,
    events: socket.socket,
    output: int,
    order: worker.Order,
    journal: Journal,
) -> NoReturn:
    try:
        os.setsid()
        processes.die_with(keeper)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in _descriptors():
            if descriptor > 2 and descriptor != events.fileno():
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        worker.run(events, order, journal)
    except BaseException as error:  # noqa: BLE001 - outermost: nothing may go on in a forked copy
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(_FAILED)


def _descriptors() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    return list(range(3, 256))


def _out_of_memory_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, here or in this cgroup."""
    files = [Path("/proc/vmstat")]
    with contextlib.suppress(OSError):
        line = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1]
        group = line.rpartition(":")[2].lstrip("/")
        files.insert(0, Path("/sys/fs/cgroup") / group / "memory.events")
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for each in file.read_text(encoding="ascii").splitlines():
                name, _, value = each.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


class _Watch:
    """The state of one watched worker.

    Attributes:
        status: How the worker ended, None while it runs.
        tail: The last of its output.
        cancelled: Whether the front wants no more of it.
        timed_out: Whether its time is over.
    """

    def __init__(self, pid: int, connection: socket.socket, output: int, wake: IO[bytes]) -> None:
        self.status: int | None = None
        self.tail = b""
        self.cancelled = False
        self.timed_out = False
        self._pid = pid
        self._deadline: float | None = None
        self._job = frames.Buffer()
        self._output = output
        self._wake = wake
        self._connection = connection
        self._poll = select.poll()
        for descriptor in (connection.fileno(), output, wake.fileno()):
            self._poll.register(descriptor, select.POLLIN)

    def wait(self) -> None:
        """Wait for the worker's end, the front's end, or the end of the worker's time."""
        while self.status is None and not self.cancelled:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                self.timed_out = True
                return
            for descriptor, _ in self._poll.poll(None if left is None else left * 1000):
                if descriptor == self._output:
                    self.drain(once=True)
                elif descriptor == self._connection.fileno():
                    self._listen()
            with contextlib.suppress(BlockingIOError):
                self._wake.read(1024)
            ended = processes.reap(self._pid)
            self.status = self.status if ended is None else ended

    def drain(self, *, once: bool = False) -> None:
        """Read what has been printed and keep its end."""
        while True:
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._output)
                return
            self.tail = (self.tail + data)[-_KEPT:]
            if once:
                return

    def _listen(self) -> None:
        """Learn from the job how long the worker may take, or that it is to end."""
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.cancelled = True
            return
        job = self._job.add(data, worker_pb2.WorkerJob)
        if job is not None:
            self._deadline = time.monotonic() + job.seconds
