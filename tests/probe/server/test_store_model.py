"""Random uses of the store, compared with a model that knows what must hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nnlint.probe_service.server.blobs import Key, path_of, read_blob
from nnlint.probe_service.server.store import (
    BLOCK,
    ContentError,
    Lease,
    Store,
    StoreFullError,
    Upload,
    charge,
)

LIMIT = 6 * BLOCK
CONTENTS = [bytes([number]) * size for number, size in enumerate([1, 10, 4096, 4097, 9000, 20000])]
KEYS = [Key(hashlib.sha256(content).digest(), len(content)) for content in CONTENTS]
which = st.integers(0, len(CONTENTS) - 1)


class StoreMachine(RuleBasedStateMachine):
    """Uploads, questions, pins, damage and restarts in any order.

    The model does not predict which blobs are evicted; it says which may be there, which must be,
    and that what is there is right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = Store(self.root, limit=LIMIT)
        self.stored: set[int] = set()
        self.uploads: list[tuple[int, Upload, Lease]] = []
        self.leases: list[tuple[set[int], Lease]] = []

    def teardown(self) -> None:
        self.forget_uploads()
        self.store.close()
        shutil.rmtree(self.root)

    def forget_uploads(self) -> None:
        """Close files as the end of a process does."""
        for _, upload, _ in self.uploads:
            if upload._file is not None:
                os.close(upload._file[0])
        self.uploads.clear()

    @rule(number=which)
    def begin(self, number: int) -> None:
        lease = Lease()
        try:
            upload = self.store.begin(KEYS[number], lease)
        except StoreFullError:
            # There was really no way to make room.
            held = {each for pinned, _ in self.leases for each in pinned}
            fixed = sum(charge(KEYS[each].size) for each in held) + self.store.reserved
            assert fixed + charge(KEYS[number].size) > LIMIT
            return
        self.uploads.append((number, upload, lease))

    @precondition(lambda self: self.uploads)
    @rule(choice=st.integers(0), wrong=st.sampled_from(["", "", "", "flip", "short", "stop"]))
    def end_upload(self, choice: int, wrong: str) -> None:
        number, upload, lease = self.uploads.pop(choice % len(self.uploads))
        content = CONTENTS[number]
        if wrong == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        elif wrong:
            content = content[:-1]
        upload.write(content)
        if wrong != "stop":
            try:
                upload.commit()
            except ContentError:
                assert wrong
            else:
                assert not wrong
                self.stored.add(number)
        upload.abort()
        self.store.release(lease)

    @rule(numbers=st.sets(which))
    def find(self, numbers: set[int]) -> None:
        missing = set(self.store.missing([KEYS[each] for each in numbers]))
        self.stored -= {each for each in numbers if KEYS[each] in missing}
        for each in numbers & self.stored:
            assert read_blob(self.store.folder, KEYS[each]) == CONTENTS[each]

    @rule(numbers=st.sets(which, max_size=3))
    def pin(self, numbers: set[int]) -> None:
        lease = Lease()
        if not self.store.pin([KEYS[each] for each in numbers], lease):
            assert numbers <= self.stored
            self.leases.append((numbers, lease))

    @precondition(lambda self: self.leases)
    @rule(choice=st.integers(0))
    def release(self, choice: int) -> None:
        _, lease = self.leases.pop(choice % len(self.leases))
        self.store.release(lease)

    @rule(number=which)
    def damage(self, number: int) -> None:
        if number in self.stored and not any(number in pinned for pinned, _ in self.leases):
            lease = Lease()
            if not self.store.pin([KEYS[number]], lease):
                path_of(self.store.folder, KEYS[number].sha256).write_bytes(b"?")
                assert self.store.drop_damaged(lease) == [KEYS[number]]
            self.store.release(lease)
            self.stored.discard(number)

    @rule()
    def restart(self) -> None:
        """As after a kill: uploads under way are lost, blobs are not."""
        there = {each for each in self.stored if KEYS[each] in self.store}
        self.forget_uploads()
        self.store.close()
        self.store = Store(self.root, limit=LIMIT)
        self.leases.clear()
        assert {each for each in range(len(KEYS)) if KEYS[each] in self.store} == there
        assert self.store.reserved == 0
        assert not list((self.root / "incoming").iterdir())

    @invariant()
    def the_limit_holds(self) -> None:
        files = [path for path in (self.root / "blobs").rglob("*") if path.is_file()]
        assert sum(charge(path.stat().st_size) for path in files) == self.store.used
        assert self.store.used + self.store.reserved <= LIMIT
        assert len(list((self.root / "incoming").iterdir())) <= len(self.uploads)

    @invariant()
    def what_is_pinned_is_there(self) -> None:
        for numbers, _ in self.leases:
            assert all(KEYS[each] in self.store for each in numbers)

    @invariant()
    def only_what_was_stored_is_there(self) -> None:
        assert all(each in self.stored for each, key in enumerate(KEYS) if key in self.store)


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStore = StoreMachine.TestCase
