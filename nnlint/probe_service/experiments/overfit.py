"""Steps on a few samples, again and again, without dropout: a sound model learns them by heart."""

from __future__ import annotations

import math
from collections import deque

from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay import optimise
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.switching import switched
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "overfit"


def needs(experiment: pb.OverfitExperiment) -> Needs:
    """Return what memory it takes: the optimisers' state, of one at a time."""
    return Needs(optimizer=max(map(optimise.state_tensors, experiment.optimizers), default=0))


def run(experiment: pb.OverfitExperiment, context: Context) -> None:
    """Run it; a model whose loss is at its floor from the start makes no step."""
    context.stage(pb.Stage.KIND_RUNNING)
    quiet = switched(context.program, dropout=False).program
    program = quiet.going_through(experiment.batches)
    found = measurement_pb2.OverfitResult(
        samples=experiment.batches * context.program.graph.batch_size
    )
    initial = _initial(program, experiment.batches, context)
    goal = experiment.floor + experiment.share * (initial - experiment.floor)
    if not math.isfinite(initial) or initial <= experiment.floor:
        found.attempts.add(
            learning_rate=experiment.optimizers[0].learning_rate,
            losses=[initial],
            reached=math.isfinite(initial),
        )
    else:
        for settings in experiment.optimizers:
            attempt = _attempt(experiment, settings, program, goal, context)
            found.attempts.append(attempt)
            if attempt.reached:
                break
    context.program.reset()
    context.finish(measurement_pb2.ExperimentResult(overfit=found))


def _initial(program: Program, batches: int, context: Context) -> float:
    """Return the mean loss of all batches at the initial state."""
    losses = []
    for step in range(batches):
        program.inputs(step)
        program.seed_step(step)
        losses.append(float(program.forward(journal=context.journal, gradients=False)))
        context.progress(step + 1, batches, losses[-1], 0.0)
    return sum(losses) / batches


def _attempt(
    experiment: pb.OverfitExperiment,
    settings: pb.Optimizer,
    program: Program,
    goal: float,
    context: Context,
) -> measurement_pb2.OverfitResult.Attempt:
    """Make steps with one optimiser until the mean loss of a pass over the batches is at the goal."""
    trainer = Trainer(program, settings, journal=context.journal)
    attempt = measurement_pb2.OverfitResult.Attempt(learning_rate=settings.learning_rate)
    window: deque[float] = deque(maxlen=experiment.batches)
    for step in range(experiment.steps):
        loss = float(trainer.bare(step))
        attempt.losses.append(loss)
        window.append(loss)
        context.progress(step + 1, experiment.steps, loss, settings.learning_rate)
        if not math.isfinite(loss):
            break
        if len(window) == experiment.batches and sum(window) / experiment.batches <= goal:
            attempt.reached = True
            break
    return attempt
