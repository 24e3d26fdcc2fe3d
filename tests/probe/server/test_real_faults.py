"""Real graphs that ask too much: of time, of memory, of an operator. No stand-ins here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server.servers import Server, eventually, serving, wait_for

Result = measurement_pb2.Result
GIB = 1 << 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults")
    with serving(folder, executor="", memory_bytes=2 * GIB) as server:
        server.settle()
        yield server


@pytest.fixture(autouse=True)
def clean(server: Server) -> Iterator[None]:
    yield
    server.check_clean()


def endless() -> graphs.Built:
    """Return a graph of matrix products that takes minutes."""
    builder = graphs.Builder(batch_size=1)
    size = 1500
    weight = builder.tensor(
        graph_pb2.Tensor.ROLE_INPUT, (size, size), normal={"mean": 0.0, "standard_deviation": 0.02}
    )
    x = builder.call(
        "aten.mul.Tensor", weight, builder.parameter(1, values=[1.0]), shape=(size, size)
    )
    for _ in range(100):
        x = builder.call("aten.mm.default", x, weight, shape=(size, size))
    return builder.build(builder.call("aten.sum.default", x, shape=()))


def test_a_graph_that_takes_too_long_is_ended_in_time(server: Server) -> None:
    server.upload(endless())
    stream = server.start(endless(), steps=100, seconds=1.0)
    wait_for(stream, "stage", kind=pb.Stage.KIND_RUNNING)
    began = time.monotonic()
    result = wait_for(stream, "result").result
    assert time.monotonic() - began < 6
    assert result.status == Result.STATUS_TIMED_OUT
    assert 0 <= result.node < 102


def test_a_graph_that_runs_can_be_stopped_within_two_seconds(server: Server) -> None:
    server.upload(endless())
    stream = server.start(endless(), steps=100)
    wait_for(stream, "stage", kind=pb.Stage.KIND_RUNNING)
    worker = server.worker()
    began = time.monotonic()
    stream.cancel()
    eventually(lambda: not worker.is_running(), "the worker's end")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("gigabytes", [2, 6])
def test_a_graph_that_takes_too_much_memory_says_how_much(server: Server, gigabytes: int) -> None:
    builder = graphs.Builder(batch_size=1)
    elements = gigabytes * GIB // 4
    zeros = builder.call("aten.zeros.default", [elements], shape=(elements,))
    scaled = builder.call(
        "aten.mul.Tensor", zeros, builder.parameter(1, values=[1.0]), shape=(elements,)
    )
    built = builder.build(builder.call("aten.sum.default", scaled, shape=()))
    result = server.run(built, steps=1)[-1].result
    assert result.status == Result.STATUS_OUT_OF_MEMORY, result
    assert result.estimated_bytes >= gigabytes * GIB


def test_an_operator_that_fails_is_named(server: Server) -> None:
    builder = graphs.Builder(batch_size=8)
    table = builder.parameter(10, 4)
    index = builder.labels(1000, 8)  # beyond the table
    x = builder.call("aten.embedding.default", table, index, shape=(8, 4))
    built = builder.build(builder.call("aten.sum.default", x, shape=()))
    result = server.run(built)[-1].result
    assert result.status == Result.STATUS_OPERATOR_FAILED
    assert result.node == 0
    assert "index" in result.message
    assert str(Path.cwd()) not in result.message


def test_a_worker_killed_in_a_real_graph_names_the_node(server: Server) -> None:
    server.upload(endless())
    stream = server.start(endless(), steps=100)
    wait_for(stream, "stage", kind=pb.Stage.KIND_RUNNING)
    server.worker().kill()
    result = wait_for(stream, "result").result
    assert result.status == Result.STATUS_WORKER_CRASHED
    assert 0 <= result.node < 102
