"""Whatever a client's connection goes through, it can have every event once, in order."""

from __future__ import annotations

import os
import random
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from nnlint.protos.v1 import measurement_pb2, probe_service_pb2_grpc
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server import fakes
from tests.probe.server.servers import Server, eventually, wait_for

Result = measurement_pb2.Result
STEPS = 40


def attach(server: Server, probe_id: bytes, first: int) -> Any:
    request = pb.AttachProbeRequest(probe_id=probe_id, from_sequence=first)
    return server.stub.AttachProbe(request, timeout=30)


def code_of(stream: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        list(stream)
    return raised.value.code()


def begin(server: Server, seed: int = fakes.SLOW, **options: Any) -> tuple[bytes, Any]:
    server.upload(graphs.mlp())
    given = {"probe_id": os.urandom(16), "keep_alive_seconds": 20, "steps": STEPS, **options}
    return given["probe_id"], server.start(graphs.mlp(), seed=seed, **given)


@pytest.mark.parametrize("seed", range(5))
def test_a_broken_stream_is_joined_again_without_gap_or_duplicate(
    fake_server: Server, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible
    probe_id, stream = begin(fake_server)
    channel, history = None, []
    while not (history and history[-1].HasField("result")):
        room = chance.randrange(1, 12)
        try:
            for response in stream:
                history.append(response.event)
                room -= 1
                if not room:
                    break
        except grpc.RpcError:
            # It was cancelled, or its connection closed; any event before that has arrived.
            assert not history[-1].HasField("result")
        if history[-1].HasField("result"):
            break
        how = chance.choice(["cancel", "close", "take over"])
        if how == "cancel":
            stream.cancel()
        if how == "close" and channel is not None:
            channel.close()
            channel = None
        if channel is None:
            channel = grpc.insecure_channel(fake_server.address)
        stub: Any = probe_service_pb2_grpc.ProbeServiceStub(channel)
        request = pb.AttachProbeRequest(probe_id=probe_id, from_sequence=len(history) + 1)
        stream = stub.AttachProbe(request, timeout=30)
    assert [event.sequence for event in history] == list(range(1, len(history) + 1))
    steps = [event.step for event in history if event.HasField("step")]
    assert [step.step for step in steps] == list(range(STEPS))
    assert all(step.measured for step in steps)
    assert history[-1].result.status == Result.STATUS_COMPLETED
    if channel is not None:
        channel.close()
    fake_server.check_clean()


def test_the_stream_of_before_ends_with_aborted(fake_server: Server) -> None:
    probe_id, first = begin(fake_server)
    wait_for(first, "step")
    second = attach(fake_server, probe_id, 1)
    events = [next(second).event]
    assert code_of(first) is grpc.StatusCode.ABORTED
    events += [response.event for response in second]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].result.status == Result.STATUS_COMPLETED


def test_an_ended_probe_can_be_read_again_from_anywhere(fake_server: Server) -> None:
    probe_id, stream = begin(fake_server, fakes.FAST)
    events = [response.event for response in stream]
    for first in (1, 5, len(events)):
        again = [response.event for response in attach(fake_server, probe_id, first)]
        assert again == events[first - 1 :]
    assert list(attach(fake_server, probe_id, len(events) + 1)) == []
    for first in (0, len(events) + 2, 1 << 63):
        late = attach(fake_server, probe_id, first)
        assert code_of(late) is grpc.StatusCode.OUT_OF_RANGE


def test_a_lost_client_keeps_its_probe_for_the_time_it_asked_for(fake_server: Server) -> None:
    probe_id, stream = begin(fake_server, fakes.HANG, keep_alive_seconds=0.3)
    wait_for(stream, "stage", kind=pb.Stage.KIND_RUNNING)
    worker = fake_server.worker()
    stream.cancel()
    assert worker.is_running()
    eventually(lambda: not worker.is_running(), "the end after the keep-alive time", 5)
    last = list(attach(fake_server, probe_id, 1))[-1].event
    assert last.result.status == Result.STATUS_CANCELLED
    fake_server.check_clean()


def test_a_probe_that_ended_while_nobody_listened_has_its_result(fake_server: Server) -> None:
    probe_id, stream = begin(fake_server, steps=10)
    wait_for(stream, "step")
    worker = fake_server.worker()
    stream.cancel()
    eventually(lambda: not worker.is_running(), "the end of the probe")
    events = [response.event for response in attach(fake_server, probe_id, 1)]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].result.steps == 10


def test_no_probe_is_found_by_a_wrong_id(fake_server: Server) -> None:
    unknown = os.urandom(16)
    assert code_of(attach(fake_server, unknown, 1)) is grpc.StatusCode.NOT_FOUND
    assert code_of(attach(fake_server, b"short", 1)) is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as raised:
        fake_server.stub.CancelProbe(pb.CancelProbeRequest(probe_id=unknown), timeout=10)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_id_names_one_probe(fake_server: Server) -> None:
    probe_id, stream = begin(fake_server, fakes.FAST)
    list(stream)
    again = fake_server.start(graphs.mlp(), probe_id=probe_id)
    assert code_of(again) is grpc.StatusCode.ALREADY_EXISTS


def test_a_refused_attachment_says_why_again(fake_server: Server) -> None:
    probe_id, stream = begin(fake_server, fakes.REFUSE)
    assert code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(attach(fake_server, probe_id, 1)) is grpc.StatusCode.INVALID_ARGUMENT
    _, stream = begin(fake_server, fakes.FAST, probe_id=probe_id)
    assert list(stream)[-1].event.HasField("result")


def test_a_full_queue_says_when_to_try_again(fake_server: Server) -> None:
    first = begin(fake_server, fakes.HANG, keep_alive_seconds=0)[1]
    wait_for(first, "stage", kind=pb.Stage.KIND_RUNNING)
    waiting = [begin(fake_server, fakes.FAST, keep_alive_seconds=0)[1] for _ in range(16)]
    for position, stream in enumerate(waiting):
        wait_for(stream, "stage", position=position)
    with pytest.raises(grpc.RpcError) as raised:
        list(begin(fake_server)[1])
    error = raised.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    retry = error_details_pb2.RetryInfo()
    assert any(each.Unpack(retry) for each in status_pb2.Status.FromString(packed).details)
    assert retry.retry_delay.seconds == 5
    for stream in (first, *waiting):
        stream.cancel()
    fake_server.check_clean()
