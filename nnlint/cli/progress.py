"""One line on a terminal's standard error that says what is going on, after the first second."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from nnlint.cli.console import escape, is_terminal, terminal_width, write_stderr

_PATIENCE = 1.0
_INTERVAL = 0.1
_FRAMES = "|/-\\"
_ERASE = "\r\x1b[2K"


class Progress:
    """A context that shows the last message it was called with, and erases it at the end.

    Silent where standard error is no terminal, and for the first second.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._message = "starting"
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        if enabled and is_terminal(sys.stderr):
            self._thread = threading.Thread(target=self._paint, daemon=True)

    def __call__(self, message: str) -> None:
        """Set what is shown."""
        self._message = message

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _paint(self) -> None:
        started = time.monotonic()
        if self._done.wait(_PATIENCE):
            return
        step = 0
        while not self._done.wait(_INTERVAL):
            seconds = time.monotonic() - started
            line = f"{_FRAMES[step % len(_FRAMES)]} {escape(self._message)} ({seconds:.0f} s)"
            write_stderr(_ERASE + line[: terminal_width(sys.stderr) - 1])
            step += 1
        write_stderr(_ERASE)
