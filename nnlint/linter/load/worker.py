"""Runs one file: imports it, builds its models, and streams what the rules say of them.

Only ever used in a process of its own, which ends with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TextIO

import torch

from nnlint.linter import engine
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.engine import ModelResult
from nnlint.linter.findings import Finding, Obstacle
from nnlint.linter.graph import ModelGraph
from nnlint.linter.load import (
    attempts,
    build,
    built,
    devices,
    drawing,
    failures,
    former,
    guard,
    importing,
    options,
    processes,
    programs,
    standin,
    tasks,
    unwritten,
    weights,
)
from nnlint.linter.load.assume.known import known_values
from nnlint.linter.load.filling import Filling
from nnlint.linter.load.initialised import Recorder
from nnlint.linter.load.protocol import Job, encode_event
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.trace.positions import UserCode

resource: ModuleType | None
try:
    resource = importlib.import_module("resource")
except ImportError:  # Windows has no limits of this kind
    resource = None

# Seconds of the processor for the attempts at one model; most that work need less than one.
_ATTEMPTS_SECONDS = 3.0
# Likewise for those at all models of a file that come to nothing; one attempt each is made still.
_FUTILE_SECONDS = 4.0

Send = Callable[[dict[str, Any]], None]


def run(job: Job, *, events: int, crash: int) -> NoReturn:
    """Do a job and end the process.

    Args:
        job: What to do.
        events: File descriptor that takes the events.
        crash: File descriptor that takes the stack of a crash or hang.
    """
    own = os.getpid()
    leave = os._exit

    def send(event: dict[str, Any]) -> None:
        if os.getpid() != own:
            leave(0)  # a child that the user's code forked has come back here
        data = encode_event(event)
        while data:
            data = data[os.write(events, data) :]

    def leave_traced(status: int) -> NoReturn:
        if os.getpid() == own:
            faulthandler.dump_traceback(crash, all_threads=False)
        leave(status)

    os._exit = leave_traced  # to know the line that calls it
    _prepare(job)
    faulthandler.enable(crash)
    timer = _Timer(job.timeout, crash)
    try:
        _Work(job, send, timer).do()
    except BaseException as error:  # noqa: BLE001 - outermost: a defect of nnlint must be told
        send({"event": "internal", "text": _where(error)})
    send({"event": "done"})
    leave(0)


def _prepare(job: Job) -> None:
    sys.dont_write_bytecode = True
    programs.forbid()
    sys.argv = [job.path]
    os.chdir(job.cwd)  # the spawner may have been started elsewhere
    # New streams for the new descriptors. What a narrow encoding cannot print must not be an error
    # of the model.
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)
    with contextlib.suppress(OSError):
        # Where memory runs out, this process is the one to go, and not the user's session.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    guard.watch(importing.is_users)
    torch.set_num_threads(job.threads)
    processes.keep_memory()
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + job.memory_bytes
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


@contextlib.contextmanager
def _conditions() -> Iterator[None]:
    """Give the user's code a CPU, default options, no trained weights, and what there once was."""
    with contextlib.ExitStack() as stack:
        for each in (devices.on_cpu, options.defaults, weights.absent, former.accepted):
            stack.enter_context(each())
        stack.enter_context(guard.without_folders())
        yield


