"""The same steps without and with clipped gradients."""

from __future__ import annotations

import math

import torch
from torch.nn.utils import clip_grad_norm_, get_total_norm

from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay import optimise
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "clip"


def needs(experiment: pb.ClipExperiment) -> Needs:
    """Return what memory it takes: the optimiser's state."""
    return Needs(optimizer=optimise.state_tensors(experiment.optimizer))


def run(experiment: pb.ClipExperiment, context: Context) -> None:
    """Run it."""
    context.stage(pb.Stage.KIND_RUNNING)
    found = measurement_pb2.ClipResult()
    found.losses[:], found.norms[:] = _steps(experiment, context, None)
    found.clipped_losses[:], found.clipped_norms[:] = _steps(
        experiment, context, experiment.max_norm
    )
    context.program.reset()
    context.finish(measurement_pb2.ExperimentResult(clip=found))


def _steps(
    experiment: pb.ClipExperiment, context: Context, max_norm: float | None
) -> tuple[list[float], list[float]]:
    """Make the steps from the initial state, and return losses and norms; both end at infinity."""
    trainer = Trainer(context.program, experiment.optimizer, journal=context.journal)
    norm = torch.zeros(())

    def between(gradients: list[torch.Tensor]) -> None:
        nonlocal norm
        if max_norm is None:
            norm = get_total_norm(gradients)
        else:
            norm = clip_grad_norm_(trainer.parameters, max_norm)

    losses, norms = [], []
    before = 0 if max_norm is None else experiment.steps
    for step in range(experiment.steps):
        loss = trainer.bare(step, between).reshape(())
        both = torch.stack([loss.double(), norm.to(loss.device).double()]).tolist()
        losses.append(both[0])
        norms.append(both[1])
        context.progress(
            before + step + 1, 2 * experiment.steps, both[0], experiment.optimizer.learning_rate
        )
        if not all(map(math.isfinite, both)):
            break
    return losses, norms
