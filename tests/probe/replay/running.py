"""Run graphs in this process, as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from nnlint.probe_service.replay.plan import Plan, plan
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.run import execute
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2, worker_pb2
from tests.probe import graphs

CPU = torch.device("cpu")


@dataclass(slots=True)
class Events:
    """What a probe emitted."""

    all: list[worker_pb2.WorkerEvent] = field(default_factory=list)
    journal: list[int] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("event")) for event in self.all]

    @property
    def stages(self) -> list[int]:
        return [event.stage.kind for event in self.all if event.HasField("stage")]

    @property
    def steps(self) -> list[measurement_pb2.StepStatistics]:
        return [event.step for event in self.all if event.HasField("step")]

    @property
    def plan(self) -> measurement_pb2.MeasurementPlan:
        return next(event.plan for event in self.all if event.HasField("plan"))

    @property
    def result(self) -> measurement_pb2.Result:
        assert self.kinds[-1] == "result", self.all[-1]
        return self.all[-1].result

    @property
    def violations(self) -> dict[str, str]:
        assert self.kinds[-1] == "refusal", self.all[-1]
        return {each.field: each.description for each in self.all[-1].refusal.violations}

    def of_node(self, node: int) -> int:
        return list(self.plan.nodes).index(node)


def probe(
    built: graphs.Built,
    *,
    read: Callable[[graph_pb2.Digest], bytes] | None = None,
    device: str = "cpu",
    limits: dict[str, Any] | None = None,
    **settings: Any,
) -> Events:
    """Execute a probe of one gradients experiment."""
    return answered(built, built.request(**settings), read=read, device=device, limits=limits)


def answered(
    built: graphs.Built,
    request: probe_service_pb2.RunProbeRequest,
    *,
    read: Callable[[graph_pb2.Digest], bytes] | None = None,
    device: str = "cpu",
    limits: dict[str, Any] | None = None,
) -> Events:
    """Execute a request."""
    events = Events()
    job = worker_pb2.WorkerJob(
        request=request, limits=graphs.limits(**(limits or {})), device=device
    )
    everything = built.everything()
    execute(
        job,
        read or (lambda digest: everything[digest.sha256]),
        events.all.append,
        events.journal.append,
    )
    return events


def load(built: graphs.Built, **options: Any) -> Program:
    return Program.load(built.graph, built.read, **{"device": CPU, **options})


def planned(program: Program) -> Plan:
    return plan(program.graph, program.calls, program.parameters)


def step(program: Program, number: int = 0) -> torch.Tensor:
    """Make the forward and backward pass of a step."""
    program.inputs(number)
    torch.manual_seed(program.step_seed(number))
    program.clear_gradients()
    loss = program.forward()
    program.backward(loss)
    return loss.detach()
