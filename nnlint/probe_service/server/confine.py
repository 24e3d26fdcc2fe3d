"""What a worker gives up before it waits for a job."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_FILES = 1024
# CUDA keeps files of its own in /dev/shm and reserves far more address space than it uses.
_CUDA_FILE_BYTES = 64 << 20
# Deterministic matrix products on CUDA need this, before the context is made.
_CUBLAS_WORKSPACE = ":4096:8"


def confine(device: str, memory: int) -> None:
    """Leave this process one device, no network, no environment, and bounded resources.

    Args:
        device: "cpu", or "cuda:" and what CUDA_VISIBLE_DEVICES calls the device.
        memory: Bytes of data on the CPU; 0 for no limit.
    """
    cuda = device.startswith("cuda:")
    visible = device.removeprefix("cuda:") if cuda else ""
    os.environ.clear()
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    if cuda:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = _CUBLAS_WORKSPACE
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    _limit(resource.RLIMIT_FSIZE, _CUDA_FILE_BYTES if cuda else 0)
    if memory and not cuda:
        _limit(resource.RLIMIT_DATA, memory)
    with contextlib.suppress(OSError):
        # Where the machine runs out of memory, this process is the one to go.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        # No network: as root directly, else, where the system allows it, in a user namespace.
        if libc.unshare(_CLONE_NEWNET):
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def machine_memory() -> int:
    """Return the bytes that this process may use of the machine's memory, 0 where unknown."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, IndexError):
        line = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1]
        group = Path("/sys/fs/cgroup") / line.rpartition(":")[2].lstrip("/")
        while group != group.parent and group.is_relative_to("/sys/fs/cgroup"):
            with contextlib.suppress(OSError, ValueError):
                limit = int((group / "memory.max").read_text(encoding="ascii"))
                total = min(total, limit) if total else limit
            group = group.parent
    return total


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (value, value))