def _stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _lift_memory_limit() -> None:
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _data_bytes() -> int:
    """Return what the process holds already in the sense of RLIMIT_DATA."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData")),
        0,
    )


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return failures.describe(error) + place


class _Timer:
    """Ends the process, with the stack of where it is, when a limit has passed.

    Args:
        seconds: Limit of the file; the time of tasks does not count.
        crash: File descriptor that takes the stack.
    """

    def __init__(self, seconds: float, crash: int) -> None:
        self._left = seconds
        self._crash = crash
        self._begin()

    @contextlib.contextmanager
    def instead(self, seconds: float) -> Iterator[None]:
        """Count against another limit meanwhile."""
        self._left -= time.monotonic() - self._since
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._crash)
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        faulthandler.dump_traceback_later(max(self._left, 0.001), exit=True, file=self._crash)


class _Work:
    """One file in the course of being done."""

    def __init__(self, job: Job, send: Send, timer: _Timer) -> None:
        self.job = job
        self.send = send
        self.timer = timer
        self.source = Source.parse(job.path, job.text)
        self.code = UserCode(job.path, job.text, job.root)
        self.filling = Filling()
        self.recorder = Recorder(self.code)
        self.known = known_values(self.source.tree)
        self.futile = 0.0
        self.rules = [rule_by_key()[key] for key in job.rules]

    def do(self) -> None:
        """Import the file and do its targets one after the other."""
        # A task may train the model, and compare what it does with the user's own run.
        draws = contextlib.nullcontext() if self.job.task else drawing.repeated()
        with _conditions(), built.recording(self.code), draws:
            self.send({"event": "stage", "stage": "import", "target": None})
            try:
                module = importing.import_source(self.source, self.job.root)
            except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
                finding = self._raised(error, "import").to_dict()
                obstacle = failures.obstacle_of(error, "import")
                self.send({"event": "failed", "finding": finding, "obstacle": obstacle})
                return
            for index, target in enumerate(self.job.targets):
                result, model = self._do_target(index, target, module)
                self.send(
                    {
                        "event": "model",
                        "target": index,
                        "report": result.report.to_dict(),
                        "findings": [finding.to_dict() for finding in result.findings],
                        "checks": [check.to_dict() for check in result.checks],
                    }
                )
                if self.job.task and model is not None:
                    self._do_task(index, target, model, result.graph)

    def _do_target(
        self, index: int, target: Target, module: ModuleType
    ) -> tuple[ModelResult, torch.nn.Module | None]:
        result, model = self._do_value(index, target, module, target.name)
        if result.report.analysed or target.kind != "instance" or not target.constructions:
            return result, model
        # What the script does to its model needs what is not there: take one that is built alike.
        twin = dataclasses.replace(target, kind="class")
        instead, other = self._do_value(index, twin, module, target.class_name)
        return (instead, other) if instead.report.analysed else (result, model)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Watch how parameters get their values while the user's code builds models."""
        with unwritten.marking(), self.recorder:
            yield

    def _do_value(
        self, index: int, target: Target, module: ModuleType, name: str
    ) -> tuple[ModelResult, torch.nn.Module | None]:
        """Do what a name of the module stands for, as the target says to build it."""
        self.send({"event": "stage", "stage": "import", "target": index})
        self.filling.undo()
        try:
            with self._watched():
                value = build.lookup(module, target, name)
        except build.NotBuildableError as error:
            finding = failures.not_analysed(target, str(error))
            return self._failed(target, finding, "no-module"), None
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            value = build.remaking(module, target)
            if value is None or standin.cause(error) is None:
                return self._stopped(error, "import", target), None
            target = dataclasses.replace(target, kind="factory")
        if (wanted := standin.origin_of(value)) is not None:
            finding = failures.not_analysed(target, f"it {wanted}")
            return self._failed(target, finding, "missing-package"), None
        base = standin.base_origin(value) if isinstance(value, type) else None
        if base is not None:
            reason = f"it derives from {base.name}, and {base.package} is not installed"
            finding = failures.not_analysed(target, reason, evidence={"package": base.package})
            return self._failed(target, finding, "base-not-installed"), None
        self.send({"event": "stage", "stage": "build", "target": index})
        began = time.process_time()
        outcome = attempts.attempt(
            attempts.Subject(
                value,
                target,
                self.job.settings[index],
                module_of=importing.module_of,
                watched=self._watched,
                is_users=lambda filename: self.code.rank(filename) is not None,
                globals=self.filling,
                analyse=functools.partial(self._analyse, index, target),
                seconds=min(
                    _ATTEMPTS_SECONDS, self.job.timeout / 3, max(_FUTILE_SECONDS - self.futile, 0.0)
                ),
                known=self.known,
            )
        )
        if not outcome.is_final:
            self.futile += time.process_time() - began
        if outcome.result is not None:
            return outcome.result, outcome.model
        assert outcome.error is not None, "an attempt has a result or an error"
        return self._explained(target, outcome, outcome.error), outcome.model

    def _analyse(
        self, index: int, target: Target, model: torch.nn.Module, assumed: Mapping[str, str]
    ) -> ModelResult:
        self.send({"event": "stage", "stage": "analyse", "target": index})
        self.recorder.attach(model)
        return engine.analyse(
            model,
            target=target,
            source=self.source,
            settings=self.job.settings[index],
            rules=self.rules,
            code=self.code,
            built_at=built.built_at,
            assumed=assumed,
        )

    def _explained(
        self, target: Target, outcome: attempts.Outcome, error: BaseException
    ) -> ModelResult:
        """Return the result of a model whose best attempt ended in an exception."""
        if isinstance(error, build.NotBuildableError):
            obstacle: Obstacle = "no-module" if outcome.reached else "arguments"
            return self._failed(target, failures.not_analysed(target, str(error)), obstacle)
        if outcome.reached == 2 and not failures.is_out_of_memory(error):
            finding = failures.internal(_where(error), self.code, target)
            return self._failed(target, finding, "internal")
        stage: failures.Stage = "build" if outcome.model is None else "analyse"
        at, _ = self.code.raised(error.__traceback__)
        if standin.cause(error) is not None or failures.is_out_of_memory(error):
            return self._stopped(error, stage, target)
        if outcome.assumed or not outcome.reached:
            finding = failures.arguments_do_not_fit(target, outcome.assumed, error, at)
            return self._failed(target, finding, "arguments")
        if outcome.origin == "project":
            finding = failures.not_built(target, error, at, outcome.construction)
            return self._failed(target, finding, failures.obstacle_of(error, stage))
        return self._stopped(error, stage, target)

    def _stopped(self, error: BaseException, stage: failures.Stage, target: Target) -> ModelResult:
        """Return the result of a model that an exception of the user's code stopped."""
        wanted = standin.cause(error)
        if wanted is None:
            at, _ = self.code.raised(error.__traceback__)
            if failures.is_out_of_memory(error):
                _lift_memory_limit()
                finding = failures.too_large(target, stage, at, self.job.memory_bytes)
            elif stage != "import" and (
                failures.is_abstract(error) or failures.is_elsewhere(error)
            ):
                finding = failures.stopped(target, error, at)
            else:
                finding = self._raised(error, stage, target)
            return self._failed(target, finding, failures.obstacle_of(error, stage))
        _lift_memory_limit()
        finding = failures.not_analysed(target, f"it {wanted}")
        return self._failed(target, finding, "missing-package" if wanted.package else "import")

    def _failed(self, target: Target, finding: Finding, obstacle: Obstacle) -> ModelResult:
        return ModelResult(failures.report(target, finding, obstacle), (finding,), ())

    def _do_task(
        self, index: int, target: Target, model: torch.nn.Module, graph: ModelGraph | None
    ) -> None:
        event: dict[str, Any] = {"event": "task", "target": index}
        self.send({"event": "stage", "stage": "task", "target": index})
        try:
            unwritten.settle(model)
            with self.timer.instead(self.job.task_timeout):
                event["data"] = tasks.resolve(self.job.task)(
                    tasks.Work(
                        model,
                        target,
                        self.source,
                        self.job.settings[index],
                        graph,
                        self.code,
                        built.built_at,
                        self.job.options,
                    )
                )
        except BaseException as error:  # noqa: BLE001 - a task runs the user's code as well
            if isinstance(error, Exception) and not failures.is_out_of_memory(error):
                finding = failures.internal(_where(error), self.code, target)
            else:
                finding = self._raised(error, "task", target)
            event["finding"] = finding.to_dict()
        self.send(event)

    def _raised(
        self, error: BaseException, stage: failures.Stage, target: Target | None = None
    ) -> Finding:
        _lift_memory_limit()
        return failures.raised(
            error,
            self.code,
            stage=stage,
            target=target,
            memory_bytes=self.job.memory_bytes,
        )
