"""Ask what inputs and targets look like."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.experiments import Inputs, InputStatistics
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "input"
# Of data that are drawn: a second one shows that batches differ.
_DRAWN_BATCHES = 2
# What the protocol allows; a service that sends more is not believed.
_MOST_LABELS = 100_000
_DATA = {graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET}


def ask(subject: Subject) -> pb.InputExperiment | str:
    """Return the settings: all of the user's batches."""
    data = [tensor for tensor in subject.graph.tensors if tensor.role in _DATA]
    if not data:
        return "neither forward nor the loss takes a tensor"
    batches = max(
        tensor.batches if tensor.HasField("digest") else _DRAWN_BATCHES for tensor in data
    )
    return pb.InputExperiment(batches=min(batches, subject.limits.steps or batches))


def check(field: str, experiment: pb.InputExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings."""
    if not 1 <= experiment.batches <= limits.steps:
        yield Violation(f"{field}.batches", f"{experiment.batches} is not from 1 to {limits.steps}")


def work(experiment: pb.InputExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.batches)


def graphs(_experiment: pb.InputExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.InputResult, subject: Subject) -> Inputs:
    """Return what was found, inputs before targets."""
    tensors, known = subject.graph.tensors, {each.tensor: each for each in result.tensors}
    found = [
        _statistics(known[index], subject)
        for index, tensor in enumerate(tensors)
        if tensor.role in _DATA and index in known
    ]
    asked = ask(subject)
    batches = asked.batches if isinstance(asked, pb.InputExperiment) else 0
    return Inputs(
        tensors=tuple(sorted(found, key=lambda each: each.target)),
        samples=batches * subject.capture.batch_size,
    )


def _statistics(found: measurement_pb2.InputResult.Statistics, subject: Subject) -> InputStatistics:
    tensor = subject.graph.tensors[found.tensor]
    counts = found.labels.counts[:_MOST_LABELS]
    return InputStatistics(
        name=subject.capture.tensors[found.tensor].name,
        target=tensor.role == graph_pb2.Tensor.ROLE_TARGET,
        shape=tuple(tensor.shape),
        dtype=graph_pb2.ScalarType.Name(tensor.dtype).removeprefix("SCALAR_TYPE_").lower(),
        mean=found.mean,
        standard_deviation=found.standard_deviation,
        minimum=found.minimum,
        maximum=found.maximum,
        elements=found.elements,
        nans=found.nan_count,
        infinities=found.infinite_count,
        repeated_samples=found.repeated_samples,
        labels={found.labels.first + i: count for i, count in enumerate(counts) if count},
    )
