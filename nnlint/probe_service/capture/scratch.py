"""The folder through which a capture comes from the process that ran the user's code."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    fcntl = importlib.import_module("fcntl")
except ImportError:  # Windows locks no folders
    fcntl = None

_PREFIX = "nnlint-capture-"
# Between the making of a folder and the lock on it.
_YOUNG_SECONDS = 60.0


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Make a folder for this process, and remove it afterwards.

    The folder is locked meanwhile. One that nobody locks was left by a process that was killed, and
    is removed as well.
    """
    with contextlib.suppress(OSError):
        _sweep(Path(tempfile.gettempdir()))
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    lock = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            old = time.time() - status.st_mtime > _YOUNG_SECONDS
            if not old or status.st_uid != os.getuid():
                continue
            lock = _locked(str(folder))
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: str) -> int | None:
    """Lock a folder for as long as the descriptor is open; None where another process has it."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
