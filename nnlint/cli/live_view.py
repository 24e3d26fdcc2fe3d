"""What a terminal shows while a probe runs: after a second, and erased at the end."""

from __future__ import annotations

import math
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nnlint.cli.console import encodes, escape, is_terminal, write_stderr

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

    from nnlint.probe_service.client.narrator import Standing

_PATIENCE = 1.0
_A_SECOND = 8
_FRAMES = "|/-\\"


class LiveView:
    """A context that shows the last sentence, and how far the probe of a model is.

    Silent where standard error is no terminal, and for the first second.

    Args:
        enabled: Whether to show anything on a terminal.
        lines: Whether to write lines where there is no terminal.
        console: Shows it; that of standard error without it.
    """

    def __init__(
        self, *, enabled: bool = True, lines: bool = False, console: Console | None = None
    ) -> None:
        terminal = console is not None or is_terminal(sys.stderr)
        self._enabled = enabled and terminal
        self._lines = enabled and lines and not terminal
        self._console = console
        self._message = "starting"
        self._standing: Standing | None = None
        self._began = time.monotonic()
        self._live: Live | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._ended = False

    def __call__(self, message: str) -> None:
        """Set the sentence that is shown."""
        self._message = message

    def say(self, text: str, lasting: bool) -> None:
        """Show a sentence; one that lasts gets a line of its own where there is no terminal."""
        self(text)
        if self._lines and lasting:
            write_stderr(f"nnlint: {escape(text)}\n")

    def picture(self, standing: Standing | None) -> None:
        """Show how far the probe of a model is, in place of the sentence; None for nothing."""
        self._standing = standing

    def __enter__(self) -> Self:
        if self._enabled:
            self._began = time.monotonic()
            self._timer = threading.Timer(_PATIENCE, self.begin)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._live is not None:
                self._live.stop()

    def begin(self) -> None:
        """Begin to show something."""
        from rich.console import Console
        from rich.live import Live

        with self._lock:
            if self._ended or self._live is not None:
                return
            self._live = Live(
                get_renderable=self.drawn,
                console=self._console or Console(stderr=True, highlight=False),
                refresh_per_second=_A_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def drawn(self) -> Group:
        """Return what is shown at this moment."""
        from rich.console import Group
        from rich.text import Text

        seconds = time.monotonic() - self._began
        frame = _FRAMES[int(seconds * _A_SECOND) % len(_FRAMES)]
        standing = self._standing
        if standing is None:
            lines = [f"{frame} {self._message} ({seconds:.0f} s)"]
        else:
            lines = [f"{frame} {_headline(standing)}", *_details(standing)]
        safe = [escape(line) if encodes(sys.stderr, line) else ascii(line)[1:-1] for line in lines]
        # Cut at the width of the terminal, since a wrapped line could not be erased for certain.
        return Group(*(Text(line, no_wrap=True, overflow="crop") for line in safe))


def _headline(standing: Standing) -> str:
    which = ""
    if standing.experiments > 1:
        which = f" ({standing.position} of {standing.experiments})"
    return (
        f"{standing.model}: {standing.experiment}{which}, step {standing.step} of {standing.steps}"
    )


def _details(standing: Standing) -> list[str]:
    facts = [f"loss {standing.loss:.4g}"]
    if standing.learning_rate is not None:
        facts.append(f"lr {standing.learning_rate:.2g}")
    left = standing.seconds_left
    if left is not None and math.isfinite(left):
        facts.append(f"{_duration(left)} left at most")
    lines = ["  " + ", ".join(facts)]
    if standing.worst:
        named = [
            f"{name} {'none' if value is None else f'{value:.1e}'}"
            for name, value in standing.worst
        ]
        lines.append(f"  gradients furthest from the others: {', '.join(named)}")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
