"""Where the sentences of a probe go: a line on a terminal, or lines of a log with `--verbose`."""

from __future__ import annotations

import sys

from nnlint.cli.console import escape, is_terminal, write_stderr
from nnlint.cli.progress import Progress


class ProbeProgress:
    """Shows what a probe says.

    Args:
        progress: Shows a line on a terminal.
        lines: Whether to write lines where there is no terminal.
    """

    def __init__(self, progress: Progress, *, lines: bool) -> None:
        self._progress = progress
        self._lines = lines and not is_terminal(sys.stderr)

    def __call__(self, text: str, lasting: bool) -> None:
        """Show a sentence; one that lasts gets a line of its own."""
        self._progress(text)
        if self._lines and lasting:
            write_stderr(f"nnlint: {escape(text)}\n")
