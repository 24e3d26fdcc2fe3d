"""The store of blobs: verified, whole or absent, never above its limit."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from nnlint.errors import UsageError
from nnlint.probe_service.server import blobs
from nnlint.probe_service.server.blobs import DamagedBlobError, Key, read_blob
from nnlint.probe_service.server.store import (
    BLOCK,
    ContentError,
    Lease,
    Store,
    StoreFullError,
    Upload,
    charge,
)


def key_of(content: bytes) -> Key:
    return Key(hashlib.sha256(content).digest(), len(content))


def put(store: Store, content: bytes, lease: Lease | None = None) -> Key:
    own = lease or Lease()
    upload = store.begin(key_of(content), own)
    try:
        _write_all(upload, content)
    finally:
        upload.abort()
    if lease is None:
        store.release(own)
    return key_of(content)


def _write_all(upload: Upload, content: bytes) -> None:
    upload.write(content)
    upload.commit()


def contents(count: int, size: int = 100) -> list[bytes]:
    return [bytes([number]) * size for number in range(count)]


def files(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()} - {"lock"}


def test_what_is_stored_can_be_read_again(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        key = put(store, b"weights")
        assert key in store
        assert read_blob(store.folder, key) == b"weights"
        assert files(tmp_path) == {key.sha256.hex()}
        assert (store.folder / key.sha256.hex()[:2] / key.sha256.hex()).stat().st_mode & 0o77 == 0


def test_the_empty_blob_is_always_there(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        key = key_of(b"")
        assert store.missing([key]) == []
        assert store.pin([key], Lease()) == []
        assert read_blob(store.folder, key) == b""
        put(store, b"")
        assert not files(tmp_path)


@pytest.mark.parametrize("sent", [b"other", b"too long for it", b"x", b""])
def test_content_that_differs_from_the_digest_leaves_nothing(tmp_path: Path, sent: bytes) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        upload = store.begin(key_of(b"right"), Lease())
        with pytest.raises(ContentError):
            _write_all(upload, sent)
        upload.abort()
        upload.abort()
        assert not files(tmp_path)
        assert store.reserved == store.used == 0


def test_the_blob_used_longest_ago_makes_room(tmp_path: Path) -> None:
    with Store(tmp_path, limit=3 * BLOCK) as store:
        first, second, third, fourth = (key_of(each) for each in contents(4))
        for content in contents(3):
            put(store, content)
        assert store.missing([first]) == []  # used again
        put(store, contents(4)[3])
        assert store.missing([first, second, third, fourth]) == [second]
        assert store.counters.evictions == 1


def test_room_is_reserved_before_anything_is_written(tmp_path: Path) -> None:
    with Store(tmp_path, limit=2 * BLOCK) as store:
        uploads = [store.begin(key_of(content), Lease()) for content in contents(2)]
        assert store.reserved == 2 * BLOCK
        with pytest.raises(StoreFullError):
            store.begin(key_of(contents(3)[2]), Lease())
        for upload in uploads:
            upload.abort()
        assert store.reserved == 0


def test_pinned_blobs_stay(tmp_path: Path) -> None:
    with Store(tmp_path, limit=2 * BLOCK) as store:
        lease = Lease()
        keys = [put(store, content) for content in contents(2)]
        assert store.pin(keys, lease) == []
        with pytest.raises(StoreFullError):
            put(store, contents(3)[2])
        store.release(lease)
        put(store, contents(3)[2])


def test_all_blobs_are_pinned_or_none(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        lease = Lease()
        key, absent = put(store, b"here"), key_of(b"absent")
        assert store.pin([key, absent], lease) == [absent]
        assert lease.pinned == []


def test_a_lease_that_has_ended_pins_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        lease = Lease()
        key = put(store, b"content")
        store.release(lease)
        assert store.pin([key], lease) == []
        assert lease.pinned == []


def test_two_equal_uploads_both_succeed(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        first, second = (store.begin(key_of(b"same"), Lease()) for _ in range(2))
        for upload in (first, second):
            upload.write(b"same")
            upload.commit()
        assert store.used == BLOCK
        assert store.reserved == 0
        assert files(tmp_path) == {key_of(b"same").sha256.hex()}


def test_a_restart_keeps_whole_blobs_and_removes_the_rest(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        key = put(store, b"whole")
        store.begin(key_of(b"half"), Lease()).write(b"ha")  # as if the process were killed
        shard = store.folder / "ab"
        shard.mkdir()
        (shard / ("ab" + "0" * 62)).touch()  # a name without its data, after a loss of power
        (shard / "notes.txt").write_text("strange")
        (store.folder / "cd").mkdir()
        (store.folder / "cd" / ("cd" + "1" * 62)).symlink_to("/etc/hostname")
    with Store(tmp_path, limit=1 << 20) as store:
        assert len(store) == 1
        assert store.missing([key]) == []
        assert files(tmp_path) == {key.sha256.hex()}
        assert store.used == charge(5)


def test_a_restart_with_a_smaller_limit_keeps_what_was_used_last(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        keys = [put(store, content) for content in contents(4)]
        for number, key in enumerate(keys):
            os.utime(blobs.path_of(store.folder, key.sha256), (number, number))
    with Store(tmp_path, limit=2 * BLOCK) as store:
        assert store.missing(keys) == keys[:2]
        assert store.used == 2 * BLOCK


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "link"])
def test_damage_on_disk_is_found_by_whoever_reads(tmp_path: Path, damage: str) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        lease = Lease()
        key, sound = put(store, b"content", lease), put(store, b"sound", lease)
        path = blobs.path_of(store.folder, key.sha256)
        if damage == "flip":
            path.write_bytes(b"cantent")
        elif damage == "cut":
            path.write_bytes(b"cont")
        elif damage == "remove":
            path.unlink()
        else:
            path.unlink()
            path.symlink_to(blobs.path_of(store.folder, sound.sha256))
        with pytest.raises(DamagedBlobError):
            read_blob(store.folder, key)
        assert store.drop_damaged(lease) == [key]
        assert store.missing([key, sound]) == [key]
        store.release(lease)
        assert put(store, b"content") in store


def test_a_digest_with_another_size_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20) as store:
        key = put(store, b"content")
        lie = Key(key.sha256, 5)
        assert store.missing([lie, key]) == [lie]
        upload = store.begin(lie, Lease())
        upload.write(b"conte")
        with pytest.raises(ContentError):
            upload.commit()
        upload.abort()
        assert read_blob(store.folder, key) == b"content"


def test_a_file_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    content = b"x" * 3 * BLOCK
    with Store(tmp_path, limit=1 << 20) as store:
        key = put(store, content)
        blobs.path_of(store.folder, key.sha256).write_bytes(content[:10])
    with Store(tmp_path, limit=1 << 20) as store:
        assert store.missing([key]) == [key]
        put(store, content)
        assert read_blob(store.folder, key) == content
        assert store.used == charge(len(content))


@pytest.mark.parametrize("operation", ["write", "fsync", "open", "replace"])
def test_a_full_disk_leaves_no_file(
    tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Store(tmp_path, limit=1 << 20) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Path if operation == "replace" else os, operation, full)
            with pytest.raises(StoreFullError, match="disk"):
                put(store, b"content")
        assert not files(tmp_path)
        assert store.reserved == store.used == 0
        put(store, b"content")


def test_the_number_of_blobs_is_limited_too(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 30, most=3) as store:
        keys = [put(store, content) for content in contents(5)]
        assert store.missing(keys) == keys[:2]


def test_one_server_has_a_store_for_itself(tmp_path: Path) -> None:
    with Store(tmp_path, limit=1 << 20), pytest.raises(UsageError, match="another server"):
        Store(tmp_path, limit=1 << 20)
    Store(tmp_path, limit=1 << 20).close()


def test_a_folder_that_cannot_be_used_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Store(tmp_path / "file", limit=1 << 20)
