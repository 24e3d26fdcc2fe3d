"""Graphs that want something of the server which no graph may have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server.servers import Part, Server, events, upload

Change = Callable[[graph_pb2.Graph], Any]


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error."""
    for key, value in error.trailing_metadata():  # type: ignore[attr-defined]
        if key == "grpc-status-details-bin":
            assert len(value) <= 4096
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no details: {error}")


def detail(error: grpc.RpcError, kind: type[Any]) -> Any:
    for packed in status_of(error).details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__}")


@pytest.fixture
def server(real_server: Server) -> Iterator[Server]:
    """Check after each test that nothing is left and that the next probe succeeds."""
    before = set(Path(real_server.front.cwd()).iterdir())
    yield real_server
    real_server.check_clean()
    assert set(Path(real_server.front.cwd()).iterdir()) == before


def refusal(server: Server, graph: graph_pb2.Graph, built: graphs.Built) -> grpc.RpcError:
    changed = graphs.Built(graph, built.blobs)
    with pytest.raises(grpc.RpcError) as raised:
        server.run(changed)
    return raised.value


def operator(name: str) -> Change:
    return lambda graph: graph.operators.__setitem__(0, name)


HOSTILE: dict[str, tuple[Change, str, str]] = {
    "an operator that makes files": (
        operator("aten.from_file.default"),
        "graph.operators[0]",
        "'aten.from_file.default' is not among the reviewed operators",
    ),
    "an operator that writes files": (operator("aten.save.default"), "graph.operators[0]", "not"),
    "a function of Python": (operator("torch.os.system"), "graph.operators[0]", "not among"),
    "an operator with a path for a name": (
        operator("../../../etc/passwd"),
        "graph.operators[0]",
        "not among",
    ),
    "a dunder name": (operator("aten.__class__.__init__"), "graph.operators[0]", "not among"),
    "an unchecked sparse tensor": (
        operator("aten.sparse_coo_tensor.indices_size"),
        "graph.operators[0]",
        "not among",
    ),
    "a text argument that is a path": (
        lambda graph: graph.nodes[0].arguments.add(text="/etc/passwd"),
        "graph.nodes[0].arguments[3]",
        "'/etc/passwd'",
    ),
    "a negative size": (
        lambda graph: graph.tensors[0].shape.__setitem__(0, -8),
        "graph.tensors[0].shape",
        "a size is negative",
    ),
    "a huge size": (
        lambda graph: graph.tensors[0].shape.__setitem__(0, 1 << 60),
        "graph.tensors[0].shape",
        "elements are more than",
    ),
    "sizes whose product overflows": (
        lambda graph: graph.tensors[0].shape.extend([1 << 32, 1 << 32, 1 << 32]),
        "graph.tensors[0].shape",
        "elements are more than",
    ),
    "very many dimensions": (
        lambda graph: graph.tensors[0].shape.extend([1] * 100),
        "graph.tensors[0].shape",
        "dimensions are more than 16",
    ),
    "a result larger than any tensor may be": (
        lambda graph: graph.nodes[0].outputs[0].shape.append(1 << 40),
        "graph.nodes[0].outputs[0].shape",
        "elements are more than",
    ),
    "strides that overlap": (
        lambda graph: graph.tensors[0].strides.extend([1, 1]),
        "graph.tensors[0].shape",
        "no permutation of the dense ones",
    ),
    "a node that refers to itself": (
        lambda graph: graph.nodes[1].arguments[0].reference.CopyFrom(graph_pb2.Reference(node=1)),
        "graph.nodes[1].arguments[0]",
        "there is no node 1 before this one",
    ),
    "a cycle": (
        lambda graph: graph.nodes[0].arguments[0].reference.CopyFrom(graph_pb2.Reference(node=3)),
        "graph.nodes[0].arguments[0]",
        "there is no node 3 before this one",
    ),
    "a reference to no tensor": (
        lambda graph: (
            graph.nodes[0]
            .arguments[0]
            .reference.CopyFrom(graph_pb2.Reference(tensor=4_000_000_000))
        ),
        "graph.nodes[0].arguments[0]",
        "there is no tensor 4000000000",
    ),
    "a result that does not exist": (
        lambda graph: (
            graph.nodes[1].arguments[0].reference.CopyFrom(graph_pb2.Reference(node=0, output=5))
        ),
        "graph.nodes[1].arguments[0]",
        "node 0 has no result 5",
    ),
    "an operator beyond the list": (
        lambda graph: setattr(graph.nodes[0], "operator", 99),
        "graph.nodes[0].operator",
        "there is no such operator",
    ),
    "a region beyond the list": (
        lambda graph: setattr(graph.nodes[0], "region", 99),
        "graph.nodes[0].region",
        "there is no such region",
    ),
    "another element type than the content": (
        lambda graph: setattr(graph.tensors[1], "dtype", graph_pb2.SCALAR_TYPE_FLOAT64),
        "graph.tensors[1].digest.size_bytes",
        "the shape takes",
    ),
    "an unknown element type": (
        lambda graph: setattr(graph.tensors[1], "dtype", 77),
        "graph.tensors[1].dtype",
        "not known",
    ),
    "a digest that is none": (
        lambda graph: setattr(graph.tensors[1].digest, "sha256", b"../../etc/passwd"),
        "graph.tensors[1].digest.sha256",
        "a SHA-256 has 32 bytes",
    ),
    "a loss that is no scalar": (
        lambda graph: graph.loss.CopyFrom(graph_pb2.Reference(node=0)),
        "graph.loss",
        "one floating number",
    ),
    "a format of the future": (
        lambda graph: setattr(graph, "format_version", 2),
        "graph.format_version",
        "not understood",
    ),
    "an argument of the wrong type": (
        lambda graph: graph.nodes[0].arguments[1].CopyFrom(graph_pb2.Argument(text="mean")),
        "graph.nodes[0].arguments[1]",
        "",
    ),
    "too many arguments": (
        lambda graph: graph.nodes[0].arguments.extend([graph_pb2.Argument(integer=1)] * 50),
        "graph.nodes[0]",
        "",
    ),
    "a result of another shape than it has": (
        lambda graph: graph.nodes[0].outputs[0].shape.__setitem__(1, 3),
        "graph.nodes[0]",
        "",
    ),
    "a result of another type than it has": (
        lambda graph: setattr(graph.nodes[0].outputs[0], "dtype", graph_pb2.SCALAR_TYPE_INT64),
        "graph.nodes[0]",
        "",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_at_the_place(server: Server, name: str) -> None:
    change, field, words = HOSTILE[name]
    built = graphs.mlp()
    graph = graph_pb2.Graph()
    graph.CopyFrom(built.graph)
    change(graph)
    error = refusal(server, graph, built)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    matching = [each for each in violations if each.field.startswith(field)]
    assert matching, violations
    assert words in matching[0].description
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("nnlint.protos.v1", "INVALID")


def test_a_graph_that_is_no_graph_is_refused(server: Server) -> None:
    content = b"\xff" * 100
    upload(server.stub, {b"": content})
    request = graphs.mlp().request(probe_id=os.urandom(16))
    request.graph.CopyFrom(graphs.digest_of(content))
    with pytest.raises(grpc.RpcError) as raised:
        list(server.stub.RunProbe(request, timeout=30))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "graph: not a serialised Graph"


def test_a_request_wrong_in_every_field_names_each(server: Server) -> None:
    request = pb.RunProbeRequest(probe_id=b"short", keep_alive_seconds=-1)
    request.graph.sha256, request.graph.size_bytes = b"short", 1 << 60
    request.settings.device = request.settings.precision = 99  # type: ignore[assignment]
    request.settings.seconds = float("nan")
    gradients = request.settings.experiments.add().gradients
    gradients.samples = 1 << 60
    gradients.optimizer.learning_rate = float("inf")
    gradients.optimizer.adamw.beta1 = 1.0
    with pytest.raises(grpc.RpcError) as raised:
        list(server.stub.RunProbe(request, timeout=30))
    violations = detail(raised.value, error_details_pb2.BadRequest).field_violations
    assert {each.field for each in violations} == {
        "probe_id",
        "graph.sha256",
        "graph.size_bytes",
        "keep_alive_seconds",
        "settings.device",
        "settings.precision",
        "settings.seconds",
        "settings.experiments",
        "settings.experiments[0].gradients.steps",
        "settings.experiments[0].gradients.samples",
        "settings.experiments[0].gradients.optimizer.learning_rate",
        "settings.experiments[0].gradients.optimizer.adamw.beta1",
    }
    assert raised.value.details().startswith("probe_id: 5 bytes")


def test_missing_blobs_are_named(server: Server) -> None:
    builder = graphs.Builder()
    x = builder.linear(builder.input(8, 33), 8, 33, 7)
    built = builder.build(builder.call("aten.sum.default", x, shape=()))
    with pytest.raises(grpc.RpcError) as raised:
        list(server.start(built))
    graph = graphs.digest_of(built.serialised)
    assert missing(raised.value) == {f"blobs/{graph.sha256.hex()}/{graph.size_bytes}"}
    upload(server.stub, {b"": built.serialised})
    with pytest.raises(grpc.RpcError) as raised:
        list(server.start(built))
    assert missing(raised.value) == {
        f"blobs/{sha256.hex()}/{len(content)}" for sha256, content in built.blobs.items()
    }
    upload(server.stub, dict(built.blobs))
    assert list(events(server.start(built)))[-1].HasField("result")


def missing(error: grpc.RpcError) -> set[str]:
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    violations = detail(error, error_details_pb2.PreconditionFailure).violations
    assert {each.type for each in violations} == {"MISSING"}
    return {each.subject for each in violations}


def test_the_details_of_an_error_stay_below_four_kilobytes(server: Server) -> None:
    digests = [graph_pb2.Digest(sha256=b"x", size_bytes=1)] * 5000
    with pytest.raises(grpc.RpcError) as raised:
        server.stub.FindMissingBlobs(pb.FindMissingBlobsRequest(digests=digests), timeout=10)
    violations = detail(raised.value, error_details_pb2.BadRequest).field_violations
    assert 0 < len(violations) < 100
    assert "(and 4999 more)" in raised.value.details()


A, B = b"a" * 100, b"b" * 100


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ([Part(data=A, last=True)], "parts[0].digest", "the first piece of a blob has a digest"),
        (
            [Part(digest=graphs.digest_of(A), data=B, last=True)],
            "parts[0]",
            "has the SHA-256",
        ),
        ([Part(digest=graphs.digest_of(A), data=A[:9], last=True)], "parts[0]", "has 9 bytes"),
        ([Part(digest=graphs.digest_of(A), data=A + A)], "parts[0]", "has more than 100 bytes"),
        (
            [Part(digest=graphs.digest_of(A), data=A[:9]), Part(digest=graphs.digest_of(B))],
            "parts[1].digest",
            "has had no last piece",
        ),
        ([Part(digest=graphs.digest_of(A), data=A)], "parts", "the stream ended within blob"),
        (
            [Part(digest=graph_pb2.Digest(sha256=b"../../etc/passwd", size_bytes=1))],
            "parts[0].digest.sha256",
            "a SHA-256 has 32",
        ),
        (
            [Part(digest=graph_pb2.Digest(sha256=graphs.digest_of(b"").sha256, size_bytes=1))],
            "parts[0].digest.size_bytes",
            "1 is not the size",
        ),
    ],
)
def test_a_wrong_upload_is_refused_and_leaves_nothing(
    server: Server, parts: list[Any], field: str, words: str
) -> None:
    before = server.blobs()
    with pytest.raises(grpc.RpcError) as raised:
        server.stub.UploadBlobs(iter([pb.UploadBlobsRequest(parts=parts)]), timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = detail(raised.value, error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    assert words in violation.description
    assert server.blobs() == before


def test_a_blob_above_the_limit_is_refused_before_it_is_sent(server: Server) -> None:
    digest = graph_pb2.Digest(sha256=b"x" * 32, size_bytes=1 << 50)
    messages = iter([pb.UploadBlobsRequest(parts=[Part(digest=digest)])])
    with pytest.raises(grpc.RpcError) as raised:
        server.stub.UploadBlobs(messages, timeout=10)
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE


def test_blobs_of_before_the_wrong_one_are_stored(server: Server) -> None:
    right, wrong = os.urandom(64), os.urandom(64)
    parts = [
        Part(digest=graphs.digest_of(right), data=right, last=True),
        Part(digest=graphs.digest_of(wrong), data=right, last=True),
    ]
    with pytest.raises(grpc.RpcError):
        server.stub.UploadBlobs(iter([pb.UploadBlobsRequest(parts=parts)]), timeout=10)
    asked = pb.FindMissingBlobsRequest(digests=map(graphs.digest_of, (right, wrong)))
    found = server.stub.FindMissingBlobs(asked, timeout=10)
    assert list(found.missing) == [graphs.digest_of(wrong)]


def test_a_flipped_byte_in_a_weight_is_found_by_the_worker(server: Server) -> None:
    builder = graphs.Builder(seed=5)
    x = builder.linear(builder.input(8, 21), 8, 21, 9)
    built = builder.build(builder.call("aten.sum.default", x, shape=()))
    server.upload(built)
    for sha256 in built.blobs:
        path = server.store / "blobs" / sha256.hex()[:2] / sha256.hex()
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    with pytest.raises(grpc.RpcError) as raised:
        list(server.start(built))
    assert len(missing(raised.value)) == len(built.blobs)
    assert server.run(built)[-1].HasField("result")
