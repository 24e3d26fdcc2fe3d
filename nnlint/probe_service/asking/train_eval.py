"""Ask for the loss of the same batch in training and in evaluation mode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from nnlint.linter.experiments import TrainEval
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "train_eval"
# By then the usual momentum of 0.1 has left 0.5 % of what running statistics began with.
PASSES = 50
# Random streams in either mode: what differs between them is drawn at random.
STREAMS = 4


def ask(subject: Subject) -> pb.TrainEvalExperiment | str:
    """Return the settings; statistics settle only where there is something to settle."""
    found, limits = subject.capture.evaluation, subject.limits
    if found is None:
        return "the step was not captured in evaluation mode"
    if not found.graph:
        return found.reason
    if limits.graph_bytes and len(found.graph) > limits.graph_bytes:
        return (
            f"its graph in evaluation mode takes {len(found.graph)} bytes, and the service takes "
            f"{limits.graph_bytes}"
        )
    graph = graph_pb2.Digest(
        sha256=hashlib.sha256(found.graph).digest(), size_bytes=len(found.graph)
    )
    passes = PASSES if _settles(subject, found.tensors) else 0
    if limits.steps:
        passes = max(min(passes, limits.steps - 2 * STREAMS), 0)
    return pb.TrainEvalExperiment(graph=graph, tensors=found.tensors, passes=passes)


def check(field: str, experiment: pb.TrainEvalExperiment, limits: pb.Limits) -> Iterator[Violation]:
    """Yield what is wrong with settings; whether both graphs fit shows when they are there."""
    if experiment.passes > limits.steps:
        yield Violation(f"{field}.passes", f"{experiment.passes} is more than {limits.steps}")
    if len(experiment.graph.sha256) != 32:
        yield Violation(f"{field}.graph.sha256", "a SHA-256 has 32 bytes")
    if experiment.graph.size_bytes > limits.graph_bytes:
        text = f"{experiment.graph.size_bytes} is more than {limits.graph_bytes}"
        yield Violation(f"{field}.graph.size_bytes", text)
    if len(experiment.tensors) > limits.nodes:
        text = f"{len(experiment.tensors)} positions are more than {limits.nodes}"
        yield Violation(f"{field}.tensors", text)
    elif any(position < -1 for position in experiment.tensors):
        yield Violation(f"{field}.tensors", "a position is negative, and not -1")


def work(experiment: pb.TrainEvalExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=experiment.passes + 2 * STREAMS)


def graphs(experiment: pb.TrainEvalExperiment) -> list[graph_pb2.Digest]:
    """Return the graph in evaluation mode."""
    return [experiment.graph]


def read(result: measurement_pb2.TrainEvalResult, _subject: Subject) -> TrainEval:
    """Return what was found."""
    return TrainEval(
        train_losses=tuple(result.train_losses[:STREAMS]),
        eval_losses=tuple(result.eval_losses[:STREAMS]),
    )


def _settles(subject: Subject, tensors: tuple[int, ...]) -> bool:
    """Tell whether evaluation uses a buffer or constant that training may change."""
    states = {graph_pb2.Tensor.ROLE_BUFFER, graph_pb2.Tensor.ROLE_CONSTANT}
    roles = [tensor.role for tensor in subject.graph.tensors]
    return any(0 <= position < len(roles) and roles[position] in states for position in tensors)
