"""Ask for the same steps without and with clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nnlint.linter.experiments import Clipping
from nnlint.probe_service.asking import optimizers
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "clip"


def ask(subject: Subject) -> pb.ClipExperiment | str:
    """Return the settings, or why there is nothing to clip."""
    options, limits = subject.options, subject.limits
    if not optimizers.trainable(subject.graph):
        return "no parameter is trained"
    if options.max_norm <= 0:
        return "no norm is below 0, and at 0 nothing is trained"
    if limits.steps and 2 * options.clip_steps > limits.steps:
        return (
            f"{2 * options.clip_steps} steps are more than the {limits.steps} that the server makes"
        )
    return pb.ClipExperiment(
        steps=options.clip_steps,
        max_norm=options.max_norm,
        optimizer=optimizers.optimizer(options),
    )


def check(field: str, experiment: pb.ClipExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    if not 1 <= experiment.steps <= limits.steps:
        yield Violation(f"{field}.steps", f"{experiment.steps} is not from 1 to {limits.steps}")
    if not (math.isfinite(experiment.max_norm) and experiment.max_norm > 0):
        yield Violation(f"{field}.max_norm", f"{experiment.max_norm:g} is no number above 0")
    yield from optimizers.check(f"{field}.optimizer", experiment.optimizer)


def work(experiment: pb.ClipExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=2 * experiment.steps)


def graphs(_experiment: pb.ClipExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.ClipResult, subject: Subject) -> Clipping | None:
    """Return both ways; None for lists that do not belong together."""
    if len(result.losses) != len(result.norms):
        return None
    if len(result.clipped_losses) != len(result.clipped_norms):
        return None
    return Clipping(
        max_norm=subject.options.max_norm,
        losses=tuple(result.losses),
        clipped_losses=tuple(result.clipped_losses),
        norms=tuple(result.norms),
        clipped_norms=tuple(result.clipped_norms),
    )
