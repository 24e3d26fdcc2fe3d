"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_GROUPS = Path("/sys/fs/cgroup")


def available(device: torch.device) -> int:
    """Return the bytes that may still be taken on a device, 0 where unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch's allocator holds without using it is free as well.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(cached)
    known = [bound for bound in (_machine(), _group(), _process()) if bound is not None]
    return max(min(known, default=0), 0)


def _kibibytes(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _machine() -> int | None:
    return _kibibytes(_MEMINFO, "MemAvailable")


def _group() -> int | None:
    try:
        most = (_GROUPS / "memory.max").read_text(encoding="ascii").strip()
        used = int((_GROUPS / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return int(most) - used if most.isdigit() else None


def _process() -> int | None:
    import resource

    bounds = []
    for limit, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        soft, _ = resource.getrlimit(limit)
        used = _kibibytes(_STATUS, name)
        if soft != resource.RLIM_INFINITY and used is not None:
            bounds.append(soft - used)
    return min(bounds, default=None)
