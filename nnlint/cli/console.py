"""Writing to a terminal or a pipe: colour, width, and no control character that is not ours."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import IO

from nnlint.errors import UsageError

PIPE_WIDTH = 100
"""Columns of text that does not go to a terminal, the same everywhere."""

_STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "note": "1;36",
    "bold": "1",
    "dim": "2",
    "good": "1;32",
}
_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def escape(text: str, *, keep: str = "") -> str:
    r"""Return `text` with control, direction and surrogate characters as `\x1b`-like escapes.

    A file name or a message may hold a terminal's control sequences, and direction marks make a
    line read as something else than it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep else escape_character(c) for c in text)


def escape_character(character: str) -> str:
    """Return one character, escaped if it must not reach a terminal as it is."""
    hidden = character in _BIDIRECTIONAL or unicodedata.category(character) in _UNPRINTABLE
    return repr(character)[1:-1] if hidden and character != "\ufeff" else character


def width_of(text: str) -> int:
    """Return how many terminal columns `text` takes."""
    return len(text) if text.isascii() else sum(map(character_width, text))


def character_width(character: str) -> int:
    """Return the terminal columns of one character: 0, 1 or 2."""
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def style(text: str, name: str, *, color: bool) -> str:
    """Return `text` in one of the colours of the table above, or unchanged."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if color and text else text


def wants_color(choice: str, stream: IO[str]) -> bool:
    """Decide about colour: `--color`, then NO_COLOR and FORCE_COLOR, then the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def is_terminal(stream: IO[str] | None) -> bool:
    """Return whether a stream is a terminal; a closed or missing one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def terminal_width(stream: IO[str]) -> int:
    """Return the width to wrap at: the terminal's, or a fixed one for pipes and files."""
    if not is_terminal(stream):
        return PIPE_WIDTH
    try:
        return max(40, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return PIPE_WIDTH


def encodes(stream: IO[str] | None, text: str) -> bool:
    """Return whether a stream can carry a text as it is."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def write_stdout(text: str) -> None:
    """Write to standard output."""
    _write(sys.stdout, text)


def write_stderr(text: str) -> None:
    """Write to standard error."""
    _write(sys.stderr, text)


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is None:  # pythonw, or a closed descriptor at start
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)  # what is still in the buffer would fail again at exit
        raise UsageError(f"cannot write the output: {error.strerror or error}") from None


def _silence(stream: IO[str]) -> None:
    # The reader has left, as `head` does. Without this Python complains once more at exit, see
    # https://docs.python.org/3/library/signal.html#note-on-sigpipe
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
