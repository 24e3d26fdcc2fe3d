"""Ask for steps on a few samples, again and again, until they are learned by heart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnlint.linter.experiments import Attempt, Overfit
from nnlint.probe_service.asking import capacity, floors, optimizers
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.asking.losses import Reader, UnknownLossError
from nnlint.probe_service.options import OVERFIT_SAMPLES
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "overfit"
# Share of the way to the floor at which samples count as learned.
_SHARE = 0.05
# AdamW, whose steps have the size of its rate whatever the scale of the gradients: its usual rate,
# and where that is too small or too large for a model, one ten times as large and as small.
_RATES = (1e-3, 1e-2, 1e-4)
_MOST_OPTIMIZERS = 8
# They are kept on the device; the samples that are wanted may be in batches of one.
_MOST_BATCHES = 64


def ask(subject: Subject) -> pb.OverfitExperiment | str:
    """Return the settings, or why the samples of this model need not be learnable."""
    options, limits = subject.options, subject.limits
    if subject.capture.loss_source == "stand-in":
        return "no loss was found, and random numbers in its place need not be learnable"
    if not optimizers.trainable(subject.graph):
        return "no parameter is trained"
    blobs = subject.capture.blobs
    reader = Reader(subject.graph)
    try:
        terms = reader.terms()
    except UnknownLossError as error:
        return f"the loss is computed by {error}, and what it cannot fall below is not known"
    floor = floors.floor(reader, terms, blobs)
    if isinstance(floor, str):
        return floor
    batches = capacity.batches(reader, terms, OVERFIT_SAMPLES, blobs)
    if isinstance(batches, str):
        return batches
    tried = _optimizers(subject)
    most = len(tried) * options.overfit_steps + batches
    if limits.steps and most > limits.steps:
        return f"{most} steps are more than the {limits.steps} that the server makes"
    return pb.OverfitExperiment(
        batches=batches,
        steps=options.overfit_steps,
        floor=floor,
        share=_SHARE,
        optimizers=tried,
    )


def _optimizers(subject: Subject) -> Sequence[pb.Optimizer]:
    options = subject.options
    if options.optimizer and options.learning_rate is not None:
        chosen = optimizers.optimizer(options)
        chosen.weight_decay = 0.0
        return [chosen]
    usual = pb.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8)
    return [pb.Optimizer(learning_rate=rate, adamw=usual) for rate in _RATES]


def check(field: str, experiment: pb.OverfitExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    for name, most in (("batches", _MOST_BATCHES), ("steps", limits.steps)):
        value = getattr(experiment, name)
        if not 1 <= value <= most:
            yield Violation(f"{field}.{name}", f"{value} is not from 1 to {most}")
    if not math.isfinite(experiment.floor):
        yield Violation(f"{field}.floor", f"{experiment.floor:g} is not finite")
    if not 0 < experiment.share <= 1:
        yield Violation(f"{field}.share", f"{experiment.share:g} is not in (0, 1]")
    count = len(experiment.optimizers)
    if not 1 <= count <= _MOST_OPTIMIZERS:
        yield Violation(f"{field}.optimizers", f"{count} optimisers; from 1 to {_MOST_OPTIMIZERS}")
        return
    for position, each in enumerate(experiment.optimizers):
        yield from optimizers.check(f"{field}.optimizers[{position}]", each)


def work(experiment: pb.OverfitExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.batches + experiment.steps * len(experiment.optimizers))


def graphs(_experiment: pb.OverfitExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.OverfitResult, subject: Subject) -> Overfit | None:
    """Return the attempts; None where there is none, or one without a loss."""
    attempts = tuple(
        Attempt(each.learning_rate, tuple(each.losses), each.reached) for each in result.attempts
    )
    if not attempts or not all(each.losses for each in attempts):
        return None
    asked = ask(subject)
    return Overfit(
        samples=result.samples,
        attempts=attempts,
        floor=0.0 if isinstance(asked, str) else asked.floor,
        steps=subject.options.overfit_steps,
    )
