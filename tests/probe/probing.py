"""Probe a source text or a live model in this process: what client and server do, without wires."""

from __future__ import annotations

import dataclasses
import types
import warnings
from collections.abc import Iterable
from typing import Any

from nnlint.linter import engine
from nnlint.linter.discover import discover
from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Check, Finding, Location
from nnlint.linter.graph import ModelGraph
from nnlint.linter.load import built, devices
from nnlint.linter.load.build import build
from nnlint.linter.measured import Measured
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import Rule, all_rules
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace.capture import ForwardError, NotTraceableError
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.data import from_loader
from nnlint.probe_service.capture.session import Subject, capture
from nnlint.probe_service.client.outcome import Outcome
from nnlint.probe_service.client.request import ask, run_request
from nnlint.probe_service.client.telling import experiments
from nnlint.probe_service.client.upload import Uploaded, contents
from nnlint.probe_service.diagnose import measured
from nnlint.probe_service.options import ProbeOptions
from nnlint.probe_service.replay.run import execute
from nnlint.protos.v1 import probe_service_pb2, worker_pb2
from nnlint.protos.v1.measurement_pb2 import MeasurementPlan

LIMITS = probe_service_pb2.Limits(
    message_bytes=1 << 30,
    blob_bytes=1 << 32,
    graph_bytes=1 << 28,
    nodes=100_000,
    elements=1 << 33,
    steps=10_000,
    samples=100_000,
    seconds=600.0,
    digests_per_call=100_000,
)


def capture_text(
    text: str, *, path: str = "model.py", options: ProbeOptions | None = None, loader: str = ""
) -> Capture:
    """Capture the first model of a source text; `loader` is a function in it that gives a batch."""
    source = Source.parse(path, text)
    code = UserCode(path, text, "")
    module = types.ModuleType("probed_model")
    module.__file__ = path
    with warnings.catch_warnings(), devices.on_cpu(), built.recording(code):
        warnings.simplefilter("ignore")
        exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 - a model of ours
        target = discover(source)[0]
        settings = ModelSettings()
        model = build(module, target, settings).train()
        graph: ModelGraph | None = None
        try:
            graph = engine.model_graph(
                model,
                target=target,
                source=source,
                settings=settings,
                code=code,
                built_at=built.built_at,
            )
        except (ForwardError, NotTraceableError):
            graph = None
        options, batch = options or ProbeOptions(), None
        if loader:
            found = getattr(module, loader)
            batch = from_loader(found, model, options, code, what=loader)
        subject = Subject(model, target, code, built.built_at, settings, graph, batch=batch)
        return capture(subject, options)


def replay(captured: Capture, options: ProbeOptions | None = None) -> Measured:
    """Run a capture as a worker does, on the CPU, and join what it measured."""
    options = options or ProbeOptions()
    server = probe_service_pb2.GetCapabilitiesResponse(limits=LIMITS)
    asked = ask(captured, options, LIMITS)
    request = run_request(captured, options, server, asked, keep_alive_seconds=0)
    job = worker_pb2.WorkerJob(request=request, limits=LIMITS, device="cpu", threads=0)
    events: list[worker_pb2.WorkerEvent] = []
    blobs = contents(captured)
    execute(job, lambda digest: blobs[digest.sha256], events.append, lambda _: None)
    assert not any(event.HasField("refusal") for event in events), events[-1].refusal
    outcome = Outcome(
        capture=captured,
        plan=next((e.plan for e in events if e.HasField("plan")), MeasurementPlan()),
        steps=[event.step for event in events if event.HasField("step")],
        result=next(event.result for event in events if event.HasField("result")),
        uploaded=Uploaded(0, 0, 0.0),
        server=server,
        asked=asked,
        found=[event.experiment for event in events if event.HasField("experiment")],
    )
    found = measured(captured, options, outcome.plan, outcome.steps, outcome.result)
    return dataclasses.replace(found, experiments=experiments(outcome))


def probe_text(
    text: str, rules: Iterable[type[Rule]] | None = None, *, loader: str = "", **options: Any
) -> tuple[tuple[Finding, ...], tuple[Check, ...]]:
    """Probe the first model of a source text and judge it."""
    chosen = ProbeOptions(**options)
    found = replay(capture_text(text, options=chosen, loader=loader), chosen)
    return run_probe_rules(found, all_rules() if rules is None else rules)


def line_of(text: str, part: str, path: str = "model.py") -> Location:
    """Return the first line of a text that has a part."""
    number = next(i for i, line in enumerate(text.splitlines(), 1) if part in line)
    return Location(path, number)
