"""Steps with a learning rate that grows, until the loss diverges.

They go through the user's batches again and again, or through four batches where inputs are drawn.
"""

from __future__ import annotations

from nnlint.probe_service.experiments import sweep
from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay import optimise
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "lr_range"
# Random labels that are drawn anew for each step cannot be learned at any rate; those of a few
# batches that come again can.
_DRAWN_BATCHES = 4


def needs(experiment: pb.LrRangeExperiment) -> Needs:
    """Return what memory it takes: the optimiser's state."""
    return Needs(optimizer=optimise.state_tensors(experiment.optimizer))


def run(experiment: pb.LrRangeExperiment, context: Context) -> None:
    """Run it."""
    context.stage(pb.Stage.KIND_RUNNING)
    program = context.program
    if program.batches() is None:
        program = program.going_through(_DRAWN_BATCHES)
    trainer = Trainer(program, experiment.optimizer, journal=context.journal)
    rates = sweep.rates(
        experiment.start, experiment.end, experiment.steps, linear=experiment.linear
    )
    average = sweep.Average(experiment.smoothing, experiment.divergence)
    found = measurement_pb2.LrRangeResult()
    for step, rate in enumerate(rates):
        trainer.set_rate(rate)
        loss = float(trainer.bare(step))
        average.add(loss)
        found.learning_rates.append(rate)
        found.losses.append(loss)
        context.progress(step + 1, experiment.steps, loss, rate)
        if average.diverged:
            found.diverged = rate
            break
    found.smoothed.extend(average.values)
    part = sweep.judged(average.values)
    steepest = sweep.steepest(average.values[part])
    if steepest is not None:
        found.steepest = rates[part][steepest]
    valley = sweep.valley(average.values[part])
    if valley is not None:
        found.valley = rates[part][valley]
    context.program.reset()
    context.finish(measurement_pb2.ExperimentResult(lr_range=found))
