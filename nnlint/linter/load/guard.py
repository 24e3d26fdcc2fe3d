"""Keeps the user's code from leaving traces: files, connections, long work at import.

It is a guard against what files do by habit, not against malice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from nnlint.linter.replacing import replaced

_SECONDS = 5.0
_WRITES = frozenset(
    [
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "shutil.copyfile",
        "shutil.copymode",
        "shutil.copystat",
        "shutil.copytree",
        "shutil.move",
        "shutil.rmtree",
        "shutil.make_archive",
        "shutil.unpack_archive",
        "tempfile.mkstemp",
        "tempfile.mkdtemp",
    ]
)
_NETWORK = frozenset(
    [
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "urllib.Request",
        "ftplib.connect",
        "http.client.connect",
        "smtplib.connect",
        "imaplib.open",
        "poplib.connect",
        "telnetlib.Telnet.open",
    ]
)
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IMPORT = "<frozen importlib._bootstrap"


class RefusedError(PermissionError):
    """The user's code tried something that linting does not do."""


def watch(is_users: Callable[[FrameType], bool]) -> None:
    """Refuse for good what the user's code does beyond computing and reading.

    Most callers handle an OSError. What nnlint itself does, and what an installed package does
    while it is imported, goes on.

    Args:
        is_users: Tells whether a frame runs the user's code.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        what = _judge(event, args)
        if what and _is_asked_by_user(sys._getframe(1), is_users):  # noqa: SLF001 - the documented way to a caller's frame
            raise RefusedError(f"nnlint {what} for a file that it lints")

    sys.addaudithook(hook)


@contextlib.contextmanager
def without_folders() -> Iterator[None]:
    """Let the user's code go on where it may not make a folder: some constructors make one."""
    original = os.mkdir

    @functools.wraps(original)
    def mkdir(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(RefusedError):
            original(*args, **kwargs)

    with replaced(os, "mkdir", mkdir):  # os.makedirs and pathlib look it up there
        yield


@contextlib.contextmanager
def limited(seconds: float = _SECONDS) -> Iterator[None]:
    """Raise TimeoutError in what runs meanwhile when it takes more processor time than this."""
    timer = getattr(signal, "ITIMER_VIRTUAL", None)
    if timer is None or signal.getitimer(timer)[0]:
        yield  # there is no such clock, or it runs for a statement further out
        return

    def end(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    try:
        before = signal.signal(signal.SIGVTALRM, end)
    except ValueError:  # only the main thread may
        yield
        return
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(signal.SIGVTALRM, before)


def _judge(event: str, args: tuple[Any, ...]) -> str:
    if event == "open":
        path, mode, flags = args
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & _FLAGS
        if not writes or isinstance(path, int) or _is_stream(path):
            return ""
        return f"writes no file ({_name(path)})"
    if event in _WRITES:
        return (
            f"changes nothing on disk ({event.partition('.')[2]} {_name(args[0] if args else '')})"
        )
    if event in _NETWORK:
        return f"makes no connection ({event})"
    return ""


def _name(path: object) -> str:
    if isinstance(path, bytes):
        return path.decode(errors="replace")[-60:]
    return str(path)[-60:]


def _is_stream(path: Any) -> bool:
    """Tell whether what is opened is a device or a pipe, which keeps nothing."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a path of any type
    except (OSError, TypeError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _is_asked_by_user(frame: FrameType | None, is_users: Callable[[FrameType], bool]) -> bool:
    while frame is not None:
        if is_users(frame):
            return True
        filename = frame.f_code.co_filename
        if filename.startswith(_IMPORT) and frame.f_code.co_name == "exec_module":
            return False
        frame = frame.f_back
    return False
