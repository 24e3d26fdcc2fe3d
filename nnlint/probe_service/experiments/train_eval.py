"""Compare the loss of one batch in training and in evaluation mode.

Weights stay as they are. Forward passes in training mode let running statistics come near those of
the batches first, so that what is left is what the modes themselves make of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nnlint.probe_service.asking.train_eval import STREAMS
from nnlint.probe_service.draw import stream
from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.violations import InvalidGraphError, Violation, first
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2

KIND = "train_eval"
_FIELD = "settings.experiments.train_eval.tensors"
# A part of the stream of random numbers that no step draws from.
_STREAM = 0x7E
_DATA = frozenset({graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET})


def needs(_experiment: probe_service_pb2.TrainEvalExperiment) -> Needs:
    """Return what memory it takes: a graph of its own."""
    return Needs(programs=1)


def run(experiment: probe_service_pb2.TrainEvalExperiment, context: Context) -> None:
    """Run it."""
    training = context.program
    evaluating = context.load(experiment.graph)
    if wrong := first(_violations(experiment, training, evaluating)):
        raise InvalidGraphError(wrong)
    context.stage(probe_service_pb2.Stage.KIND_RUNNING)
    passes = _Passes(context, experiment.passes + 2 * STREAMS)
    for step in range(experiment.passes):
        passes.make(training, step, training.step_seed(step))
    with torch.no_grad():
        for index, position in enumerate(experiment.tensors):
            if evaluating.graph.tensors[index].role not in _DATA and position >= 0:
                evaluating.tensor(index).copy_(training.tensor(position))
    seeds = [stream(training.seed, 0, number, _STREAM) for number in range(STREAMS)]
    found = measurement_pb2.TrainEvalResult(
        train_losses=[passes.make(training, 0, seed) for seed in seeds],
        eval_losses=[passes.make(evaluating, 0, seed) for seed in seeds],
    )
    training.reset()
    context.finish(measurement_pb2.ExperimentResult(train_eval=found))


class _Passes:
    """Makes forward passes and tells of each."""

    def __init__(self, context: Context, most: int) -> None:
        self._context = context
        self._most = most
        self._made = 0

    def make(self, program: Program, step: int, seed: int) -> float:
        """Make a pass without gradients and return its loss."""
        program.inputs(step)
        program.seed_stream(seed)
        # The journal counts nodes of the graph in training mode.
        own = program is self._context.program
        with torch.no_grad():
            loss = program.forward(journal=self._context.journal if own else None, gradients=False)
        self._made += 1
        value = float(loss)
        self._context.progress(self._made, self._most, value, 0.0)
        return value


def _violations(
    experiment: probe_service_pb2.TrainEvalExperiment, training: Program, evaluating: Program
) -> Iterator[Violation]:
    known, tensors = training.graph.tensors, evaluating.graph.tensors
    if len(experiment.tensors) != len(tensors):
        text = f"{len(experiment.tensors)} positions for {len(tensors)} tensors"
        yield Violation(_FIELD, text)
        return
    for index, (position, tensor) in enumerate(zip(experiment.tensors, tensors, strict=True)):
        field = f"{_FIELD}[{index}]"
        if position >= len(known):
            yield Violation(field, f"there is no tensor {position}")
        elif tensor.role in _DATA:
            # What is drawn depends on the position.
            if position != index or known[index].SerializeToString(
                deterministic=True
            ) != tensor.SerializeToString(deterministic=True):
                yield Violation(field, "both graphs take the same inputs at the same positions")
        elif position >= 0:
            other = known[position]
            if other.role in _DATA or (other.dtype, list(other.shape)) != (
                tensor.dtype,
                list(tensor.shape),
            ):
                yield Violation(field, f"tensor {position} is of another kind")
