"""Ten thousand messages that nobody should send: refused with precision, and without a trace."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server.generated import fill, spoil, vary
from tests.probe.server.servers import Part, Server, upload

SERVICE = "/nnlint.protos.v1.ProbeService/"
UNARY = {
    "GetCapabilities": pb.GetCapabilitiesRequest,
    "FindMissingBlobs": pb.FindMissingBlobsRequest,
    "CancelProbe": pb.CancelProbeRequest,
}
STREAMS = {"RunProbe": pb.RunProbeRequest, "AttachProbe": pb.AttachProbeRequest}
# Everything else, above all INTERNAL and UNKNOWN, is a fault of the server's.
EXPECTED = {
    "OK",
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "ALREADY_EXISTS",
}
MIB = 1 << 20


async def send(channel: grpc.aio.Channel, method: str, data: list[bytes]) -> str:
    """Send bytes as they are and return the name of the status."""
    name = SERVICE + method

    async def stream() -> AsyncIterator[bytes]:
        for each in data:
            yield each

    try:
        if method in UNARY:
            await channel.unary_unary(name)(data[0], timeout=60)
        elif method == "UploadBlobs":
            await channel.stream_unary(name)(stream(), timeout=60)
        else:
            async for _ in channel.unary_stream(name)(data[0], timeout=60):
                pass
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def send_all(
    server: Server, calls: list[tuple[str, list[bytes]]], *, at_once: int = 64
) -> Counter[str]:
    """Send many, some at once; return how often which status came back."""
    counts: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(server.address) as channel:
        for start in range(0, len(calls), at_once):
            batch = calls[start : start + at_once]
            counts.update(await asyncio.gather(*(send(channel, *call) for call in batch)))
    return counts


def generated_calls(count: int, chance: random.Random) -> list[tuple[str, list[bytes]]]:
    calls = []
    kinds: dict[str, Any] = {**UNARY, **STREAMS, "UploadBlobs": pb.UploadBlobsRequest}
    for number in range(count):
        method = list(kinds)[number % len(kinds)]
        messages = chance.choice([1, 2, 3]) if method == "UploadBlobs" else 1
        data = [
            spoil(fill(kinds[method](), chance).SerializeToString(), chance)
            for _ in range(messages)
        ]
        calls.append((method, data))
    return calls


@pytest.fixture
def server(real_server: Server) -> Server:
    real_server.run(graphs.mlp())
    return real_server


def test_9000_generated_messages_change_nothing(server: Server) -> None:
    chance = random.Random(0)  # noqa: S311 - reproducible
    calls = generated_calls(9000, chance)
    asyncio.run(send_all(server, calls[:1000]))
    before, files = server.front.memory_info().rss, server.blobs()
    counts = asyncio.run(send_all(server, calls))
    assert set(counts) <= EXPECTED, counts
    assert counts["INVALID_ARGUMENT"] > 3000
    assert server.front.memory_info().rss - before < 16 * MIB
    assert server.blobs() == files
    assert not [line for line in server.logged() if line["message"] == "a call failed"]
    server.check_clean()


def test_1000_generated_graphs_are_refused_or_run(server: Server) -> None:
    chance = random.Random(1)  # noqa: S311 - reproducible
    seeds = [graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()]
    serialised = []
    for number in range(1000):
        if number % 3 == 0:
            graph = fill(graph_pb2.Graph(), chance)
        else:
            graph = graph_pb2.Graph()
            graph.CopyFrom(chance.choice(seeds).graph)
            vary(graph, chance)
        serialised.append(spoil(graph.SerializeToString(), chance))
    for seed in seeds:
        server.upload(seed)
    upload(server.stub, {number.to_bytes(2): data for number, data in enumerate(serialised)})
    request = graphs.mlp().request(steps=1, seconds=10)
    calls = []
    for data in serialised:
        request.probe_id = os.urandom(16)
        request.graph.CopyFrom(graphs.digest_of(data))
        calls.append(("RunProbe", [request.SerializeToString()]))
    # No more than one client may have in the queue.
    counts = asyncio.run(send_all(server, calls, at_once=8))
    assert set(counts) <= EXPECTED, counts
    assert counts["INVALID_ARGUMENT"] > 500
    assert not [line for line in server.logged() if line["message"] == "a call failed"]
    server.check_clean()


def test_an_oversized_message_is_refused_by_the_transport(server: Server) -> None:
    data = b"\x0a" + b"x" * (5 * MIB)
    counts = asyncio.run(send_all(server, [(method, [data]) for method in (*UNARY, *STREAMS)]))
    assert set(counts) == {"RESOURCE_EXHAUSTED"}
    server.check_clean()


def test_a_deeply_nested_message_is_refused(server: Server) -> None:
    argument = b""
    for _ in range(2000):
        inner = b"\x0a" + _varint(len(argument)) + argument  # ArgumentList.items
        argument = b"\x42" + _varint(len(inner)) + inner  # Argument.list
    node = b"\x12" + _varint(len(argument)) + argument
    graph = b"\x2a" + _varint(len(node)) + node
    upload(server.stub, {b"": graph})
    request = graphs.mlp().request(probe_id=os.urandom(16))
    request.graph.CopyFrom(graphs.digest_of(graph))
    counts = asyncio.run(send_all(server, [("RunProbe", [request.SerializeToString()])]))
    assert set(counts) == {"INVALID_ARGUMENT"}


def test_a_graph_of_very_many_empty_parts_is_refused_in_little_memory(server: Server) -> None:
    before = server.front.memory_info().rss
    for field in (b"\x12\x00", b"\x1a\x00", b"\x22\x00", b"\x2a\x00", b"\x3a\x00"):
        graph = b"\x08\x01" + field * (2 * MIB - 8)
        parts = [graph[start : start + 3 * MIB] for start in range(0, len(graph), 3 * MIB)]
        digest = graphs.digest_of(graph)
        messages = (
            pb.UploadBlobsRequest(
                parts=[
                    Part(
                        digest=digest if not number else None,
                        data=part,
                        last=number == len(parts) - 1,
                    )
                ]
            )
            for number, part in enumerate(parts)
        )
        server.stub.UploadBlobs(messages, timeout=30)
        request = graphs.mlp().request(probe_id=os.urandom(16))
        request.graph.CopyFrom(digest)
        with pytest.raises(grpc.RpcError) as raised:
            list(server.stub.RunProbe(request, timeout=30))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "more than 20000" in raised.value.details()
    assert server.front.memory_info().rss - before < 64 * MIB


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
