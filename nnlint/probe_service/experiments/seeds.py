"""Compare the loss and the gradients of one batch at several initialisations.

Where the elements of a parameter are independent draws from one distribution, every order of them
is equally likely: another order is another initialisation, whatever the distribution was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from nnlint.probe_service.draw import stream
from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.violations import InvalidGraphError, Violation, first
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2

KIND = "seeds"
# Parts of the stream of random numbers that no step draws from.
_ORDERS = 0x5EED
_NOTHING = -1.0


def needs(_experiment: probe_service_pb2.SeedsExperiment) -> Needs:
    """Return what memory it takes: an order in int64 and what is moved, of one parameter at a time."""
    return Needs(copies=3)


def run(experiment: probe_service_pb2.SeedsExperiment, context: Context) -> None:
    """Run it; every initialisation sees the same batch and the same random stream."""
    program = context.program
    if wrong := first(_violations(experiment, program)):
        raise InvalidGraphError(wrong)
    context.stage(probe_service_pb2.Stage.KIND_RUNNING)
    found = measurement_pb2.SeedsResult()
    count = experiment.seeds + 1
    for number in range(count):
        program.reset()
        if number:
            _shuffle(program, experiment.shuffled, number)
        loss, gradients = _gradients(context)
        found.initialisations.add(loss=loss, parameter_gradient_rms=gradients)
        context.progress(number + 1, count, loss, 0.0)
    program.reset()
    context.finish(measurement_pb2.ExperimentResult(seeds=found))


def _violations(
    experiment: probe_service_pb2.SeedsExperiment, program: Program
) -> Iterator[Violation]:
    tensors = program.graph.tensors
    for number, index in enumerate(experiment.shuffled):
        if index >= len(tensors) or tensors[index].role != graph_pb2.Tensor.ROLE_PARAMETER:
            yield Violation(
                f"settings.experiments.seeds.shuffled[{number}]", f"{index} is no parameter"
            )


def _shuffle(program: Program, positions: Sequence[int], number: int) -> None:
    """Put the elements of parameters into another order, the same on every device."""
    with torch.no_grad():
        for index in positions:
            tensor = program.tensor(index)
            generator = torch.Generator().manual_seed(stream(program.seed, number, index, _ORDERS))
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.copy_(tensor.reshape(-1)[order].view(tensor.shape))


def _gradients(context: Context) -> tuple[float, list[float]]:
    """Return the loss of the first batch, and the root mean square of each parameter's gradient."""
    program = context.program
    program.inputs(0)
    program.seed_step(0)
    loss = program.forward(journal=context.journal)
    program.backward(loss)
    found = [loss.detach().double().reshape(())]
    for parameter in program.trained():
        gradient = parameter.grad
        if gradient is None:
            found.append(found[0].new_tensor(_NOTHING))
            continue
        if gradient.layout != torch.strided:
            gradient = gradient.to_dense()
        # Squares of small gradients vanish in float32.
        norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
        found.append(norm / max(gradient.numel(), 1) ** 0.5)
    value, *gradients = torch.stack(found).tolist()
    return value, gradients
