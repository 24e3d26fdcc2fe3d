"""Do a whole probe, in the process that is there for it alone.

Whatever a client sent, `execute` ends by telling: a refusal, or a result with a status.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from google.protobuf.message import DecodeError

import nnlint
from nnlint.probe_service import asking, experiments
from nnlint.probe_service.operators import reviewed
from nnlint.probe_service.replay import memory, shapes, structure
from nnlint.probe_service.replay.plan import plan
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.violations import InvalidGraphError, Violation, first, refuse
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2, worker_pb2

# Beyond this multiple of what is free, an estimate needs no trial.
_HOPELESS = 2.0
_MOST_TEXT = 1000
# Between two words of how far an experiment is.
_PROGRESS_SECONDS = 0.2
_Settings = probe_service_pb2.ProbeSettings
_Stage = probe_service_pb2.Stage
_Result = measurement_pb2.Result
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_PATH = re.compile(r"(?:[A-Za-z]:)?[\w.\-]*(?:/[\w.\-]+)+(?::\d+)?")
_RUNTIME_NOISE = re.compile(r"^\[enforce fail at [^\]]*\]\s*\.?\s*|^(?:expected|Expected)?\s*$")

Read = Callable[[graph_pb2.Digest], bytes | memoryview]
Emit = Callable[[worker_pb2.WorkerEvent], None]


def preload() -> None:
    """Import and warm up what every probe needs, before processes are forked for them.

    The first operation on torch's meta device alone imports 800 modules.
    """
    x = torch.zeros(2, 2, device="meta", requires_grad=True)
    torch.ops.aten.relu.default(x)
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    parameter.grad = torch.zeros(1)
    optimizer.step()
    experiments.find("gradients")
    asking.kinds()
    reviewed()


def execute(
    job: worker_pb2.WorkerJob,
    read: Read,
    emit: Emit,
    journal: Callable[[int], None],
) -> None:
    """Do a probe.

    Args:
        job: What to do, and where.
        read: Returns the content of a blob.
        emit: Takes what happens: stages, the plan, steps, and at the end a result or a refusal.
        journal: Is told the position of each operation before it runs, -1 outside of them.
    """
    run = _Run(job, read, emit, journal)
    try:
        run.run()
    except InvalidGraphError as error:
        refusal = worker_pb2.Refusal()
        for violation in error.violations:
            refusal.violations.add(field=violation.field, description=violation.description)
        emit(worker_pb2.WorkerEvent(refusal=refusal))


@dataclass(slots=True)
class _Run:
    """One probe."""

    job: worker_pb2.WorkerJob
    read: Read
    emit: Emit
    tell: Callable[[int], None]
    node: int = -1
    experiment: int = 0
    told: float = 0.0
    result: measurement_pb2.Result = field(default_factory=measurement_pb2.Result)

    def run(self) -> None:
        settings = self.job.request.settings
        device = torch.device(self.job.device or "cpu")
        if self.job.threads:
            torch.set_num_threads(self.job.threads)
        with _deterministic(device) if settings.deterministic else nullcontext():
            self._checked(settings, device)

    def _checked(self, settings: probe_service_pb2.ProbeSettings, device: torch.device) -> None:
        """Check everything, and measure what is well and may fit."""
        started = time.perf_counter()
        self.stage(_Stage.KIND_CHECKING)
        if wrong := first(self._check_settings(settings, device)):
            raise InvalidGraphError(wrong)
        graph, estimate = self._graph(self.job.request.graph, device)
        self._describe(device)
        self.result.estimated_bytes = estimate.total(
            [experiments.find(kind).needs(each) for kind, each in _experiments(settings)]  # type: ignore[union-attr]
        )
        self.result.available_bytes = memory.available(device)
        self.result.timings.checking = time.perf_counter() - started
        if 0 < self.result.available_bytes * _HOPELESS < self.result.estimated_bytes:
            self._end(_Result.STATUS_OUT_OF_MEMORY, self._memory_message())
            return
        try:
            self._measure(graph, settings, device)
        except (torch.OutOfMemoryError, MemoryError):
            failure = (_Result.STATUS_OUT_OF_MEMORY, self._memory_message())
        except InvalidGraphError:
            raise
        except Exception as error:  # noqa: BLE001 - operators raise anything
            failure = self._failure(error)
        else:
            failure = (_Result.STATUS_COMPLETED, "")
        # Beyond the handlers, so that the exception no longer holds the tensors of its frames.
        self._end(*failure)

    def _measure(
        self,
        graph: graph_pb2.Graph,
        settings: probe_service_pb2.ProbeSettings,
        device: torch.device,
    ) -> None:
        started = time.perf_counter()
        self.stage(_Stage.KIND_LOADING)
        program = self._program(graph, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.result.timings.loading = time.perf_counter() - started
        observed = plan(graph, program.calls, program.parameters)
        self.emit(worker_pb2.WorkerEvent(plan=observed.message()))
        started = time.perf_counter()
        context = experiments.Context(
            program=program,
            plan=observed,
            journal=self.journal,
            stage=self.stage,
            step=lambda step: self.emit(worker_pb2.WorkerEvent(step=step)),
            load=lambda digest: self._program(self._graph(digest, device)[0], device),
            progress=self.progress,
            finish=self.finish,
            result=self.result,
        )
        try:
            for position, (kind, experiment) in enumerate(_experiments(settings)):
                module = experiments.find(kind)
                assert module is not None
                self.experiment, self.told = position, 0.0
                if position:
                    program.reset()
                module.run(experiment, context)
        finally:
            self.result.timings.running = time.perf_counter() - started

    def journal(self, node: int) -> None:
        self.node = node
        self.tell(node)

    def stage(self, kind: probe_service_pb2.Stage.Kind) -> None:
        self.emit(worker_pb2.WorkerEvent(stage=_Stage(kind=kind, experiment=self.experiment)))

    def progress(self, step: int, steps: int, loss: float, learning_rate: float) -> None:
        now = time.monotonic()
        if now - self.told < _PROGRESS_SECONDS:
            return
        self.told = now
        progress = probe_service_pb2.Progress(
            experiment=self.experiment,
            step=step,
            steps=steps,
            loss=loss,
            learning_rate=learning_rate,
        )
        self.emit(worker_pb2.WorkerEvent(progress=progress))

    def finish(self, found: measurement_pb2.ExperimentResult) -> None:
        found.experiment = self.experiment
        self.emit(worker_pb2.WorkerEvent(experiment=found))

    def _graph(
        self, digest: graph_pb2.Digest, device: torch.device
    ) -> tuple[graph_pb2.Graph, shapes.Estimate]:
        """Read and check a graph."""
        content = self._content("request.graph", digest)
        try:
            graph = graph_pb2.Graph.FromString(bytes(content))
        except DecodeError as error:
            raise refuse("graph", "not a serialised Graph") from error
        if wrong := structure.check(graph, self.job.limits):
            raise InvalidGraphError(wrong)
        estimate = shapes.check(
            graph,
            limits=self.job.limits,
            precision=self.job.request.settings.precision,
            device=device,
            journal=self.journal,
        )
        self.journal(-1)
        return graph, estimate

    def _program(self, graph: graph_pb2.Graph, device: torch.device) -> Program:
        settings = self.job.request.settings
        return Program.load(
            graph, self._blob, device=device, precision=settings.precision, seed=settings.seed
        )

    def _blob(self, digest: graph_pb2.Digest) -> bytes | memoryview:
        return self._content(f"blob {digest.sha256.hex()}", digest)

    def _content(self, field: str, digest: graph_pb2.Digest) -> bytes | memoryview:
        try:
            content = self.read(digest)
        except MemoryError:
            raise
        except Exception as error:
            raise refuse(field, "the blob is not there, or is damaged") from error
        if len(content) != digest.size_bytes:
            raise refuse(field, f"the blob has {len(content)} bytes, not {digest.size_bytes}")
        return content

    def _check_settings(
        self, settings: probe_service_pb2.ProbeSettings, device: torch.device
    ) -> Iterator[Violation]:
        if settings.precision not in _Settings.Precision.values():
            yield Violation("settings.precision", "the precision is not known")
        elif settings.precision == _Settings.PRECISION_AUTOCAST_FLOAT16 and device.type != "cuda":
            yield Violation("settings.precision", "autocast to float16 needs a CUDA device")
        if not settings.experiments:
            yield Violation("settings.experiments", "there is nothing to do")
        for index, experiment in enumerate(settings.experiments):
            kind = experiment.WhichOneof("kind")
            place = f"settings.experiments[{index}]"
            module = asking.find(kind)
            if module is None or kind is None or experiments.find(kind) is None:
                yield Violation(place, "the kind of experiment is not known")
            else:
                yield from module.check(
                    f"{place}.{kind}", getattr(experiment, kind), self.job.limits
                )

    def _describe(self, device: torch.device) -> None:
        environment = self.result.environment
        environment.device = device.type
        if device.type == "cuda":
            environment.device_name = torch.cuda.get_device_name(device)
        else:
            threads = torch.get_num_threads()
            environment.device_name = f"CPU, {threads} thread{'s' if threads != 1 else ''}"
        environment.torch_version = torch.__version__
        environment.nnlint_version = nnlint.__version__

    def _failure(self, error: Exception) -> tuple[measurement_pb2.Result.Status, str]:
        if isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)):
            return _Result.STATUS_OUT_OF_MEMORY, self._memory_message()
        return _Result.STATUS_OPERATOR_FAILED, sentence(error)

    def _memory_message(self) -> str:
        needed, free = self.result.estimated_bytes, self.result.available_bytes
        known = f", of which {_size(free)} were free" if free else ""
        return f"a step needs about {_size(needed)}{known}"

    def _end(self, status: measurement_pb2.Result.Status, message: str) -> None:
        self.result.status = status
        self.result.message = message[:_MOST_TEXT]
        if status != _Result.STATUS_COMPLETED and self.node >= 0:
            self.result.node = self.node
        self.tell(-1)
        self.emit(worker_pb2.WorkerEvent(result=self.result))


def sentence(error: BaseException) -> str:
    """Return what torch said, as one sentence without paths of the server."""
    text = str(error).strip()
    if "device-side assert" in text:
        return "the device stopped on an assertion: most often an index beyond its table"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = _RUNTIME_NOISE.sub("", lines[0]) if lines else ""
    line = _PATH.sub("...", line).rstrip(". ")
    return line[:_MOST_TEXT] or type(error).__name__


def _experiments(settings: probe_service_pb2.ProbeSettings) -> list[tuple[str, Any]]:
    found = []
    for experiment in settings.experiments:
        kind = experiment.WhichOneof("kind")
        assert kind is not None
        found.append((kind, getattr(experiment, kind)))
    return found


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
