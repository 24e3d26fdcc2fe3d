"""Measure the probe service over loopback, with client and server as two processes.

Prints the speed of an upload, what a second probe of an unchanged ResNet-50 sends, the time from
the end of an upload to the first step on a warm server, and what the server's front takes.

Usage: python benchmarks/probe_service.py
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.client import upload
from nnlint.probe_service.client.address import parse_address
from nnlint.probe_service.client.session import Session, Watch
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import probe_service_pb2 as pb

MODELS = Path(__file__).parent / "models"
MB = 1e6
UPLOAD_BLOBS, UPLOAD_BLOB = 16, 16 << 20
UPLOAD_RUNS = 5
UPLOAD_BOUND = 300.0  # MB/s
SECOND_BOUND = 100_000  # bytes
FIRST_STEP_BOUND = 0.5  # seconds
FRONT_BOUND = 300.0  # MB


class Clock(Watch):
    """Notes when things happen."""

    def __init__(self) -> None:
        self.uploaded = 0.0
        self.first_step = 0.0
        self.stages: list[tuple[str, float]] = []

    def uploading(self, sent: int, total: int) -> None:
        """Note the end of the upload."""
        if sent == total:
            self.uploaded = time.perf_counter()

    def event(self, event: pb.ProbeEvent) -> None:
        """Note the stages and the first step."""
        kind = event.WhichOneof("event")
        now = time.perf_counter()
        if kind == "stage":
            self.stages.append((pb.Stage.Kind.Name(event.stage.kind), now))
        if kind == "step" and not self.first_step:
            self.first_step = now


@contextlib.contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Run `nnlint serve` and yield its address and process id."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nnlint", "serve", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            [*command, "--store", folder, "--announce", str(writing), "--device", "cpu"],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as announcement:
            told = json.loads(announcement.readline())
        try:
            yield told["address"], told["pid"]
        finally:
            process.terminate()
            process.wait()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / MB


def has_torch(pid: int) -> bool:
    """Return whether torch's library is mapped into a process."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def resnet50() -> torch.nn.Module:
    """Return the model of the benchmarks."""
    spec = importlib.util.spec_from_file_location("resnet50", MODELS / "resnet50.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    net: torch.nn.Module = module.Net()
    return net


def upload_speed(session: Session) -> float:
    """Return the median speed of an upload of random tensors in MB/s."""
    limits = session.connect().limits
    speeds = []
    for _ in range(UPLOAD_RUNS):
        contents = [os.urandom(UPLOAD_BLOB) for _ in range(UPLOAD_BLOBS)]
        blobs = {upload.digest_of(content).sha256: content for content in contents}
        started = time.perf_counter()
        _, size = upload.send(session.service, blobs, limits=limits)
        speeds.append(size / (time.perf_counter() - started) / MB)
    return statistics.median(speeds)


def probe(session: Session, capture: Capture, options: ProbeOptions) -> tuple[int, Clock]:
    """Run one probe; return the bytes that it sent and when things happened."""
    clock = Clock()
    session.watch = clock
    before = session.service.bytes_sent
    outcome = session.probe(capture, options)
    print(f"  status {outcome.result.status}, loss {[step.loss for step in outcome.steps]}")
    return session.service.bytes_sent - before, clock


def tell(text: str, value: str, bound: str, *, met: bool) -> bool:
    """Print a measurement beside its bound."""
    print(f"{text:52} {value:>12}   wanted {bound:10} {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    """Measure, print, and return 1 where a bound is missed."""
    options = ProbeOptions(steps=1, samples=0, device="cpu")
    small = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    with server() as (text, pid), Session(parse_address(text)) as session:
        speed = upload_speed(session)
        net = resnet50()
        batch = (torch.randn(2, 3, 64, 64), torch.tensor([1, 2]))
        captured = capture_live(net, batch, "cross_entropy", options)
        first, clock = probe(session, captured, options)
        print(f"  the first probe of ResNet-50 sent {first / MB:.1f} MB")
        again = capture_live(net, batch, "cross_entropy", options)
        second, _ = probe(session, again, options)
        warm = []
        for width in range(5):  # of different weights, so that there is something to upload
            torch.manual_seed(width)
            for layer in (small[0], small[2]):
                layer.reset_parameters()
            each = capture_live(
                small, (torch.randn(16, 64), torch.randint(10, (16,))), "cross_entropy", options
            )
            _, one = probe(session, each, options)
            warm.append(one.first_step - one.uploaded)
        seconds = statistics.median(warm)
        front, torch_there = resident_mb(pid), has_torch(pid)
        after = clock.first_step - clock.uploaded
    print(f"  from upload to the first step of ResNet-50 at 2x3x64x64: {after:.2f} s")
    met = [
        tell("upload over loopback", f"{speed:.0f} MB/s", ">= 300 MB/s", met=speed >= UPLOAD_BOUND),
        tell(
            "sent by a second probe of ResNet-50",
            f"{second / 1000:.1f} kB",
            "< 100 kB",
            met=second < SECOND_BOUND,
        ),
        tell(
            "from the end of an upload to the first step",
            f"{seconds:.2f} s",
            "<= 0.5 s",
            met=seconds <= FIRST_STEP_BOUND,
        ),
        tell("memory of the front", f"{front:.0f} MB", "< 300 MB", met=front < FRONT_BOUND),
        tell("torch in the front", str(torch_there), "False", met=not torch_there),
    ]
    return int(not all(met))


if __name__ == "__main__":
    raise SystemExit(main())
