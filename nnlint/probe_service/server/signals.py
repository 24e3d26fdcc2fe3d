"""Between the server and whoever started it: a terminal, systemd, or a parent process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket

from nnlint.errors import UsageError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Hears that the server is to stop.

    Attributes:
        orphaned: Whether that is because its parent has gone.
        failed: Whether that is because of an error of its own.
    """

    def __init__(self, parent: int | None) -> None:
        """Listen to signals, and to the descriptor that ends with the parent.

        Raises:
            UsageError: The descriptor is none that could end.
        """
        self.orphaned = self.failed = False
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._hear)
        if parent is not None:
            try:
                os.set_blocking(parent, False)
                self._loop.add_reader(parent, self._read)
            except OSError as error:
                raise UsageError(
                    f"--parent-fd {parent} is not the end of a pipe: {error.strerror}"
                ) from error

    def fail(self) -> None:
        """Stop at once, since the server cannot go on."""
        self.failed = True
        self._first.set()
        self._second.set()

    async def wait(self) -> None:
        """Return when the server is to stop."""
        await self._first.wait()

    async def again(self) -> None:
        """Return when it is to stop at once."""
        await self._second.wait()

    def close(self) -> None:
        """Listen no more."""
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)
        if self._parent is not None:
            self._loop.remove_reader(self._parent)

    def _hear(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    def _read(self) -> None:
        assert self._parent is not None
        try:
            data = os.read(self._parent, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.orphaned = True
            self._loop.remove_reader(self._parent)
            self._first.set()
            self._second.set()


def announce(descriptor: int | None, *, address: str, metrics_port: int) -> None:
    """Tell a parent where the server listens, in one line of JSON.

    Raises:
        UsageError: The descriptor cannot be written to.
    """
    if descriptor is None:
        return
    words: dict[str, str | int] = {"address": address, "pid": os.getpid()}
    if metrics_port:
        words["metrics_port"] = metrics_port
    try:
        os.write(descriptor, json.dumps(words).encode() + b"\n")
    except BrokenPipeError:
        return  # nobody is there to read it; the end of the parent is noticed elsewhere
    except OSError as error:
        raise UsageError(f"--announce {descriptor}: {error.strerror}") from error


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(state.encode())
