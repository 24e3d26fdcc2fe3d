"""The front's side of the spawner and of the workers. Imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from nnlint.errors import UsageError
from nnlint.probe_service.server import frames
from nnlint.protos.v1 import worker_pb2

_HOME = str(Path(__file__).resolve().parents[3])
# For the import of torch from a cold or remote disk.
_START_SECONDS = 300.0
# For a CUDA context and its libraries.
_READY_SECONDS = 120.0
# From the end of the worker to its keeper's word.
_WORD_SECONDS = 5.0
_KEPT = 2000
_ENVIRONMENT = {
    # Never initialise CUDA where a child is still to be forked.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would not survive a fork
    # Threads that spin at the end of each operation make a busy machine four times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_PASSED = frozenset({"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "VIRTUAL_ENV"})
_PASSED_PREFIXES = ("CUDA_", "NVIDIA_", "PYTHON", "LC_")


class Worker:
    """One process that does one probe."""

    def __init__(self, keeper: socket.socket, events: socket.socket) -> None:
        self._keeper = keeper
        self._socket = events
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._next: asyncio.Task[worker_pb2.WorkerEvent | None] | None = None

    async def ready(self) -> worker_pb2.Ready | None:
        """Return what a worker says once it waits for its job; None where it ended before."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                event = await self.event()
                if event is not None and event.WhichOneof("event") == "ready":
                    return event.ready
        return None

    async def died(self) -> None:
        """Return when the worker ends while it waits, or says something unasked."""
        if self._next is None:
            assert self._reader is not None
            self._next = asyncio.create_task(frames.read(self._reader, worker_pb2.WorkerEvent))
        await asyncio.wait([self._next])

    async def begin(self, job: worker_pb2.WorkerJob) -> None:
        """Hand over the job: to the keeper, which counts its time, and then to the worker."""
        data = frames.encode(job)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # a worker that has gone shows in its events
            await loop.sock_sendall(self._keeper, data)
            assert self._writer is not None
            self._writer.write(data)
            await self._writer.drain()

    async def event(self) -> worker_pb2.WorkerEvent | None:
        """Return the next thing that happened; None once the worker and its children are gone.

        Raises:
            FrameError: The worker does not keep to the protocol.
        """
        if self._next is not None:
            waiting, self._next = self._next, None
            return await waiting
        assert self._reader is not None
        return await frames.read(self._reader, worker_pb2.WorkerEvent)

    def kill(self) -> None:
        """Have the worker ended."""
        with contextlib.suppress(OSError):
            self._keeper.shutdown(socket.SHUT_WR)

    async def end(self) -> worker_pb2.Exit | None:
        """Return how the worker ended; None where its keeper was killed too."""
        loop = asyncio.get_running_loop()
        buffer, end = frames.Buffer(), None
        with contextlib.suppress(OSError, TimeoutError, frames.FrameError):
            async with asyncio.timeout(_WORD_SECONDS):
                while end is None:
                    data = await loop.sock_recv(self._keeper, 1 << 16)
                    if not data:
                        break
                    end = buffer.add(data, worker_pb2.Exit)
        return end

    async def close(self) -> None:
        """Let go of the sockets; a worker that still runs is ended."""
        if self._next is not None:
            self._next.cancel()
            with contextlib.suppress(asyncio.CancelledError, frames.FrameError):
                await self._next
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        else:
            self._socket.close()
        self._keeper.close()


class Spawner:
    """The process that forks workers; one is started anew where it ends."""

    def __init__(self, executor: str, memory: int) -> None:
        self._executor = executor
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._errors: IO[bytes] | None = None
        self._started = asyncio.Lock()
        self._loaded = False
        self.torch_version = ""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Start the process; it imports torch while others go on."""
        self._control, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._loaded = False
        with theirs:
            call = f"main({theirs.fileno()}, {os.getpid()}, {self._executor!r}, {self._memory})"
            code = (
                f"import sys; sys.path.append({_HOME!r}); "
                f"import nnlint.probe_service.server.spawner as s; s.{call}"
            )
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # an interrupt from the terminal is the front's to handle
            )
        self._control.settimeout(0.0)

    async def loaded(self) -> None:
        """Wait until torch is imported, and start the process where it is not running.

        Raises:
            UsageError: torch cannot be imported.
        """
        async with self._started:
            if self._process is not None and self._process.poll() is not None:
                self._discard()
            if self._process is None:
                self.launch()
            if self._loaded:
                return
            assert self._control is not None
            loop, buffer, ready = asyncio.get_running_loop(), frames.Buffer(), None
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_START_SECONDS):
                    while ready is None and (data := await loop.sock_recv(self._control, 1 << 16)):
                        ready = buffer.add(data, worker_pb2.Ready)
            if ready is None:
                raise UsageError(
                    f"torch cannot be imported: {self._complaint()}",
                    hint="Install torch in the environment that runs nnlint.",
                )
            self.torch_version = ready.torch_version
            self._loaded = True

    async def fork(self, device: str, threads: int) -> Worker:
        """Have a worker forked for a device; without one, it says which CUDA devices there are.

        Raises:
            OSError: The spawner has ended; the next call starts another.
            UsageError: torch cannot be imported.
        """
        await self.loaded()
        assert self._control is not None
        keeper, keeper_end = socket.socketpair()
        events, worker_end = socket.socketpair()
        keeper.settimeout(0.0)
        events.settimeout(0.0)
        job = worker_pb2.WorkerJob(device=device, threads=threads)
        try:
            with keeper_end, worker_end:
                socket.send_fds(self._control, [b"w"], [keeper_end.fileno(), worker_end.fileno()])
                self._control.sendall(frames.encode(job))
        except OSError:
            keeper.close()
            events.close()
            self.kill()
            raise
        return Worker(keeper, events)

    def kill(self) -> None:
        """End the process, and with it every keeper and worker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._discard()

    def _discard(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._errors is not None:
            self._errors.close()
        self._process = self._control = self._errors = None

    def _complaint(self) -> str:
        if self._process is None or self._errors is None:
            return "the process was ended"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_KEPT] if lines else f"exit code {self._process.returncode}"


def _environment() -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    return {**passed, **_ENVIRONMENT}
