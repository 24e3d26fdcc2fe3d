"""Blobs on disk, named by their content.

Every method may block for the disk and may be called from any thread. A blob becomes visible by
one rename, after its content was verified; so a process that is killed leaves whole blobs and
files in `incoming`, which the next start removes. What the disk does to a blob later is found by
whoever reads it (`blobs.read_blob`): hashing costs less than reading from most disks, and verifies
the very bytes that are used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nnlint.errors import UsageError
from nnlint.probe_service.server.blobs import EMPTY, Key, is_sound, path_of

# What a file takes on most file systems: the limit is one of the disk's space.
BLOCK = 4096
# Keeps the index, about 300 bytes a blob, small beside the front's other memory.
MOST_BLOBS = 100_000
_NAME = re.compile(r"[0-9a-f]{64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# How far the order of use on disk, which only a restart looks at, may lag behind.
_TOUCH_SECONDS = 60.0


class StoreFullError(Exception):
    """There is no room for a blob: within the store's limit, or on the disk."""


class ContentError(Exception):
    """A blob's content does not match its digest."""


def charge(size: int) -> int:
    """Return the bytes of disk that a blob of `size` bytes is counted with."""
    return max(-(-size // BLOCK), 1) * BLOCK


@dataclass(slots=True)
class _Entry:
    size: int
    pins: int = 0
    touched: float = 0.0


@dataclass(slots=True, eq=False)
class Lease:
    """Keeps blobs from eviction until it is released.

    Attributes:
        pinned: SHA-256 of each blob, as often as it was pinned.
        released: Whether it has ended; nothing is pinned with it any more.
    """

    pinned: list[bytes] = field(default_factory=list)
    released: bool = False


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    stored: int = 0
    damaged: int = 0


class Store:
    """A folder of blobs with a limit and an order of use.

    Attributes:
        folder: Where the blobs lie, in sub-folders of two hexadecimal digits.
        limit: Bytes of disk that blobs and uploads under way take together, at most.
        counters: What happened since the start.
    """

    def __init__(self, root: Path, *, limit: int, most: int = MOST_BLOBS) -> None:
        """Open the store, remove what an earlier process left half done, and index the rest.

        Raises:
            UsageError: The folder cannot be used, or another server uses it.
        """
        self.limit = limit
        self.folder = root / "blobs"
        self.counters = Counters()
        self._incoming = root / "incoming"
        self._most = most
        self._lock = threading.Lock()
        # From the blob that was used longest ago to the latest.
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._used = 0
        self._reserved = 0
        self._arriving = 0
        self._guard = _lock_folder(root)
        try:
            for folder in (self.folder, self._incoming):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._remove_unfinished()
            self._scan()
        except OSError as error:
            os.close(self._guard)
            raise UsageError(f"the store {root} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another server use the folder."""
        os.close(self._guard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def used(self) -> int:
        """Bytes of disk that the blobs are counted with."""
        return self._used

    @property
    def reserved(self) -> int:
        """Bytes of disk that uploads under way are counted with."""
        return self._reserved

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return self._find(key) is not None

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Return the blobs that are not there; those that are count as used just now."""
        with self._lock:
            return [key for key in keys if not self._touch(key)]

    def pin(self, keys: Iterable[Key], lease: Lease) -> list[Key]:
        """Keep blobs from eviction with a lease, all or none; return the missing ones."""
        wanted = list(keys)
        with self._lock:
            missing = [key for key in wanted if not self._touch(key)]
            if not missing and not lease.released:
                for key in wanted:
                    self._pin(key.sha256, lease)
        return missing

    def release(self, lease: Lease) -> None:
        """End a lease; its blobs may be evicted again."""
        with self._lock:
            lease.released = True
            for sha256 in lease.pinned:
                if entry := self._entries.get(sha256):
                    entry.pins -= 1
            lease.pinned.clear()

    def drop_damaged(self, lease: Lease) -> list[Key]:
        """Read every blob of a lease, remove those with other content, and return them."""
        with self._lock:
            pinned = dict.fromkeys(lease.pinned)
            keys = [Key(sha256, e.size) for sha256 in pinned if (e := self._entries.get(sha256))]
        damaged = [key for key in keys if not is_sound(self.folder, key)]
        for key in damaged:
            self.drop(key.sha256)
        return damaged

    def drop(self, sha256: bytes) -> None:
        """Remove a blob whose content was found to be damaged."""
        with self._lock:
            if sha256 in self._entries:
                self.counters.damaged += 1
                self._remove(sha256)

    def begin(self, key: Key, lease: Lease) -> Upload:
        """Make room for a blob and start to write it.

        Raises:
            StoreFullError: There is no room, even without the blobs that nobody needs now.
        """
        present = key.sha256 == EMPTY or key in self
        if not present:
            self._reserve(charge(key.size))
        try:
            return Upload(self, key, lease, None if present else self._new_file())
        except OSError as error:
            self._unreserve(charge(key.size))
            raise _full_or_broken(error) from error

    def _new_file(self) -> tuple[int, Path]:
        path = self._incoming / secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600), path

    def _commit(self, key: Key, lease: Lease, temporary: Path) -> None:
        """Give a complete file its name; of two equal uploads the second changes nothing."""
        path = path_of(self.folder, key.sha256)
        with self._lock:
            if self._find(key) is not None:
                temporary.unlink()
            else:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                temporary.replace(path)
                cut = self._entries.get(key.sha256)
                if cut is not None:
                    self._used -= charge(cut.size)
                pins = cut.pins if cut is not None else 0
                self._entries[key.sha256] = _Entry(key.size, pins, time.monotonic())
                self._used += charge(key.size)
            # Together with the line above: at no time do both count, nor none.
            self._reserved -= charge(key.size)
            self._arriving -= 1
            self.counters.stored += 1
            self._touch(key)
            self._pin(key.sha256, lease)

    def _reserve(self, size: int) -> None:
        with self._lock:
            victims, free = [], self.limit - self._used - self._reserved
            places = self._most - len(self._entries) - self._arriving
            for sha256, entry in self._entries.items():
                if free >= size and places > 0:
                    break
                if not entry.pins:
                    victims.append(sha256)
                    free += charge(entry.size)
                    places += 1
            if free < size or places <= 0:
                raise StoreFullError("the store is full")
            for sha256 in victims:
                self.counters.evictions += 1
                self._remove(sha256)
            self._reserved += size
            self._arriving += 1

    def _unreserve(self, size: int) -> None:
        with self._lock:
            self._reserved -= size
            self._arriving -= 1

    def _find(self, key: Key) -> _Entry | None:
        # With another size either the file was cut short, or the client is wrong: an upload tells.
        entry = self._entries.get(key.sha256)
        return entry if entry is not None and entry.size == key.size else None

    def _touch(self, key: Key) -> bool:
        if key.sha256 == EMPTY:
            return key.size == 0
        entry = self._find(key)
        if entry is None:
            self.counters.misses += 1
            return False
        self.counters.hits += 1
        self._entries.move_to_end(key.sha256)
        now = time.monotonic()
        if now - entry.touched > _TOUCH_SECONDS:
            entry.touched = now
            with contextlib.suppress(OSError):
                os.utime(path_of(self.folder, key.sha256))
        return True

    def _pin(self, sha256: bytes, lease: Lease) -> None:
        if not lease.released and (entry := self._entries.get(sha256)):
            entry.pins += 1
            lease.pinned.append(sha256)

    def _remove(self, sha256: bytes) -> None:
        entry = self._entries.pop(sha256)
        self._used -= charge(entry.size)
        with contextlib.suppress(FileNotFoundError):
            path_of(self.folder, sha256).unlink()

    def _remove_unfinished(self) -> None:
        for path in self._incoming.iterdir():
            path.unlink()

    def _scan(self) -> None:
        found = []
        for shard in self.folder.iterdir():
            for item in os.scandir(shard):
                status = item.stat(follow_symlinks=False)
                sound = (
                    item.is_file(follow_symlinks=False)
                    and _NAME.fullmatch(item.name)
                    and item.name[:2] == shard.name
                    and 0 < status.st_size <= self.limit
                )
                if sound:
                    found.append((status.st_mtime, bytes.fromhex(item.name), status.st_size))
                elif not item.is_dir(follow_symlinks=False):
                    Path(item.path).unlink()
        for _, sha256, size in sorted(found):
            self._entries[sha256] = _Entry(size, touched=time.monotonic())
            self._used += charge(size)
        while self._used > self.limit or len(self._entries) > self._most:
            self._remove(next(iter(self._entries)))


class Upload:
    """One blob that arrives. Ends with `commit` or `abort`."""

    def __init__(self, store: Store, key: Key, lease: Lease, file: tuple[int, Path] | None) -> None:
        self.key = key
        self._store = store
        self._lease = lease
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add a piece.

        Raises:
            ContentError: There are more bytes than the digest says.
            StoreFullError: The disk is full.
        """
        self._size += len(data)
        if self._size > self.key.size:
            raise ContentError(f"blob {self.key} has more than {self.key.size} bytes")
        self._hash.update(data)
        if self._file is not None:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(self._file[0], view) :]
                except OSError as error:
                    raise _full_or_broken(error) from error

    def commit(self) -> None:
        """Verify the content and make the blob visible; it stays pinned by the lease.

        Raises:
            ContentError: The content is not what the digest says.
            StoreFullError: The disk is full.
        """
        if self._size != self.key.size:
            raise ContentError(f"blob {self.key} has {self._size} bytes")
        if self._hash.digest() != self.key.sha256:
            raise ContentError(f"blob {self.key} has the SHA-256 {self._hash.hexdigest()}")
        if self._file is None:
            # Where it was evicted meanwhile, FindMissingBlobs will tell.
            self._store.pin([self.key], self._lease)
            return
        descriptor, path = self._file
        try:
            os.fsync(descriptor)
            self._store._commit(self.key, self._lease, path)  # noqa: SLF001 - one thing in two classes
        except OSError as error:
            raise _full_or_broken(error) from error
        os.close(descriptor)
        self._file = None

    def abort(self) -> None:
        """Leave nothing of it behind; after a commit this does nothing."""
        if self._file is not None:
            descriptor, path = self._file
            self._file = None
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            self._store._unreserve(charge(self.key.size))  # noqa: SLF001 - one thing in two classes


def _full_or_broken(error: OSError) -> Exception:
    """Return what is raised for an error of the disk."""
    if error.errno in _FULL:
        return StoreFullError("the disk of the store is full")
    return error


def _lock_folder(root: Path) -> int:
    """Claim a folder for this process.

    Raises:
        UsageError: It cannot be made, or another server has it.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"the store {root} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreInUseError(
            f"another server uses the store {root}", hint="Give each server a --store of its own."
        ) from error
    return descriptor


class StoreInUseError(UsageError):
    """Another server uses the folder."""
