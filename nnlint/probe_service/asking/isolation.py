"""Ask whether the outputs of a sample depend on other samples."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.experiments import Isolation, Leak
from nnlint.probe_service.asking.base import Subject, Work
from nnlint.probe_service.replay.samples import batch_dimension
from nnlint.probe_service.replay.structure import FLOATING
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

KIND = "isolation"
# Forward passes: two that are alike, two with another sample, two with the batch in dimension 1,
# and three that look at every node.
RUNS = 9


def ask(subject: Subject) -> pb.IsolationExperiment | str:
    """Return the settings, which are none."""
    graph = subject.graph
    size = graph.batch_size
    if size < 2:
        return "a batch of one sample has no other"
    inputs = [t for t in graph.tensors if t.role == graph_pb2.Tensor.ROLE_INPUT]
    if all(batch_dimension(tensor.shape, size) is None for tensor in inputs):
        return f"no input has a dimension of {size} samples"
    if not graph.outputs:
        return "forward returns no tensor beside the loss"
    if not any(_counts_samples(graph, output) for output in graph.outputs):
        return f"no output has a dimension of {size} samples"
    return pb.IsolationExperiment()


def check(_field: str, _experiment: pb.IsolationExperiment, _limits: pb.Limits) -> list[Violation]:
    """Return nothing: there are no settings."""
    return []


def work(_experiment: pb.IsolationExperiment) -> Work:
    """Return the most that is done."""
    return Work(steps=RUNS)


def graphs(_experiment: pb.IsolationExperiment) -> list[graph_pb2.Digest]:
    """Return no further graphs."""
    return []


def read(result: measurement_pb2.IsolationResult, subject: Subject) -> Isolation:
    """Return what was found."""
    return Isolation(
        compared=min(result.compared, len(subject.graph.outputs)),
        leaks=tuple(_leaks(result, subject)),
        batch_statistics=result.batch_statistics,
    )


def _leaks(result: measurement_pb2.IsolationResult, subject: Subject) -> Iterator[Leak]:
    graph = subject.graph
    for leak in result.leaks:
        if leak.output < len(graph.outputs):
            known = leak.HasField("node") and leak.node < len(graph.nodes)
            yield Leak(
                output=leak.output,
                samples=min(leak.samples, graph.batch_size),
                change=leak.change,
                node=leak.node if known else None,
            )


def _counts_samples(graph: graph_pb2.Graph, output: graph_pb2.Reference) -> bool:
    if output.WhichOneof("source") != "node":
        return False
    value = graph.nodes[output.node].outputs[output.output]
    return value.dtype in FLOATING and batch_dimension(value.shape, graph.batch_size) is not None
