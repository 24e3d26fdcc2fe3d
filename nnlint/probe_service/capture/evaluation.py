"""Capture the same step once more in evaluation mode, to be compared with that in training mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.load import failures
from nnlint.probe_service.capture import parity
from nnlint.probe_service.capture.bundle import Evaluation
from nnlint.probe_service.capture.eager import Eager, undisturbed
from nnlint.probe_service.capture.export import Exported
from nnlint.probe_service.capture.feed import Call
from nnlint.probe_service.capture.wrapper import TrainingStep, copied
from nnlint.probe_service.encode.encode import Encoded
from nnlint.probe_service.replay.program import Program
from nnlint.protos.v1 import graph_pb2

if TYPE_CHECKING:
    from torch import nn

Blobs = Mapping[bytes, memoryview]
# Exports and encodes a step of a model.
Export = Callable[["nn.Module"], tuple[Exported, Encoded]]
_CONSTANT = graph_pb2.Tensor.ROLE_CONSTANT
_DATA = frozenset({graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET})


def evaluation(
    model: nn.Module,
    call: Call,
    eager: Eager,
    training: tuple[Exported, Encoded],
    export: Export,
    *,
    seed: int,
) -> tuple[Evaluation, Blobs]:
    """Return the step in evaluation mode, and the blobs that its graph names.

    Where that cannot be had, the reason stands in the result: it is no fault of the training step.

    Args:
        model: The live model in training mode, which is not changed.
        call: How forward is called.
        eager: The step in training mode, with the losses as they were settled by it.
        training: What the graph in training mode was encoded from, and that.
        export: Does the same for a model in evaluation mode.
        seed: The probe's seed.
    """
    try:
        expected = _loss(_evaluating(model), call, eager, seed)
        # Some models rewrite their weights when the mode changes, so this is a whole copy as well.
        again = _evaluating(model)
        exported, encoded = export(again)
        _compare(encoded, expected, seed)
    except NnlintError as error:
        return Evaluation(reason=f"in evaluation mode {str(error).rstrip('.')}"), {}
    return (
        Evaluation(
            graph=encoded.graph.SerializeToString(deterministic=True),
            tensors=tuple(_positions(model, again, training, (exported, encoded))),
        ),
        encoded.blobs,
    )


def _evaluating(model: nn.Module) -> nn.Module:
    try:
        return copied(model).eval()
    except Exception as error:
        raise CaptureError(f"the model raises {failures.describe(error)}") from error


def _loss(model: nn.Module, call: Call, eager: Eager, seed: int) -> torch.Tensor:
    """Return the loss of the live model's copy."""
    labels = [feed for group in eager.targets for feed in group]
    step = TrainingStep(model, call, eager.plan.terms, [len(group) for group in eager.targets])
    tensors = [
        feed.tensor(seed=seed, index=index) for index, feed in enumerate([*call.feeds, *labels])
    ]
    with undisturbed(seed):
        try:
            loss, *_ = step(*tensors)
        except NnlintError:
            raise
        except Exception as error:
            raise CaptureError(f"forward or the loss raises {failures.describe(error)}") from error
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise CaptureError("the loss is no number")
    return loss.detach()


def _compare(encoded: Encoded, expected: torch.Tensor, seed: int) -> None:
    program = Program.load(
        encoded.graph,
        lambda digest: encoded.blobs[digest.sha256],
        device=torch.device("cpu"),
        seed=seed,
    )
    program.inputs(0)
    try:
        with undisturbed(seed), torch.no_grad():
            loss = program.forward(gradients=False)
    except Exception as error:
        raise CaptureError(
            f"the captured graph does not run: {failures.describe(error)}"
        ) from error
    if parity.relative(expected.reshape(()), loss.reshape(()), 0.0) > parity.TOLERANCE:
        raise CaptureError(
            f"the captured graph gives another loss than the model: {float(loss):.6g} instead of "
            f"{float(expected):.6g}"
        )


def _positions(
    model: nn.Module,
    again: nn.Module,
    training: tuple[Exported, Encoded],
    evaluating: tuple[Exported, Encoded],
) -> list[int]:
    """Return for each tensor in evaluation mode its position in training mode, -1 without one."""
    exported, encoded = training
    tensors = encoded.graph.tensors
    places = {
        _place(entry.contents[0]): index
        for index, entry in enumerate(exported.step.tensors)
        if tensors[index].role not in _DATA
    }
    constants = {
        exported.tensors[index].name: index
        for index, tensor in enumerate(tensors)
        if tensor.role == _CONSTANT
    }
    live = _named(model)
    names = {_place(tensor): name for name, tensor in _named(again).items()}
    found = []
    for index, tensor in enumerate(evaluating[1].graph.tensors):
        if tensor.role in _DATA:
            found.append(index)
            continue
        content = evaluating[0].step.tensors[index].contents[0]
        name = names.get(_place(content), "")
        position = places.get(_place(live[name])) if name in live else None
        if position is None and tensor.role == _CONSTANT:
            position = constants.get(evaluating[0].tensors[index].name)
        # What the change of mode has rewritten is another tensor.
        same = position is not None and tensors[position].digest == tensor.digest
        found.append(position if same and position is not None else -1)
    return found


def _named(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _place(tensor: torch.Tensor) -> object:
    """Return what tensors have in common that are the same elements."""
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())
