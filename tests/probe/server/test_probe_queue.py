"""The queue is bounded and fair; events are numbered, bounded, and can be followed from anywhere."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc
import pytest

from nnlint.probe_service.server import probes as probes_module
from nnlint.probe_service.server.probes import Probe, Probes, State
from nnlint.probe_service.server.queue import FairQueue
from nnlint.probe_service.server.refusals import RefusedError
from nnlint.probe_service.server.store import Lease
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

COMPLETED = measurement_pb2.Result(status=measurement_pb2.Result.STATUS_COMPLETED)


def probe(client: str = "a", keep_alive: float = 0.0) -> Probe:
    request = pb.RunProbeRequest(probe_id=os.urandom(16), keep_alive_seconds=keep_alive)
    return Probe(request, client=client, kind="cpu", lease=Lease())


def step(number: int, values: int = 0) -> measurement_pb2.StepStatistics:
    return measurement_pb2.StepStatistics(
        step=number, loss=0.5, measured=True, activation_rms=[1.0] * values
    )


def positions(waiting: Probe) -> list[int]:
    return [event.stage.position for event in waiting._events]


async def taken(queue: FairQueue, count: int) -> list[Probe]:
    return [await queue.take() for _ in range(count)]


def test_clients_are_served_in_turn() -> None:
    queue = FairQueue(20)
    given = [probe(client) for client in "aaaabbc"]
    for each in given:
        queue.put(each)
    order = queue.order()
    assert "".join(each.client for each in order) == "abcabaa"
    assert asyncio.run(taken(queue, 7)) == order
    assert len(queue) == 0


def test_a_clients_own_probes_keep_their_order() -> None:
    queue = FairQueue(20)
    given = [probe() for _ in range(4)]
    for each in given:
        queue.put(each)
    assert asyncio.run(taken(queue, 4)) == given


def test_one_client_has_half_of_the_queue() -> None:
    queue = FairQueue(4)
    queue.put(probe("a"))
    queue.put(probe("a"))
    with pytest.raises(RefusedError) as raised:
        queue.put(probe("a"))
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    queue.put(probe("b"))
    queue.put(probe("c"))
    with pytest.raises(RefusedError, match="4 probes are waiting, 0 of them yours"):
        queue.put(probe("d"))


def test_those_who_wait_are_told_their_place() -> None:
    queue = FairQueue(20)
    first, second, other = probe("a"), probe("a"), probe("b")
    for each in (first, second, other):
        queue.put(each)
    assert (positions(first), positions(second), positions(other)) == ([0], [1, 2], [1])
    asyncio.run(taken(queue, 1))
    assert positions(second) == [1, 2, 1]
    assert queue.remove(other)
    assert not queue.remove(other)
    assert positions(second) == [1, 2, 1, 0]


def test_whoever_waits_for_a_probe_gets_the_next_one() -> None:
    async def play() -> None:
        queue = FairQueue(2)
        takers = [asyncio.create_task(queue.take()) for _ in range(2)]
        await asyncio.sleep(0)
        first, second = probe("a"), probe("b")
        queue.put(first)
        queue.put(second)
        assert {await each for each in takers} == {first, second}

    asyncio.run(play())


def test_giving_up_the_wait_loses_no_probe() -> None:
    async def play() -> None:
        queue = FairQueue(2)
        taker = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        waiting = probe()
        queue.put(waiting)
        taker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taker
        assert queue.order() == [waiting]

    asyncio.run(play())


async def followed(each: Probe, first: int) -> list[int]:
    stream = each.attach()
    return [event.sequence async for event in each.follow(stream, first)]


@pytest.mark.parametrize("first", [1, 3, 5, 6])
def test_events_can_be_followed_from_any_number(first: int) -> None:
    async def play() -> list[int]:
        each = probe()
        for number in range(3):
            each.add(step(number))
        following = asyncio.create_task(followed(each, first))
        await asyncio.sleep(0)
        each.add(step(3))
        each.end(COMPLETED)
        return await following

    assert asyncio.run(play()) == list(range(first, 6))


def test_another_stream_ends_the_one_of_before() -> None:
    async def play() -> None:
        each = probe()
        each.add(step(0))
        old = asyncio.create_task(followed(each, 1))
        await asyncio.sleep(0)
        new = asyncio.create_task(followed(each, 1))
        with pytest.raises(RefusedError) as raised:
            await old
        assert raised.value.code is grpc.StatusCode.ABORTED
        each.end(COMPLETED)
        assert await new == [1, 2]

    asyncio.run(play())


def test_a_probe_without_a_client_is_cancelled_at_once_or_after_its_keep_alive_time() -> None:
    async def play() -> None:
        at_once, later, saved = probe(), probe(keep_alive=0.01), probe(keep_alive=0.01)
        for each in (at_once, later, saved):
            each.detach(each.attach())
        assert at_once.cancelled.is_set()
        assert not later.cancelled.is_set()
        saved.attach()
        async with asyncio.timeout(5):
            await later.cancelled.wait()
        assert not saved.cancelled.is_set()

    asyncio.run(play())


def test_leaving_late_does_not_end_what_another_follows() -> None:
    async def play() -> None:
        each = probe()
        old = each.attach()
        each.attach()
        each.detach(old)
        assert not each.cancelled.is_set()

    asyncio.run(play())


def test_a_full_buffer_drops_the_arrays_of_old_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes_module, "BUFFER_BYTES", 10_000)

    async def play() -> list[Any]:
        each = probe()
        for number in range(20):
            each.add(step(number, values=500))
            assert each.buffered <= 10_000
        each.end(COMPLETED)
        assert each.buffered == sum(event.ByteSize() for event in each._events)
        return [event async for event in each.follow(each.attach(), 1)]

    events = asyncio.run(play())
    assert [event.sequence for event in events] == list(range(1, 22))
    assert [event.step.loss for event in events[:-1]] == [0.5] * 20
    assert [event.step.measured for event in events[:-1]] == [False] * 16 + [True] * 4


def test_an_ended_probe_is_known_for_a_minute() -> None:
    async def play() -> None:
        now = 0.0
        known = Probes(lambda: now)
        each = probe()
        known.add(each)
        assert known.find(each.id, "a") is each
        with pytest.raises(RefusedError, match="no such probe"):
            known.find(each.id, "b")
        each.end(COMPLETED)
        now = each.ended + 59
        assert known.find(each.id, "a") is each
        with pytest.raises(RefusedError, match="probe with this id"):
            known.add(each)
        now = each.ended + 61
        with pytest.raises(RefusedError, match="no such probe"):
            known.find(each.id, "a")
        known.add(each)

    asyncio.run(play())


def test_the_id_of_a_refused_probe_may_be_used_again() -> None:
    async def play() -> None:
        known = Probes()
        each = probe()
        known.add(each)
        each.end(RefusedError.missing([]))
        again = Probe(each.request, client="a", kind="cpu", lease=Lease())
        known.add(again)
        assert known.find(each.id, "a") is again
        assert known.active() == [again]

    asyncio.run(play())


def test_the_events_of_all_probes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes_module, "ALL_BYTES", 30_000)

    async def play() -> None:
        known = Probes()
        given = [probe() for _ in range(10)]
        for each in given:
            known.add(each)
            each.add(step(0, values=1000))
            each.end(COMPLETED)
        known.sweep()
        assert sum(each.buffered for each in known._known.values()) <= 30_000
        assert known.find(given[-1].id, "a").state is State.ENDED

    asyncio.run(play())
