"""Watches over one worker: drains its output, keeps its time, and cleans up after it.

A keeper never runs the user's code. It is forked by the spawner and ends with its worker, or when
the parent closes its end of the socket.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import tempfile
import time
from dataclasses import asdict
from typing import IO, Literal, NoReturn

from nnlint.linter.load import failures, processes, worker
from nnlint.linter.load.protocol import Exit, Job, encode_event

_KEPT = 4096
_GRACE = 1.0  # after the worker's own timer, which also says where it was
_ABORT_GRACE = 0.5
_FAILED = 70


def run(connection: socket.socket) -> NoReturn:
    """Read a job from the socket, have it done, and end the process."""
    try:
        with connection.makefile("rb") as stream:
            job = Job.read(stream)
        if job is not None:
            end = _keep(job, connection)
            with contextlib.suppress(OSError):
                # The worker may have been cut off within a line.
                connection.sendall(b"\n" + encode_event({"event": "exit", **asdict(end)}))
    finally:
        os._exit(0)


def _keep(job: Job, connection: socket.socket) -> Exit:
    processes.adopt_orphans()
    wake = processes.wake_on_child()
    output, output_end = os.pipe()
    with tempfile.TemporaryFile() as crash:
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_worker(job, keeper, connection.fileno(), output_end, crash.fileno())
        os.close(output_end)
        os.set_blocking(output, False)
        watch = _Watch(pid, connection, output, wake)
        watch.until(time.monotonic() + job.seconds + _GRACE)
        late = watch.status is None
        if late and not watch.cancelled:
            # A user who set timers or handlers of their own: faulthandler still answers this.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
            watch.until(time.monotonic() + _ABORT_GRACE)
        processes.kill_group(pid)
        processes.end_children()
        watch.drain()
        crash.seek(0)
        text = crash.read(1 << 20).decode(errors="replace")
    limit: Literal["", "time"] = "time" if late or text.startswith("Timeout (") else ""
    code = os.waitstatus_to_exitcode(watch.status) if watch.status is not None else -signal.SIGKILL
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    output_tail = watch.tail.decode(errors="replace")
    return Exit(limit, code, text, output_tail, cpu=used.ru_utime + used.ru_stime)


def _become_worker(job: Job, keeper: int, events: int, output: int, crash: int) -> NoReturn:
    try:
        os.setsid()
        processes.die_with(keeper)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        worker.run(job, events=events, crash=crash)
    except BaseException as error:  # noqa: BLE001 - outermost: nothing may go on in a forked copy
        os.write(2, failures.describe(error).encode())
    finally:
        os._exit(_FAILED)


class _Watch:
    """The state of one watched worker.

    Attributes:
        status: How the worker ended, None while it runs.
        tail: The last of its output.
        cancelled: Whether the parent has gone.
    """

    def __init__(self, pid: int, connection: socket.socket, output: int, wake: IO[bytes]) -> None:
        self.pid = pid
        self.status: int | None = None
        self.tail = b""
        self.cancelled = False
        self._output = output
        self._wake = wake
        self._connection = connection
        self._poll = select.poll()
        for descriptor in (connection.fileno(), output, wake.fileno()):
            self._poll.register(descriptor, select.POLLIN)

    def until(self, deadline: float) -> None:
        """Wait for the worker's end, the parent's end, or the deadline."""
        while self.status is None and not self.cancelled:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            for descriptor, _ in self._poll.poll(left * 1000):
                if descriptor == self._output:
                    self.drain(once=True)
                elif descriptor == self._connection.fileno():
                    self.cancelled = True  # the parent says no more after the job
            with contextlib.suppress(BlockingIOError):
                self._wake.read(1024)
            ended = processes.reap(self.pid)
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
