"""Run one experiment on a graph, in this process, without a request around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nnlint.probe_service import experiments
from nnlint.probe_service.replay.program import Program
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from tests.probe import graphs
from tests.probe.replay.running import load, planned


def found(
    built: graphs.Built,
    kind: str,
    settings: Any,
    *,
    program: Program | None = None,
    other: Callable[[graph_pb2.Digest], Program] | None = None,
) -> Any:
    """Return what an experiment finds, once it has left the program as it was."""
    program = program or load(built)
    before = {index: tensor.detach().clone() for index, tensor in program.state().items()}
    results: list[measurement_pb2.ExperimentResult] = []
    told: list[tuple[int, int]] = []

    def unused(*_: Any) -> Any:
        raise AssertionError("not a part of this experiment")

    context = experiments.Context(
        program=program,
        plan=planned(program),
        journal=lambda _: None,
        stage=lambda _: None,
        step=unused,
        load=other or unused,
        progress=lambda step, steps, _loss, _rate: told.append((step, steps)),
        finish=results.append,
    )
    module = experiments.find(kind)
    assert module is not None
    program.reset()
    module.run(settings, context)
    assert told, "no progress was told"
    assert all(0 < step <= steps for step, steps in told)
    for index, tensor in program.state().items():
        assert torch.equal(tensor, before[index]), f"tensor {index} was left changed"
        assert tensor.grad is None
    (result,) = results
    return getattr(result, kind)
