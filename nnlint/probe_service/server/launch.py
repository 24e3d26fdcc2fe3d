"""Starts a server for one process on this machine. Imports neither torch nor grpc.

    with embedded() as server:
        ...  # connect to server.address, "unix:..."

The server has a socket in a private folder and the user's own store. It ends with the block, and
with the process that started it, even when that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnlint.errors import InternalError, UsageError

_HOME = str(Path(__file__).resolve().parents[3])
_CODE = f"import sys; sys.path.append({_HOME!r}); from nnlint.cli import main; sys.exit(main())"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_USAGE = 2


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        address: What gRPC takes, "unix:...".
        process: Of the front.
    """

    address: str
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def embedded(*options: str) -> Iterator[Server]:
    """Run a server for the time of a block.

    It answers as soon as the block begins; its first GetCapabilities returns when torch has been
    imported there.

    Args:
        options: Further options of `nnlint serve`.

    Raises:
        UsageError: The server refused its options, or torch cannot be imported.
        InternalError: It ended for another reason.
    """
    with tempfile.TemporaryFile() as errors:
        command = ["serve", "--listen", "unix:", "--announce", "1", "--parent-fd", "0", *options]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _CODE, *command],
            stdin=subprocess.PIPE,  # its end is the end of this process
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "NNLINT_TOKEN": ""},
            start_new_session=True,  # an interrupt from the terminal is the parent's to handle
        )
        address = ""
        try:
            address = _address(process)
            if not address:
                errors.seek(0)
                raise _failure(process, errors.read().decode(errors="replace"))
            yield Server(address, process)
        finally:
            _end(process)
            if address:
                # Where the server was killed it could not do this itself.
                shutil.rmtree(Path(address.removeprefix("unix:")).parent, ignore_errors=True)


def _address(process: subprocess.Popen[bytes]) -> str:
    """Wait for the server's line; return the address, or nothing where it ended."""
    assert process.stdout is not None
    data, deadline = b"", time.monotonic() + _START_SECONDS
    descriptor = process.stdout.fileno()
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return ""
        piece = os.read(descriptor, 4096)
        if not piece:
            return ""
        data += piece
    return str(json.loads(data)["address"])


def _failure(process: subprocess.Popen[bytes], errors: str) -> UsageError | InternalError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    lines = [line for line in errors.strip().splitlines() if not line.startswith("{")]
    said = [line.removeprefix("nnlint: error: ") for line in lines if "error: " in line]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    text = said[-1] if said else (lines[-1] if lines else f"exit code {process.returncode}")
    if process.returncode == _USAGE and said:
        return UsageError(text, hint=hints[-1] if hints else "")
    return InternalError(f"the embedded probe server ended: {text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
