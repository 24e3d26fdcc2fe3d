"""A server in a process of its own, and what must hold when nothing happens there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from nnlint.protos.v1 import probe_service_pb2 as pb
from nnlint.protos.v1 import probe_service_pb2_grpc
from tests.probe import graphs

ROOT = Path(__file__).parents[3]
DRIVER = Path(__file__).with_name("driver.py")
FAKE = "tests.probe.server.fakes:execute"
PATIENCE = 20.0
Part = pb.UploadBlobsRequest.Part


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until a condition holds and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.01)
    return value


@dataclass(eq=False)
class Server:
    """One that runs.

    Attributes:
        process: Of the front.
        address: Where it listens.
        store: Its folder.
        log: What it writes to standard error.
    """

    process: subprocess.Popen[bytes]
    address: str
    store: Path
    log: Path
    channel: grpc.Channel | None = None
    announced: dict[str, Any] = field(default_factory=dict)
    calm: int = 0

    @property
    def stub(self) -> Any:
        if self.channel is None:
            self.channel = grpc.insecure_channel(self.address)
        return probe_service_pb2_grpc.ProbeServiceStub(self.channel)

    @property
    def front(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def spawner(self) -> psutil.Process:
        (found,) = self.front.children()
        return found

    def keepers(self) -> list[psutil.Process]:
        return self.spawner().children()

    def workers(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for keeper in self.keepers() for child in keeper.children()]
        return []

    def worker(self) -> psutil.Process:
        """Return the one worker, once there is one."""
        return eventually(self.workers, "a worker")[0]

    def upload(self, built: graphs.Built, **options: Any) -> int:
        return upload(self.stub, built.everything(), **options)

    def run(self, built: graphs.Built, **settings: Any) -> list[pb.ProbeEvent]:
        """Upload, run, and return all events."""
        self.upload(built)
        return list(events(self.start(built, **settings)))

    def start(self, built: graphs.Built, *, timeout: float = 60.0, **settings: Any) -> Any:
        """Return the stream of a new probe."""
        settings.setdefault("probe_id", os.urandom(16))
        return self.stub.RunProbe(built.request(**settings), timeout=timeout)

    def ready(self) -> pb.GetCapabilitiesResponse:
        return self.stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=60)

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def settle(self) -> None:
        """Remember how many files are open when nothing happens."""
        self.ready()
        eventually(self._idle, "an idle server")
        self.calm = self.front.num_fds()

    def check_clean(self) -> None:
        """Check that nothing is left of what happened, and that the next probe succeeds."""
        result = self.run(graphs.mlp(), steps=1)[-1].result
        assert result.status == result.STATUS_COMPLETED, result
        eventually(self._idle, "one worker for each device, no zombie, no temporary file")
        eventually(lambda: self.front.num_fds() <= self.calm, "no descriptor left open")

    def _idle(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            below = self.front.children(recursive=True)
            zombies = [each for each in below if each.status() == psutil.STATUS_ZOMBIE]
            # Spawner, keeper, worker; the server has one device.
            return len(below) == 3 and not zombies and not self.incoming()
        return False

    def incoming(self) -> list[Path]:
        return list((self.store / "incoming").iterdir())

    def blobs(self) -> list[Path]:
        return [path for path in (self.store / "blobs").rglob("*") if path.is_file()]

    def stop(self) -> int:
        """Have it end as an embedded server ends, and return its exit code."""
        if self.channel is not None:
            self.channel.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


def command(**settings: Any) -> list[str]:
    return [sys.executable, str(DRIVER), json.dumps(settings)]


@contextlib.contextmanager
def serving(folder: Path, *, executor: str = FAKE, **settings: Any) -> Iterator[Server]:
    """Run a server for the time of a block."""
    settings = {
        "listen": "127.0.0.1:0",
        "store": str(folder / "store"),
        "devices": ["cpu"],
        "threads": 1,
        **({"executor": executor} if executor else {}),
        **settings,
    }
    log = folder / "server.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command(**settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=folder,
        )
    server = None
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        announced = json.loads(line)
        server = Server(process, announced["address"], Path(settings["store"]), log)
        server.announced = announced
        yield server
        if process.poll() is None:
            server.stop()
    finally:
        if server is not None and server.channel is not None:
            server.channel.close()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def upload(stub: Any, blobs: dict[bytes, bytes], *, timeout: float = 30.0) -> int:
    """Send blobs, each in a message of its own."""
    parts = (
        Part(digest=graphs.digest_of(content), data=content, last=True)
        for content in blobs.values()
    )
    messages = (pb.UploadBlobsRequest(parts=[part]) for part in parts)
    return stub.UploadBlobs(messages, timeout=timeout).stored


def events(stream: Any) -> Iterator[pb.ProbeEvent]:
    """Yield events and check that their numbers have no gap."""
    for number, response in enumerate(stream, 1):
        assert response.event.sequence == number
        yield response.event


def wait_for(stream: Any, what: str, /, **fields: Any) -> pb.ProbeEvent:
    """Read a stream up to an event of a kind."""
    for response in stream:
        if response.event.WhichOneof("event") == what:
            value = getattr(response.event, what)
            if all(getattr(value, name) == wanted for name, wanted in fields.items()):
                return response.event
    raise AssertionError(f"no {what} with {fields}")
