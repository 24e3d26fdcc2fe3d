from __future__ import annotations

import signal
import threading
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from nnlint.errors import (
    BusyError,
    IncompatibleError,
    RefusedError,
    ServiceError,
    UnauthenticatedError,
    UnreachableError,
)
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client import channel
from nnlint.probe_service.client.address import Address, parse_address
from nnlint.probe_service.client.session import Session, Watch
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import (
    COMPLETED,
    Fake,
    bad_request,
    capture_of,
    fail,
    missing,
    retry_after,
    whole_story,
)
from tests.probe.graphs import mlp

OPTIONS = ProbeOptions(steps=2)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Notes(Watch):
    def __init__(self) -> None:
        self.events: list[pb.ProbeEvent] = []
        self.said: list[str] = []
        self.uploads: list[tuple[int, int]] = []

    def uploading(self, sent: int, total: int) -> None:
        self.uploads.append((sent, total))

    def event(self, event: pb.ProbeEvent) -> None:
        self.events.append(event)

    def waiting(self, reason: str, seconds: float) -> None:
        self.said.append(f"waiting: {reason}")

    def restarted(self) -> None:
        self.said.append("restarted")

    def halved(self, batch_size: int) -> None:
        self.said.append(f"halved: {batch_size}")


@pytest.fixture
def watch() -> Notes:
    return Notes()


@pytest.fixture
def session(fake: Fake, address: Address, watch: Notes) -> Any:
    assert fake.log == []
    with Session(address, watch=watch, patience=5) as session:
        yield session


def raising(code: Any, message: str = "not now", *details: Any) -> Any:
    return lambda _, context: fail(context, code, message, *details)


def cut_after(number: int, code: Any = UNAVAILABLE) -> Any:
    """Tell the first events of the story, then lose the connection."""

    def script(_: Any, context: Any) -> Any:
        yield from whole_story()[:number]
        if code is not None:
            fail(context, code, "connection lost")

    return script


