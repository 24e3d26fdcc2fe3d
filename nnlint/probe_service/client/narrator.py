"""What a probe says while it goes on, in sentences for people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.request import Asked, name_of
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
# Layers whose gradients are shown while it goes on.
_WORST = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the probe of a model is.

    Attributes:
        model: Display name.
        experiment: Name of the one under way, "overfit".
        position: Which one it is, from 1.
        experiments: How many there are.
        step: Steps of it that were made.
        steps: Most steps that there may be.
        loss: The last one.
        learning_rate: None where it means nothing.
        worst: Parameters whose gradients are furthest from the others', with the RMS of them; None
            for no gradient.
        seconds_left: At most, for this experiment; None where unknown.
    """

    model: str
    experiment: str
    position: int
    experiments: int
    step: int
    steps: int
    loss: float
    learning_rate: float | None = None
    worst: tuple[tuple[str, float | None], ...] = ()
    seconds_left: float | None = None


class Narrator(Watch):
    """Tells what happens to one model after the other.

    Args:
        say: Shows a sentence.
        server: Address of the service, "" for one of the client's own.
        steps: How many are made where gradients are measured.
        picture: Shows how far the probe is, None once there is nothing to show.
        clock: Seconds, for the time that is left.
    """

    def __init__(
        self,
        say: Say,
        *,
        server: str,
        steps: int,
        picture: Callable[[Standing | None], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = say
        self._server = server or "a server of its own"
        self._steps = steps
        self._picture = picture or (lambda _standing: None)
        self._clock = clock
        self._model = ""
        self._started = 0.0
        self._names: Sequence[str] = ("gradients",)
        self._tensors: Sequence[str] = ()
        self._plan = measurement_pb2.MeasurementPlan()
        self._experiment = -1
        # When the experiment under way was first heard of, and the steps it had made.
        self._since = (0.0, 0)
        self._worst: tuple[tuple[str, float | None], ...] = ()

    def begin(self, model: str) -> None:
        """Speak of another model from now on."""
        self._model = model
        self._say("asking the server what it has")
        self._started = 0.0
        self._forget()

    def asked(self, capture: Capture, asked: Asked) -> None:
        """Take what the experiments and the parameters are called."""
        kinds = [each.WhichOneof("kind") or "" for each in asked.experiments]
        self._names = [name_of(kind) for kind in kinds]
        self._tensors = [site.name for site in capture.tensors]

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
                self._enter(event.stage.experiment)
                self._say(_STAGES.get(event.stage.kind, "running"))
            case "plan":
                self._plan = event.plan
            case "step":
                self._step(event.step)
            case "progress":
                self._progress(event.progress)
            case "experiment":
                self._say(f"{self._name(event.experiment.experiment)} is done")
            case "result":
                self._picture(None)
                name = measurement_pb2.Result.Status.Name(event.result.status)
                self._say(name.removeprefix("STATUS_").lower().replace("_", " "))

    def waiting(self, reason: str, seconds: float) -> None:
        """Say why nothing happens."""
        self._say(f"{reason}; trying again in {seconds:.1f} s")

    def restarted(self) -> None:
        """Say that it begins anew."""
        self._forget()
        self._say("the server has lost the probe; running it again")

    def halved(self, batch_size: int) -> None:
        """Say that a smaller batch is tried."""
        self._forget()
        self._say(f"out of memory; trying a batch of {batch_size}")

    def _forget(self) -> None:
        self._experiment, self._worst = -1, ()
        self._picture(None)

    def _name(self, position: int) -> str:
        return self._names[position] if position < len(self._names) else "the experiment"

    def _enter(self, position: int) -> None:
        """Begin with an experiment, where it is not the one under way."""
        if position == self._experiment:
            return
        self._experiment = position
        self._since = (0.0, 0)
        if len(self._names) > 1:
            self._say(f"{self._name(position)} ({position + 1} of {len(self._names)})")

    def _step(self, step: measurement_pb2.StepStatistics) -> None:
        self._worst = tuple(self._furthest(step.parameter_gradient_rms))
        self._say(f"step {step.step + 1} of {self._steps}: loss {step.loss:.4g}")
        self._stand(step.step + 1, self._steps, step.loss, None)

    def _progress(self, progress: pb.Progress) -> None:
        self._enter(progress.experiment)
        text = f"step {progress.step} of {progress.steps}: loss {progress.loss:.4g}"
        self._say(f"{self._name(progress.experiment)}: {text}", lasting=False)
        self._stand(progress.step, progress.steps, progress.loss, progress.learning_rate or None)

    def _stand(self, step: int, steps: int, loss: float, rate: float | None) -> None:
        now = self._clock()
        since, before = self._since
        if not since:
            self._since = (now, step)
        left = (steps - step) * (now - since) / (step - before) if since and step > before else None
        position = max(self._experiment, 0)
        self._picture(
            Standing(
                model=self._model,
                experiment=self._name(position),
                position=position + 1,
                experiments=len(self._names),
                step=step,
                steps=steps,
                loss=loss,
                learning_rate=rate,
                worst=self._worst,
                seconds_left=left,
            )
        )

    def _furthest(self, values: Sequence[float]) -> Iterator[tuple[str, float | None]]:
        """Yield the parameters whose gradients are furthest from the middle one in decades."""
        sizes = sorted(math.log10(v) for v in values if 0 < v < math.inf)
        if not sizes:
            return
        middle = sizes[len(sizes) // 2]

        def distance(value: float) -> float:
            return abs(math.log10(value) - middle) if 0 < value < math.inf else math.inf

        found = sorted(enumerate(values), key=lambda item: -distance(item[1]))
        for slot, value in found[:_WORST]:
            tensor = self._plan.parameters[slot] if slot < len(self._plan.parameters) else -1
            known = 0 <= tensor < len(self._tensors)
            yield (
                self._tensors[tensor] if known else f"parameter {slot}",
                None if value < 0 else value,
            )

    def _say(self, text: str, *, lasting: bool = True) -> None:
        self._show(f"{self._model}: {text}" if self._model else text, lasting)
