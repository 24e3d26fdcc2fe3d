"""The parent's side: starts the spawner, hands out jobs, reads their events. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self

from nnlint.errors import InternalError, UsageError
from nnlint.linter.load.protocol import Exit, Job, decode_event

OnEvent = Callable[[dict[str, Any]], None]

_CAN_FORK = hasattr(os, "fork") and hasattr(socket, "send_fds")
_HOME = str(Path(__file__).resolve().parents[3])
# For the import of torch from a cold or remote disk, which the file's own limit does not cover.
_START_SECONDS = 300.0
_GRACE = 10.0
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "Agg",
    # Threads that spin at the end of each operation make a busy machine four times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",  # the same findings in the same words each time
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
}


def _command(call: str) -> list[str]:
    # -P and the path at the end: nothing in the user's folder may hide a module of Python's.
    code = (
        f"import sys; sys.path.append({_HOME!r}); import nnlint.linter.load.spawner as s; s.{call}"
    )
    return [sys.executable, "-P", "-c", code]


def _read(stream: IO[bytes], on_event: OnEvent, started: Callable[[], None]) -> Exit | None:
    """Pass events on until the worker's end is told or the stream ends."""
    first = True
    for line in stream:
        event = decode_event(line)
        if event is None:
            continue
        if first:
            started()
            first = False
        if event["event"] == "exit":
            del event["event"]
            return Exit(**event)
        on_event(event)
    return None


class Pool:
    """Child processes that run the user's files; one spawner, one worker for each job.

    `start` returns at once, so that torch is imported there while the parent does other things.
    `run` may be called from several threads.
    """

    def __init__(self, *, fork: bool = _CAN_FORK) -> None:
        self._fork = fork
        self._lock = threading.Lock()
        self._spawner: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._running: set[socket.socket | subprocess.Popen[bytes]] = set()
        self._closed = False

    def start(self) -> None:
        """Start the spawner unless it runs already."""
        if not self._fork:
            return
        with self._lock:
            if self._spawner is not None and self._spawner.poll() is None:
                return
            if self._control is not None:
                self._control.close()
            self._control, theirs = socket.socketpair()
            with theirs:
                self._spawner = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    _command(f"main({theirs.fileno()})"),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **_ENVIRONMENT},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # an interrupt from the terminal is the parent's to handle
                )

    def run(self, job: Job, on_event: OnEvent) -> Exit:
        """Do one job in a process of its own and wait for its end.

        Args:
            job: What to do.
            on_event: Called with each event, in the calling thread.

        Returns:
            How the worker ended; by then neither it nor any child of it is left.

        Raises:
            UsageError: torch cannot be imported.
            InternalError: The job was cancelled, or the spawner has ended.
        """
        end = self._run_forked(job, on_event) if self._fork else self._run_once(job, on_event)
        if end.broken:
            raise UsageError(
                f"torch cannot be imported: {end.broken}",
                hint="Install torch in the environment that runs nnlint.",
            )
        return end

    def cancel(self) -> None:
        """End the jobs that run; `run` raises InternalError for them."""
        with self._lock:
            running, self._running = self._running, set()
            for each in running:
                if isinstance(each, socket.socket):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)  # its keeper ends the worker
                else:
                    each.kill()

    def close(self) -> None:
        """End everything that still runs, for good."""
        self._closed = True
        self.cancel()
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._spawner is not None:
                # It has no state, and keepers live without it. Waiting for the end of its
                # import of torch would take longer.
                self._spawner.kill()
                self._spawner.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run_forked(self, job: Job, on_event: OnEvent) -> Exit:
        self.start()
        ours, theirs = socket.socketpair()
        with ours, self._registered(ours):
            with theirs:
                self._hand_over(theirs)
            ours.settimeout(_START_SECONDS)
            try:
                ours.sendall(job.encode())
                with ours.makefile("rb") as stream:
                    end = _read(stream, on_event, lambda: ours.settimeout(job.seconds + _GRACE))
            except TimeoutError:
                end = Exit(limit="time")
            except OSError:
                end = None
            self._raise_if_cancelled(ours)
        if end is None and self._spawner is not None and self._spawner.poll() is not None:
            code = self._spawner.returncode
            raise InternalError(f"the process that imports torch ended with code {code}")
        # Without a word the keeper itself was killed, by the user's code or for memory.
        return end or Exit(code=-9)

    def _raise_if_cancelled(self, running: socket.socket | subprocess.Popen[bytes]) -> None:
        with self._lock:
            if running not in self._running:
                raise InternalError("the run was cancelled")

    def _hand_over(self, theirs: socket.socket) -> None:
        with self._lock:
            if self._control is None or self._closed:
                raise InternalError("the worker pool is closed")
            try:
                socket.send_fds(self._control, [b"j"], [theirs.fileno()])
            except OSError as error:
                code = self._spawner.poll() if self._spawner else None
                raise InternalError(f"the worker process ended with code {code}") from error

    def _run_once(self, job: Job, on_event: OnEvent) -> Exit:
        """Do a job in a fresh interpreter, for systems without fork."""
        with tempfile.TemporaryFile() as crash:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                _command("main_once()"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=crash,
                env={**os.environ, **_ENVIRONMENT},
            )
            deadline = _Deadline(process)
            deadline.set(_START_SECONDS)
            end = None
            with process, self._registered(process):
                if process.stdin is not None and process.stdout is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.write(job.encode())
                        process.stdin.close()
                    end = _read(
                        process.stdout, on_event, lambda: deadline.set(job.seconds + _GRACE)
                    )
                self._raise_if_cancelled(process)
            deadline.cancel()
            crash.seek(0)
            text = crash.read(1 << 20).decode(errors="replace")
        late = deadline.passed or text.startswith("Timeout (")
        return end or Exit("time" if late else "", process.returncode, text, "")

    @contextlib.contextmanager
    def _registered(self, each: socket.socket | subprocess.Popen[bytes]) -> Iterator[None]:
        with self._lock:
            self._running.add(each)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(each)


class _Deadline:
    """Kills a process that is not done in time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.passed = False
        self._process = process
        self._timer: threading.Timer | None = None

    def set(self, seconds: float) -> None:
        """Count from now."""
        self.cancel()
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()

    def _kill(self) -> None:
        self.passed = True
        self._process.kill()