def test_a_probe_is_uploaded_run_and_followed_to_its_result(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    outcome = session.probe(capture, OPTIONS)
    assert outcome.result.status == COMPLETED
    assert [step.loss for step in outcome.steps] == [2.0, 1.0]
    assert list(outcome.plan.nodes) == [0]
    assert [event.sequence for event in watch.events] == [1, 2, 3, 4, 5, 6]
    assert set(fake.stored) >= set(capture.blobs)
    assert capture.graph in fake.stored.values()
    assert outcome.uploaded.blobs == len(capture.blobs) + 1
    total = sum(map(len, capture.blobs.values())) + len(capture.graph)
    assert outcome.uploaded.size == total
    assert watch.uploads[-1] == (total, total)
    assert fake.names()[-1] == "run"


def test_the_second_probe_sends_no_blob_again(
    fake: Fake, session: Session, capture: Capture
) -> None:
    session.probe(capture, OPTIONS)
    before = session.service.bytes_sent
    outcome = session.probe(capture, OPTIONS)
    assert outcome.uploaded.size == 0
    assert fake.names().count("upload") == 1
    assert session.service.bytes_sent - before < 2_000
    assert fake.names().count("capabilities") == 1


def test_options_become_the_request(fake: Fake, session: Session, capture: Capture) -> None:
    options = ProbeOptions(
        steps=5,
        samples=77,
        device="cpu",
        precision="bfloat16",
        optimizer="adamw",
        learning_rate=0.5,
        weight_decay=0.25,
        seed=9,
        seconds=10_000,
        deterministic=True,
    )
    session.probe(capture, options)
    request = fake.requests("run")[0]
    settings = request.settings
    assert len(request.probe_id) == 16
    assert request.keep_alive_seconds == 10
    assert settings.device == pb.ProbeSettings.DEVICE_KIND_CPU
    assert settings.precision == pb.ProbeSettings.PRECISION_BFLOAT16
    assert (settings.seed, settings.seconds, settings.deterministic) == (9, 600, True)
    gradients = settings.experiments[0].gradients
    assert (gradients.steps, gradients.samples) == (5, 77)
    assert (gradients.optimizer.learning_rate, gradients.optimizer.weight_decay) == (0.5, 0.25)
    assert gradients.optimizer.WhichOneof("algorithm") == "adamw"
    session.probe(capture, ProbeOptions(momentum=0.9))
    gradients = fake.requests("run")[1].settings.experiments[0].gradients
    assert gradients.optimizer.learning_rate == 0.01
    assert gradients.optimizer.sgd.momentum == 0.9


def test_every_call_has_a_deadline_and_the_token(
    fake: Fake, address: Address, capture: Capture
) -> None:
    known = Address(path=address.path, token="sesame")  # noqa: S106 - a test's
    with Session(known) as session:
        for kind in ("capabilities", "missing", "upload", "run"):
            session.probe(capture, OPTIONS)
            assert fake.metadata["authorization"] == "Bearer sesame", kind
            assert fake.remaining is not None


@pytest.mark.parametrize("kind", ["capabilities", "missing", "upload"])
def test_a_service_that_is_away_for_a_moment_is_asked_again(
    kind: str, fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    def works(request: Any, context: Any) -> Any:
        fake.scripts[kind] = []
        method = {
            "capabilities": fake.GetCapabilities,
            "missing": fake.FindMissingBlobs,
            "upload": fake.UploadBlobs,
        }[kind]
        return method(request, context)

    fake.script(kind, raising(UNAVAILABLE), raising(UNAVAILABLE), works)
    assert session.probe(capture, OPTIONS).result.status == COMPLETED
    assert len(watch.said) == 2
    assert "not now" in watch.said[0]


def test_patience_ends(fake: Fake, address: Address, capture: Capture) -> None:
    fake.script("capabilities", raising(UNAVAILABLE, "draining"))
    with (
        Session(address, patience=0.3) as session,
        pytest.raises(UnreachableError, match="draining"),
    ):
        session.probe(capture, OPTIONS)


@pytest.mark.parametrize("number", range(6))
def test_a_lost_connection_goes_on_where_it_broke_off(
    number: int, fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    fake.script("run", cut_after(number))
    outcome = session.probe(capture, OPTIONS)
    assert [event.sequence for event in watch.events] == [1, 2, 3, 4, 5, 6]
    assert [step.step for step in outcome.steps] == [0, 1]
    attach = fake.requests("attach")[0]
    assert attach.from_sequence == number + 1
    assert attach.probe_id == fake.requests("run")[0].probe_id


def test_a_stream_that_ends_without_a_result_is_taken_up_again(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    fake.script("run", cut_after(3, None))
    session.probe(capture, OPTIONS)
    assert [event.sequence for event in watch.events] == [1, 2, 3, 4, 5, 6]


def test_a_missing_event_is_asked_for_and_one_told_twice_is_taken_once(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    story = whole_story()
    fake.script("run", lambda *_: iter([story[0], story[1], story[1], story[3]]))
    outcome = session.probe(capture, OPTIONS)
    assert [event.sequence for event in watch.events] == [1, 2, 3, 4, 5, 6]
    assert list(outcome.plan.nodes) == [0]
    assert fake.requests("attach")[0].from_sequence == 3


def test_a_probe_that_the_service_has_forgotten_is_run_again(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    fake.script("run", cut_after(4), lambda *_: iter(whole_story()))
    fake.script("attach", raising(grpc.StatusCode.NOT_FOUND))
    outcome = session.probe(capture, OPTIONS)
    assert [step.step for step in outcome.steps] == [0, 1]
    first, second = fake.requests("run")
    assert first.probe_id != second.probe_id
    assert "restarted" in watch.said


def test_a_probe_that_is_lost_again_and_again_is_given_up(
    fake: Fake, session: Session, capture: Capture
) -> None:
    fake.script("run", cut_after(4))
    fake.script("attach", raising(grpc.StatusCode.NOT_FOUND))
    with pytest.raises(UnreachableError, match="lost the probe 3 times"):
        session.probe(capture, OPTIONS)


def test_blobs_that_went_meanwhile_are_sent_once_more(
    fake: Fake, session: Session, capture: Capture
) -> None:
    gone = next(iter(capture.blobs))
    code = grpc.StatusCode.FAILED_PRECONDITION
    fake.script("run", raising(code, "gone", missing(gone)), lambda *_: iter(whole_story()))
    outcome = session.probe(capture, OPTIONS)
    assert outcome.result.status == COMPLETED
    assert fake.names().count("upload") == 2
    assert fake.names().count("missing") == (len(capture.blobs) + 1 + 2) // 3
    fake.script("run", raising(code, "gone", missing(gone)))
    with pytest.raises(ServiceError, match="gone"):
        session.probe(capture, OPTIONS)


def test_a_full_queue_is_waited_for(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    full = raising(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", retry_after(0.2))
    fake.script("run", full, full, full, full, lambda *_: iter(whole_story()))
    assert session.probe(capture, OPTIONS).result.status == COMPLETED
    assert len(watch.said) == 4
    assert "the queue is full" in watch.said[0]


def test_a_queue_that_stays_full_is_an_error(
    fake: Fake, address: Address, capture: Capture
) -> None:
    fake.script(
        "run", raising(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", retry_after(1))
    )
    with Session(address, patience=0.3) as session, pytest.raises(BusyError, match="queue is full"):
        session.probe(capture, OPTIONS)


def test_a_refused_graph_is_told_at_the_users_line(
    fake: Fake, session: Session, capture: Capture
) -> None:
    details = bad_request(
        ("graph.nodes[1].arguments[0]", "the shapes (3,) and (4,) do not match"),
        ("graph.tensors[2].shape", "has too many elements"),
        ("settings.seed", "is too large"),
        ("settings.steps", "are too many"),
    )
    fake.script("run", raising(grpc.StatusCode.INVALID_ARGUMENT, "malformed", details))
    with pytest.raises(RefusedError) as caught:
        session.probe(capture, OPTIONS)
    message = str(caught.value)
    assert "net.py:11 (fc1): the shapes (3,) and (4,) do not match" in message
    assert "tensor2: has too many elements" in message
    assert message.endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "wants a token"), ("wrong", "does not accept the token")],
)
def test_a_wrong_token_is_told_apart_from_none(
    token: str, said: str, fake: Fake, address: Address, capture: Capture
) -> None:
    fake.script("capabilities", raising(grpc.StatusCode.UNAUTHENTICATED))
    with (
        Session(Address(path=address.path, token=token)) as session,
        pytest.raises(UnauthenticatedError, match=said) as caught,
    ):
        session.probe(capture, OPTIONS)
    assert "NNLINT_TOKEN" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"newest_format_version": 0, "oldest_format_version": 0}, {}, "too old"),
        ({"newest_format_version": 3, "oldest_format_version": 2}, {}, "too new"),
        ({}, {"device": "cuda"}, "no cuda device"),
        ({}, {"precision": "autocast-float16"}, "needs a cuda device"),
        ({}, {"steps": 1000}, "1000 steps are more than the 100"),
        ({"operators": ["aten.relu.default"]}, {}, "does not run aten.cross_entropy_loss"),
    ],
)
def test_what_the_service_cannot_do_is_said_before_anything_is_sent(
    change: Any, options: Any, said: str, fake: Fake, session: Session, capture: Capture
) -> None:
    for name, value in change.items():
        if isinstance(value, list):
            fake.capabilities.ClearField(name)
            fake.capabilities.operators.extend(value)
        else:
            setattr(fake.capabilities, name, value)
    with pytest.raises((IncompatibleError, RefusedError), match=said):
        session.probe(capture, ProbeOptions(**options))
    assert set(fake.names()) == {"capabilities"}


def test_a_tensor_above_the_limit_is_named(fake: Fake, session: Session, capture: Capture) -> None:
    fake.capabilities.limits.elements = 10
    with pytest.raises(RefusedError, match=r"96 elements of tensor0 are more than the 10"):
        session.probe(capture, OPTIONS)


def out_of_memory(*_: Any) -> Any:
    result = measurement_pb2.Result(status=measurement_pb2.Result.STATUS_OUT_OF_MEMORY)
    return iter([pb.ProbeEvent(sequence=1, result=result)])


def test_the_batch_is_halved_until_it_fits_on_request_alone(
    fake: Fake, session: Session, capture: Capture, watch: Notes
) -> None:
    fake.script("run", out_of_memory, out_of_memory, lambda *_: iter(whole_story()))
    fitting = ProbeOptions(fit_batch=True)
    outcome = session.probe(capture, fitting, lambda size: capture_of(mlp(batch=size)))
    assert outcome.result.status == COMPLETED
    assert outcome.capture.batch_size == 2
    assert watch.said == ["halved: 4", "halved: 2"]
    fake.script("run", out_of_memory)
    assert session.probe(capture, OPTIONS).result.status != COMPLETED
    outcome = session.probe(capture, fitting, lambda size: capture_of(mlp(batch=size)))
    assert outcome.capture.batch_size == 1
    assert outcome.result.status == measurement_pb2.Result.STATUS_OUT_OF_MEMORY


def test_an_interrupt_cancels_the_probe(fake: Fake, session: Session, capture: Capture) -> None:
    def endless(*_: Any) -> Any:
        yield whole_story()[0]
        signal.raise_signal(signal.SIGINT)
        fake.cancelled.wait(20)

    fake.script("run", endless)
    with pytest.raises(KeyboardInterrupt):
        session.probe(capture, OPTIONS)
    assert fake.cancelled.wait(20)
    assert fake.requests("cancel")[0].probe_id == fake.requests("run")[0].probe_id


def test_a_channel_that_cannot_be_closed_holds_nobody_up(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an interrupt within gRPC's own code, which leaves a call that nothing drains."""
    release = threading.Event()
    monkeypatch.setattr(channel, "CLOSE_SECONDS", 0.05)
    try:
        with channel.Service(address) as service:
            service._channel.close()
            monkeypatch.setattr(service, "_channel", SimpleNamespace(close=release.wait))
    finally:
        assert not release.is_set()
        release.set()


def test_nobody_there_is_said_with_what_to_do(address: Address, capture: Capture) -> None:
    with (
        Session(address, patience=0.2) as session,
        pytest.raises(UnreachableError, match="does not exist") as caught,
    ):
        session.probe(capture, OPTIONS)
    assert "nnlint serve" in caught.value.hint
    with (
        Session(parse_address("localhost:1"), patience=0.2) as session,
        pytest.raises(UnreachableError, match=r"localhost:1 refuses the connection"),
    ):
        session.probe(capture, OPTIONS)


def test_a_slow_service_runs_into_the_deadline(
    fake: Fake, session: Session, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    fake.script("capabilities", lambda *_: release.wait(20) and fake.capabilities)
    monkeypatch.setattr("nnlint.probe_service.client.channel.ANSWER_SECONDS", 0.1)
    with pytest.raises(UnreachableError, match="does not answer in time"):
        session.probe(capture, OPTIONS)
    release.set()
