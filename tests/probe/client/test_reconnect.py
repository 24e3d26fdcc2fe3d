"""A real server that goes away in the middle, and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.address import Address
from nnlint.probe_service.client.session import Session, Watch
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import COMPLETED


class Server:
    """`nnlint serve` on a socket and a store that outlive it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.store = folder / "s.sock", folder / "store"
        self.start()

    def start(self) -> None:
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "nnlint", "serve", "--listen", f"unix:{self.path}"),
                *(
                    "--store",
                    str(self.store),
                    "--device",
                    "cpu",
                    "--threads",
                    "1",
                    "--announce",
                    str(writing),
                ),
            ],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as announcement:
            assert json.loads(announcement.readline())["address"]

    def end(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.end(signal.SIGKILL)


class AtStep(Watch):
    """Does something once, at a step of the first run."""

    def __init__(self, step: int, action: object) -> None:
        self.step, self.action = step, action
        self.sequences: list[int] = []
        self.restarts = 0
        self.done = False

    def event(self, event: pb.ProbeEvent) -> None:
        self.sequences.append(event.sequence)
        if not self.done and event.WhichOneof("event") == "step" and event.step.step == self.step:
            self.done = True
            self.action()  # type: ignore[operator]

    def restarted(self) -> None:
        self.restarts += 1
        self.sequences.clear()


def test_a_probe_outlives_a_server_that_is_killed_and_restarted(
    server: Server, capture: Capture
) -> None:
    def crash() -> None:
        server.end(signal.SIGKILL)
        threading.Timer(0.3, server.start).start()

    watch = AtStep(1, crash)
    options = ProbeOptions(steps=40, samples=0, device="cpu")
    with Session(Address(path=str(server.path)), watch=watch) as session:
        outcome = session.probe(capture, options)
    server.end(signal.SIGTERM)
    assert outcome.result.status == COMPLETED
    assert [step.step for step in outcome.steps] == list(range(40))
    assert watch.restarts == 1
    assert watch.sequences == list(range(1, len(watch.sequences) + 1))


def test_a_stream_that_is_cut_goes_on_on_the_same_probe(server: Server, capture: Capture) -> None:
    watch = AtStep(3, lambda: session._cut())  # type: ignore[attr-defined]
    options = ProbeOptions(steps=40, samples=0, device="cpu")
    with Session(Address(path=str(server.path)), watch=watch) as session:
        run, calls = session.service.run, []

        def noted(*arguments: object) -> object:
            calls.append(run(*arguments))  # type: ignore[arg-type]
            return calls[-1]

        session.service.run = noted  # type: ignore[assignment,method-assign]
        session._cut = lambda: calls[-1].cancel()  # type: ignore[attr-defined]
        outcome = session.probe(capture, options)
    server.end(signal.SIGTERM)
    assert outcome.result.status == COMPLETED
    assert [step.step for step in outcome.steps] == list(range(40))
    assert watch.restarts == 0
    assert watch.sequences == list(range(1, len(watch.sequences) + 1))
    assert len(calls) == 1
