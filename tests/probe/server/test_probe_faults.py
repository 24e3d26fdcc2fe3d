"""Whatever happens to a probe, the next one succeeds and nothing is left of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server import fakes
from tests.probe.server.servers import Part, Server, eventually, wait_for

Result = measurement_pb2.Result
RUNNING = {"kind": pb.Stage.KIND_RUNNING}
MIB = 1 << 20


@pytest.fixture
def server(fake_server: Server) -> Iterator[Server]:
    """Check after each test that nothing is left and that the next probe succeeds."""
    fake_server.upload(graphs.mlp())
    yield fake_server
    fake_server.check_clean()


def flip(server: Server, digest: graph_pb2.Digest) -> None:
    """Change one bit of a blob on disk."""
    path = server.store / "blobs" / digest.sha256.hex()[:2] / digest.sha256.hex()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (fakes.ABORT, "by SIGABRT"),
        (fakes.SEGV, "by SIGSEGV"),
        (fakes.KILL, "by SIGKILL"),
        (fakes.EXIT, "with exit code 5"),
    ],
)
def test_a_worker_that_dies_leaves_the_node_it_was_in(
    server: Server, behaviour: int, words: str
) -> None:
    result = server.run(graphs.mlp(), seed=behaviour)[-1].result
    assert result.status == Result.STATUS_WORKER_CRASHED
    assert words in result.message
    assert result.node == 7
    assert result.environment.device == "cpu"


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_is_killed_from_outside_ends_its_probe(server: Server, sent: int) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(stream, "stage", **RUNNING)
    server.worker().send_signal(sent)
    result = wait_for(stream, "result").result
    assert result.status == Result.STATUS_WORKER_CRASHED
    assert result.node == 7


def test_a_keeper_that_is_killed_takes_its_worker_along(server: Server) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(stream, "stage", **RUNNING)
    worker = server.worker()
    server.keepers()[0].kill()
    assert wait_for(stream, "result").result.status == Result.STATUS_WORKER_CRASHED
    eventually(lambda: not worker.is_running(), "the worker's end")


def test_a_spawner_that_is_killed_is_started_again(server: Server) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(stream, "stage", **RUNNING)
    worker, spawner = server.worker(), server.spawner()
    spawner.kill()
    assert wait_for(stream, "result").result.status == Result.STATUS_WORKER_CRASHED
    eventually(lambda: not worker.is_running(), "the worker's end")
    eventually(lambda: server.front.children() not in ([], [spawner]), "another spawner")


def test_a_worker_killed_while_it_waits_is_replaced(server: Server) -> None:
    for _ in range(3):
        worker = server.worker()
        worker.kill()
        result = server.run(graphs.mlp())[-1].result
        assert result.status == Result.STATUS_COMPLETED


@pytest.mark.parametrize("stop", [False, True], ids=["asleep", "stopped"])
def test_a_worker_that_hangs_is_ended_in_time(server: Server, stop: bool) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG, seconds=0.5)
    wait_for(stream, "stage", **RUNNING)
    if stop:
        server.worker().suspend()
    began = time.monotonic()
    result = wait_for(stream, "result").result
    assert time.monotonic() - began < 5
    assert result.status == Result.STATUS_TIMED_OUT
    assert result.message == "The probe was not done within 0.5 seconds."
    assert result.node == 7


def test_what_was_measured_before_a_timeout_has_been_sent(server: Server) -> None:
    events = server.run(graphs.mlp(), seed=fakes.SLOW, steps=1000, seconds=0.5)
    result = events[-1].result
    assert result.status == Result.STATUS_TIMED_OUT
    assert result.steps == sum(event.HasField("step") for event in events) > 3


def test_a_worker_that_stays_after_its_result_is_ended(server: Server) -> None:
    worker = server.worker()
    result = server.run(graphs.mlp(), seed=fakes.STAY)[-1].result
    assert result.status == Result.STATUS_COMPLETED
    eventually(lambda: not worker.is_running(), "the worker's end", 5)


def test_a_worker_that_prints_a_lot_is_not_stopped_by_it(server: Server) -> None:
    result = server.run(graphs.mlp(), seed=fakes.CHATTER, steps=20)[-1].result
    assert result.status == Result.STATUS_COMPLETED


def test_a_graph_that_the_worker_refuses_ends_with_its_violations(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        server.run(graphs.mlp(), seed=fakes.REFUSE)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "graph.nodes[3]: is refused"


def test_a_client_that_goes_while_running_frees_the_device(server: Server) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(stream, "stage", **RUNNING)
    worker = server.worker()
    began = time.monotonic()
    stream.cancel()
    eventually(lambda: not worker.is_running(), "the worker's end")
    assert time.monotonic() - began < 2


def test_a_client_that_goes_while_queued_leaves_the_queue(server: Server) -> None:
    first = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(first, "stage", **RUNNING)
    second = server.start(graphs.mlp())
    wait_for(second, "stage", kind=pb.Stage.KIND_QUEUED)
    second.cancel()
    third = server.start(graphs.mlp())
    wait_for(third, "stage", kind=pb.Stage.KIND_QUEUED, position=0)
    first.cancel()
    assert wait_for(third, "result").result.status == Result.STATUS_COMPLETED


def test_a_client_that_goes_while_streaming_leaves_nothing(server: Server) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.SLOW, steps=1000)
    wait_for(stream, "step")
    stream.cancel()


def test_a_client_that_goes_while_uploading_leaves_nothing(server: Server) -> None:
    content = os.urandom(4 * MIB)

    def half() -> Iterator[pb.UploadBlobsRequest]:
        part = Part(digest=graphs.digest_of(content), data=content[: 2 * MIB])
        yield pb.UploadBlobsRequest(parts=[part])
        eventually(server.incoming, "a file under way")
        call.cancel()

    with ThreadPoolExecutor() as threads:
        call = server.stub.UploadBlobs.future(half(), timeout=30)
        with pytest.raises(grpc.FutureCancelledError):
            threads.submit(call.result).result()
    eventually(lambda: not server.incoming(), "no file under way")


def test_a_call_past_its_deadline_ends_its_probe(server: Server) -> None:
    stream = server.start(graphs.mlp(), seed=fakes.HANG, timeout=0.5)
    worker = server.worker()
    with pytest.raises(grpc.RpcError) as raised:
        wait_for(stream, "result")
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: not worker.is_running(), "the worker's end", 2)


def test_a_reader_that_sleeps_does_not_stop_the_worker(server: Server) -> None:
    steps = 150
    stream = server.start(graphs.mlp(), seed=fakes.LARGE, steps=steps, seconds=20)
    events = [next(stream).event]
    while not events[-1].HasField("plan"):
        events.append(next(stream).event)
    worker = server.worker()
    # 60 MB of events, of which this end reads nothing.
    eventually(lambda: not worker.is_running(), "the worker's end")
    events += [response.event for response in stream]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    measured = [event.step for event in events if event.HasField("step")]
    assert [step.step for step in measured] == list(range(steps))
    assert all(step.loss == 1.0 / (step.step + 1) for step in measured)
    assert measured[-1].measured
    assert not all(step.measured for step in measured)
    assert events[-1].result.status == Result.STATUS_COMPLETED


def test_a_cancelled_probe_ends_within_two_seconds(server: Server) -> None:
    probe_id = os.urandom(16)
    stream = server.start(graphs.mlp(), seed=fakes.HANG, probe_id=probe_id)
    wait_for(stream, "stage", **RUNNING)
    worker = server.worker()
    began = time.monotonic()
    server.stub.CancelProbe(pb.CancelProbeRequest(probe_id=probe_id), timeout=10)
    assert time.monotonic() - began < 2
    assert not worker.is_running()
    assert wait_for(stream, "result").result.status == Result.STATUS_CANCELLED
    server.stub.CancelProbe(pb.CancelProbeRequest(probe_id=probe_id), timeout=10)


def test_a_probe_that_waits_can_be_cancelled(server: Server) -> None:
    first = server.start(graphs.mlp(), seed=fakes.HANG)
    wait_for(first, "stage", **RUNNING)
    probe_id = os.urandom(16)
    second = server.start(graphs.mlp(), probe_id=probe_id)
    wait_for(second, "stage", kind=pb.Stage.KIND_QUEUED)
    server.stub.CancelProbe(pb.CancelProbeRequest(probe_id=probe_id), timeout=10)
    assert wait_for(second, "result").result.status == Result.STATUS_CANCELLED
    first.cancel()


def test_a_flipped_byte_in_a_graph_is_found_before_it_is_used(server: Server) -> None:
    built = graphs.mlp()
    flip(server, graphs.digest_of(built.serialised))
    with pytest.raises(grpc.RpcError) as raised:
        list(server.start(built))
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    asked = pb.FindMissingBlobsRequest(digests=[graphs.digest_of(built.serialised)])
    assert len(server.stub.FindMissingBlobs(asked, timeout=10).missing) == 1
    server.upload(built)


def test_a_hundred_probes_grow_nothing(server: Server) -> None:
    server.run(graphs.mlp())
    before = server.front.memory_info().rss
    for number in range(100):
        stream = server.start(graphs.mlp(), seed=fakes.SLOW if number % 4 else fakes.FAST)
        if number % 4 == 1:
            stream.cancel()
        else:
            assert wait_for(stream, "result").result.status == Result.STATUS_COMPLETED
    assert server.front.memory_info().rss - before < 8 * MIB
