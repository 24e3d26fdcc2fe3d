"""What a probe says while it goes on, in sentences for people."""

from __future__ import annotations

import time
from collections.abc import Callable

from nnlint.probe_service.client.session import Watch
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

_MB = 1e6
_STAGES = {
    pb.Stage.KIND_LOADING: "loading the weights",
    pb.Stage.KIND_CHECKING: "checking the graph",
    pb.Stage.KIND_RUNNING: "running",
    pb.Stage.KIND_LOCALISING: "looking for the origin of a non-finite value",
    pb.Stage.KIND_SAMPLING: "watching the units over more samples",
}


# Called with a sentence, and whether it is more than the passing state of something.
Say = Callable[[str, bool], None]


class Narrator(Watch):
    """Tells what happens to one model after the other.

    Args:
        say: Shows a sentence.
        server: Address of the service, "" for one of the client's own.
        steps: How many are made.
    """

    def __init__(self, say: Say, *, server: str, steps: int) -> None:
        self._show = say
        self._server = server or "a server of its own"
        self._steps = steps
        self._model = ""
        self._started = 0.0

    def begin(self, model: str) -> None:
        """Speak of another model from now on."""
        self._model = model
        self._say("asking the server what it has")
        self._started = 0.0

    def connected(self, server: pb.GetCapabilitiesResponse) -> None:
        """Say what the service is."""
        devices = ", ".join(device.name for device in server.devices) or "no device yet"
        text = f"nnlint {server.nnlint_version}, torch {server.torch_version}, {devices}"
        self._say(f"connected to {self._server}: {text}")

    def uploading(self, sent: int, total: int) -> None:
        """Say how fast it goes."""
        self._started = self._started or time.monotonic()
        seconds = time.monotonic() - self._started
        speed = f" at {sent / seconds / _MB:.0f} MB/s" if seconds > 0.01 else ""
        text = f"sent {sent / _MB:.1f} of {total / _MB:.1f} MB{speed}"
        self._say(text, lasting=sent == total)

    def event(self, event: pb.ProbeEvent) -> None:
        """Say what the probe does."""
        match event.WhichOneof("event"):
            case "stage" if event.stage.kind == pb.Stage.KIND_QUEUED:
                before = event.stage.position
                waits = f"waiting, {before} before this one" if before else "waiting for a worker"
                self._say(waits)
            case "stage":
                self._say(_STAGES.get(event.stage.kind, "running"))
            case "step":
                self._say(
                    f"step {event.step.step + 1} of {self._steps}: loss {event.step.loss:.4g}"
                )
            case "result":
                name = measurement_pb2.Result.Status.Name(event.result.status)
                self._say(name.removeprefix("STATUS_").lower().replace("_", " "))

    def waiting(self, reason: str, seconds: float) -> None:
        """Say why nothing happens."""
        self._say(f"{reason}; trying again in {seconds:.1f} s")

    def restarted(self) -> None:
        """Say that it begins anew."""
        self._say("the server has lost the probe; running it again")

    def halved(self, batch_size: int) -> None:
        """Say that a smaller batch is tried."""
        self._say(f"out of memory; trying a batch of {batch_size}")

    def _say(self, text: str, *, lasting: bool = True) -> None:
        self._show(f"{self._model}: {text}" if self._model else text, lasting)
