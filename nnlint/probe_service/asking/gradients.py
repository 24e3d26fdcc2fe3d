"""Ask for optimiser steps, each measured, and for the activity of units."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.probe_service.asking import optimizers
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "gradients"


def ask(subject: Subject) -> pb.GradientsExperiment:
    """Return the settings."""
    options, limits = subject.options, subject.limits
    return pb.GradientsExperiment(
        steps=options.steps,
        samples=min(options.samples, limits.samples or options.samples),
        optimizer=optimizers.optimizer(options),
        histograms=options.histograms,
    )


def check(field: str, experiment: pb.GradientsExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    if not 1 <= experiment.steps <= limits.steps:
        yield Violation(f"{field}.steps", f"{experiment.steps} is not from 1 to {limits.steps}")
    if experiment.samples > limits.samples:
        yield Violation(f"{field}.samples", f"{experiment.samples} is more than {limits.samples}")
    yield from optimizers.check(f"{field}.optimizer", experiment.optimizer)


def work(experiment: pb.GradientsExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.steps, samples=experiment.samples)


def graphs(_experiment: pb.GradientsExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(_result: None, _subject: Subject) -> None:
    """Return nothing: what is measured comes step by step."""
