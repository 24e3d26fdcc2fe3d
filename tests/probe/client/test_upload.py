from __future__ import annotations

import hashlib

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.errors import BusyError
from nnlint.probe_service.client import upload
from nnlint.probe_service.client.address import Address
from nnlint.probe_service.client.channel import Service
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import Fake, fail

LIMITS = pb.Limits(digests_per_call=100)
ROOM = upload.MESSAGE_BYTES


def named(contents: list[bytes]) -> dict[bytes, bytes]:
    return {hashlib.sha256(content).digest(): content for content in contents}


@settings(deadline=None)
@given(
    sizes=st.lists(
        st.one_of(
            st.integers(0, 300),
            st.integers(ROOM - 200, ROOM + 200),
            st.integers(2 * ROOM, 3 * ROOM),
        ),
        max_size=12,
    ),
    views=st.booleans(),
)
def test_every_byte_arrives_once_in_order_and_messages_are_full(
    sizes: list[int], views: bool
) -> None:
    blobs = [(i.to_bytes(32, "big"), bytes([i % 251]) * size) for i, size in enumerate(sizes)]
    given_blobs = [(name, memoryview(c) if views else c) for name, c in blobs]
    seen: list[tuple[int, int]] = []
    sent = list(upload.messages(given_blobs, lambda *progress: seen.append(progress)))
    fake = Fake()
    fake.store(sent)
    assert fake.stored == dict(blobs)
    total = sum(sizes)
    assert all(message.ByteSize() <= ROOM + 1000 for message in sent)
    assert len(sent) <= 1 + (total + 64 * len(sizes)) // (ROOM - 64 - 64)
    assert all(part.data or part.HasField("digest") for m in sent for part in m.parts)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(message.parts for message in sent)
    assert not sizes or seen[-1] == (total, total)


def test_many_tiny_blobs_stay_below_the_limit_of_a_message() -> None:
    blobs = [(i.to_bytes(32, "big"), b"x") for i in range(50_000)]
    sent = list(upload.messages(blobs))
    assert max(message.ByteSize() for message in sent) <= ROOM + 1000
    assert sum(len(message.parts) for message in sent) == 50_000


def test_only_what_is_missing_is_sent(fake: Fake, address: Address) -> None:
    blobs = named([b"a", b"bb", b"ccc", b""])
    known = hashlib.sha256(b"bb").digest()
    fake.stored[known] = b"bb"
    with Service(address) as service:
        assert upload.send(service, blobs, limits=LIMITS) == (3, 4)
        assert upload.send(service, blobs, limits=LIMITS) == (0, 0)
        assert service.bytes_sent < 1000
    assert fake.stored == blobs
    assert fake.names().count("upload") == 1


def test_after_a_lost_connection_only_the_rest_is_sent(fake: Fake, address: Address) -> None:
    blobs = named([b"a", b"bb"])

    def half(_: object, context: object) -> None:
        fake.stored[hashlib.sha256(b"a").digest()] = b"a"
        fail(context, grpc.StatusCode.UNAVAILABLE, "lost")

    def rest(requests: list[pb.UploadBlobsRequest], _: object) -> pb.UploadBlobsResponse:
        fake.store(requests)
        return pb.UploadBlobsResponse(stored=1)

    fake.script("upload", half, rest)
    with Service(address) as service:
        service.capabilities()
        upload.send(service, blobs, limits=LIMITS)
    assert fake.stored == blobs
    assert [part.data for m in fake.messages for part in m.parts] == [b"bb"]


def test_a_full_store_is_told_at_once(fake: Fake, address: Address) -> None:
    fake.script(
        "upload",
        lambda _, context: fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "the store is full"),
    )
    with Service(address) as service, pytest.raises(BusyError, match="the store is full"):
        upload.send(service, named([b"x"]), limits=LIMITS)
    assert fake.names().count("upload") == 1
