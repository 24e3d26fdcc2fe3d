"""The server of the client's own: it works, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from nnlint.errors import ServiceError
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client import session
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.client.session import Session, Watch
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import COMPLETED

FDS = "/proc/self/fd"
OPTIONS = ProbeOptions(steps=2, samples=32, device="cpu")
CLIENT = """
import sys
from nnlint.probe_service.client.embedded import Embedded
from nnlint.probe_service.client.session import Session, Watch
with Embedded() as server:
    with Session(server) as session:
        session.connect()
        print(server._process.pid, server._folder, flush=True)
        sys.stdin.read()
"""


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for a condition, as long as it is worth."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of temporary files of the test's own, which must be empty at the end."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


def entries(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def started(server: Embedded) -> list[psutil.Process]:
    assert server._process is not None
    return family(server._process.pid)


def test_a_probe_runs_and_nothing_stays(capture: Capture, folder: Path) -> None:
    before = len(entries(FDS))
    with Embedded() as server:
        server.start()
        with Session(server) as session:
            outcome = session.probe(capture, OPTIONS)
        processes = started(server)
    assert outcome.result.status == COMPLETED, outcome.result.message
    assert [step.step for step in outcome.steps] == [0, 1]
    assert all(step.measured for step in outcome.steps)
    assert outcome.result.environment.device == "cpu"
    assert until(lambda: gone(processes))
    assert entries(folder) == []
    assert until(lambda: len(entries(FDS)) <= before + 4)


def test_without_an_address_a_server_is_started_and_ended(capture: Capture, folder: Path) -> None:
    before = psutil.Process().children(recursive=True)  # of tests before this one
    outcome = session.run(capture, OPTIONS, None)
    assert outcome.result.status == COMPLETED
    assert entries(folder) == []
    after = psutil.Process().children(recursive=True)
    assert gone([process for process in after if process not in before])


def test_the_second_probe_sends_little(capture: Capture) -> None:
    with Embedded() as server, Session(server) as session:
        first = session.probe(capture, OPTIONS)
        sent = session.service.bytes_sent
        second = session.probe(capture, OPTIONS)
    assert first.uploaded.size > 0
    assert second.uploaded.size == 0
    assert session.service.bytes_sent - sent < 2_000
    assert [step.loss for step in first.steps] == [step.loss for step in second.steps]


def test_an_exception_ends_the_server(folder: Path) -> None:
    processes: list[psutil.Process] = []

    def fail() -> None:
        with Embedded() as server:
            server.address()
            processes.extend(started(server))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert until(lambda: gone(processes))
    assert entries(folder) == []


def test_a_server_that_was_only_started_is_ended_at_once(folder: Path) -> None:
    began = time.monotonic()
    with Embedded() as server:
        server.start()
        processes = started(server)
    assert time.monotonic() - began < 10
    assert until(lambda: gone(processes))
    assert entries(folder) == []
    with Embedded():
        pass  # nor does one that was never started leave anything
    assert entries(folder) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_that_is_killed_takes_its_server_along(number: int, folder: Path) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    pid, place = client.stdout.readline().split()
    processes = family(int(pid))
    assert len(processes) > 1
    assert Path(place).parent == folder
    client.send_signal(number)
    client.wait(30)
    for stream in (client.stdin, client.stdout):
        if stream is not None:
            stream.close()
    assert until(lambda: gone(processes))
    assert until(lambda: entries(folder) == [])


def test_a_server_that_ends_is_told_with_its_last_words(capture: Capture) -> None:
    with Embedded() as server, Session(server) as session:
        session.connect()
        os.kill(server._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        with pytest.raises(ServiceError, match="is gone: it ended with code -9"):
            session.probe(capture, OPTIONS)


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnlint.probe_service.client.embedded._HOME", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with Embedded() as server, pytest.raises(ServiceError, match="cannot be started") as caught:
        server.address()
    assert "it ended with code" in str(caught.value)


def test_without_a_place_for_its_folder_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with Embedded() as server, pytest.raises(ServiceError, match="cannot be made") as caught:
        server.start()
    assert "TMPDIR" in caught.value.hint


class Interrupting(Watch):
    def event(self, event: pb.ProbeEvent) -> None:
        if event.WhichOneof("event") == "step":
            signal.raise_signal(signal.SIGINT)


def test_an_interrupt_frees_the_worker_for_the_next_probe(capture: Capture) -> None:
    long = ProbeOptions(steps=1000, samples=0, device="cpu")
    watch = Interrupting()
    with Embedded() as server, Session(server, watch=watch) as session:
        with pytest.raises(KeyboardInterrupt):
            session.probe(capture, long)
        session.watch = Watch()
        outcome = session.probe(capture, OPTIONS)
    assert outcome.result.status == measurement_pb2.Result.STATUS_COMPLETED
