"""Ask for the loss and the gradients at further initialisations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from nnlint.linter.experiments import Initialisation, Seeds
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "seeds"


def ask(subject: Subject) -> pb.SeedsExperiment | str:
    """Return the settings: those parameters are drawn anew whose elements were drawn by themselves."""
    if not _trained(subject):
        return "no parameter is trained"
    shuffled = _shuffled(subject)
    if not shuffled:
        return "no parameter is known to be drawn at random, element by element"
    return pb.SeedsExperiment(seeds=subject.options.seeds, shuffled=shuffled)


def check(field: str, experiment: pb.SeedsExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings; whether the positions exist shows with the graph."""
    if not 1 <= experiment.seeds < limits.steps:
        text = f"{experiment.seeds} is not from 1 to {limits.steps - 1}"
        yield Violation(f"{field}.seeds", text)
    if not 1 <= len(experiment.shuffled) <= limits.nodes:
        text = f"{len(experiment.shuffled)} positions; from 1 to {limits.nodes}"
        yield Violation(f"{field}.shuffled", text)
    elif any(one >= other for one, other in itertools.pairwise(experiment.shuffled)):
        yield Violation(f"{field}.shuffled", "the positions do not rise")


def work(experiment: pb.SeedsExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.seeds + 1)


def graphs(_experiment: pb.SeedsExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.SeedsResult, subject: Subject) -> Seeds:
    """Return what was found."""
    count = len(_trained(subject))
    most = subject.options.seeds + 1
    return Seeds(
        initialisations=tuple(
            Initialisation(
                loss=each.loss,
                gradient_rms=tuple(
                    None if value < 0 else value
                    for value in _padded(each.parameter_gradient_rms, count)
                ),
            )
            for each in result.initialisations[:most]
        ),
        shuffled=len(_shuffled(subject)),
    )


def _padded(values: Iterable[float], count: int) -> list[float]:
    found = list(itertools.islice(values, count))
    return found + [-1.0] * (count - len(found))


def _trained(subject: Subject) -> list[int]:
    return [
        index
        for index, tensor in enumerate(subject.graph.tensors)
        if tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and tensor.requires_grad
    ]


def _shuffled(subject: Subject) -> list[int]:
    sites = subject.capture.tensors
    return [
        index
        for index, (tensor, site) in enumerate(zip(subject.graph.tensors, sites, strict=True))
        if tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and site.drawn
    ]
