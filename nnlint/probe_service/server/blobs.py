"""Where a blob lies and how it is read. Used by the front and by the workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nnlint.protos.v1 import graph_pb2

DIGEST_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()
_PIECE = 1 << 20


class DamagedBlobError(Exception):
    """The file of a blob is absent, or does not hold what the digest says."""


class Key(NamedTuple):
    """What identifies a blob: its SHA-256 (32 bytes) and its size in bytes."""

    sha256: bytes
    size: int

    @classmethod
    def of(cls, digest: graph_pb2.Digest) -> Key:
        """Return the key of a digest of the protocol."""
        return cls(bytes(digest.sha256), int(digest.size_bytes))

    def digest(self) -> graph_pb2.Digest:
        """Return the digest for the protocol."""
        return graph_pb2.Digest(sha256=self.sha256, size_bytes=self.size)

    def __str__(self) -> str:
        return f"{self.sha256.hex()}/{self.size}"


def path_of(folder: Path, sha256: bytes) -> Path:
    """Return the file of a blob: made of the hexadecimal digits of 32 bytes and of nothing else."""
    assert isinstance(sha256, bytes)
    assert len(sha256) == DIGEST_BYTES
    name = sha256.hex()
    return folder / name[:2] / name


def read_blob(folder: Path, key: Key) -> bytearray:
    """Read a blob and verify it: what is returned is what was hashed.

    Raises:
        DamagedBlobError: The file is absent, cannot be read, or its content differs.
    """
    if key.sha256 == EMPTY and not key.size:
        return bytearray()
    content = bytearray(key.size)
    view = memoryview(content)
    _read(folder, key, lambda done: view[done : done + _PIECE])
    return content


def is_sound(folder: Path, key: Key) -> bool:
    """Tell whether a blob is there and has the right content, in little memory."""
    view = memoryview(bytearray(min(_PIECE, key.size)))
    try:
        _read(folder, key, lambda done: view[: key.size - done])
    except DamagedBlobError:
        return False
    return True


def _read(folder: Path, key: Key, place: Callable[[int], memoryview]) -> None:
    """Read a blob into the memory that `place` gives for each position, and verify it."""
    done, hashed = 0, hashlib.sha256()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path_of(folder, key.sha256), flags)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if os.fstat(descriptor).st_size != key.size:
                raise DamagedBlobError(f"blob {key} has another size on disk")
            while done < key.size:
                piece = place(done)
                count = file.readinto(piece)
                if not count:
                    break
                # While it is still in the processor's cache.
                hashed.update(piece[:count])
                done += count
    except OSError as error:
        raise DamagedBlobError(f"blob {key} cannot be read") from error
    if hashed.digest() != key.sha256:
        raise DamagedBlobError(f"blob {key} has other content on disk")
