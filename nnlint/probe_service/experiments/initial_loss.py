"""The loss before the first step, in training mode, and how often each label occurs."""

from __future__ import annotations

import torch

from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay.program import Program
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "initial_loss"
# Labels further apart are not told.
_MOST_LABELS = 100_000
_WHOLE = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})


def needs(_experiment: pb.InitialLossExperiment) -> Needs:
    """Return what memory it takes: none beyond a forward pass."""
    return Needs()


def run(experiment: pb.InitialLossExperiment, context: Context) -> None:
    """Run it."""
    context.stage(pb.Stage.KIND_RUNNING)
    program = context.program
    kept = {index: tensor.detach().clone() for index, tensor in program.changing().items()}
    found = measurement_pb2.InitialLossResult()
    targets: dict[int, list[torch.Tensor]] = {index: [] for index in _labels(program)}
    for step in range(experiment.batches):
        with torch.no_grad():
            for index, tensor in program.changing().items():
                tensor.copy_(kept[index])
        made = program.inputs(step)
        for index, seen in targets.items():
            seen.append(made[index].detach().reshape(-1).cpu())
        program.seed_step(step)
        loss = float(program.forward(journal=context.journal, gradients=False))
        found.losses.append(loss)
        context.progress(step + 1, experiment.batches, loss, 0.0)
    found.labels.extend(_counts(torch.cat(seen)) for seen in targets.values())
    context.program.reset()
    context.finish(measurement_pb2.ExperimentResult(initial_loss=found))


def _labels(program: Program) -> list[int]:
    """Return the positions of the targets of integers."""
    return [
        index
        for index, tensor in program.inputs(0).items()
        if program.graph.tensors[index].role == graph_pb2.Tensor.ROLE_TARGET
        and tensor.dtype in _WHOLE
    ]


def _counts(labels: torch.Tensor) -> measurement_pb2.LabelCounts:
    """Return how often each label occurs; nothing where they are too far apart."""
    if not labels.numel():
        return measurement_pb2.LabelCounts()
    low, high = int(labels.min()), int(labels.max())
    if high - low >= _MOST_LABELS:
        return measurement_pb2.LabelCounts()
    counts = torch.bincount(labels.to(torch.int64) - low)
    return measurement_pb2.LabelCounts(first=low, counts=counts.tolist())
