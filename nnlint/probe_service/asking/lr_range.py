"""Ask for steps with a learning rate that grows, until the loss diverges."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.experiments import LearningRateRange
from nnlint.probe_service.asking import optimizers
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "lr_range"
# The defaults of torch-lr-finder's `LRFinder.range_test`.
_SMOOTHING = 0.05
_DIVERGENCE = 5.0
# Rates below are no numbers that float32 arithmetic could step with.
_LEAST = 1e-38


def ask(subject: Subject) -> pb.LrRangeExperiment | str:
    """Return the settings, or why there is nothing to step."""
    options, limits = subject.options, subject.limits
    if not optimizers.trainable(subject.graph):
        return "no parameter is trained"
    if limits.steps and options.lr_steps > limits.steps:
        return f"{options.lr_steps} steps are more than the {limits.steps} that the server makes"
    return pb.LrRangeExperiment(
        start=options.lr_start,
        end=options.lr_end,
        steps=options.lr_steps,
        linear=options.lr_linear,
        smoothing=_SMOOTHING,
        divergence=_DIVERGENCE,
        optimizer=optimizers.optimizer(options),
    )


def check(field: str, experiment: pb.LrRangeExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    if not 2 <= experiment.steps <= limits.steps:
        yield Violation(f"{field}.steps", f"{experiment.steps} is not from 2 to {limits.steps}")
    yield from optimizers.within(f"{field}.start", experiment.start, _LEAST, optimizers.MOST)
    yield from optimizers.within(f"{field}.end", experiment.end, _LEAST, optimizers.MOST)
    if not experiment.start < experiment.end:
        yield Violation(f"{field}.end", f"{experiment.end:g} is not above start")
    if not 0 < experiment.smoothing <= 1:
        yield Violation(f"{field}.smoothing", f"{experiment.smoothing:g} is not in (0, 1]")
    yield from optimizers.within(f"{field}.divergence", experiment.divergence, 0.0, optimizers.MOST)
    yield from optimizers.check(f"{field}.optimizer", experiment.optimizer)


def work(experiment: pb.LrRangeExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.steps)


def graphs(_experiment: pb.LrRangeExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.LrRangeResult, subject: Subject) -> LearningRateRange | None:
    """Return the curve with its suggestions; None for lists that do not belong together."""
    count = len(result.learning_rates)
    if not count or not count == len(result.losses) == len(result.smoothed):
        return None
    return LearningRateRange(
        learning_rates=tuple(result.learning_rates),
        losses=tuple(result.losses),
        smoothed=tuple(result.smoothed),
        steepest=result.steepest if result.HasField("steepest") else None,
        valley=result.valley if result.HasField("valley") else None,
        diverged=result.diverged if result.HasField("diverged") else None,
        linear=subject.options.lr_linear,
    )
