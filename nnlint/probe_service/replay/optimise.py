"""The optimiser of a probe, by torch.optim, and training that can go back to the start of a step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.parameters import Parameters, Share, shares
from nnlint.probe_service.replay.program import Journal, Program, Watch
from nnlint.probe_service.replay.reading import Reading
from nnlint.protos.v1 import probe_service_pb2

# Between two copies of the whole state. Going back repeats at most so many steps, unmeasured.
CHECKPOINT_STEPS = 16


def optimizer(
    settings: probe_service_pb2.Optimizer, parameters: list[torch.Tensor]
) -> torch.optim.Optimizer:
    """Return the optimiser.

    Args:
        settings: Checked by `asking.optimizers`.
        parameters: At least one.
    """
    if settings.WhichOneof("algorithm") == "adamw":
        adamw = settings.adamw
        return torch.optim.AdamW(
            parameters,
            lr=settings.learning_rate,
            betas=(adamw.beta1, adamw.beta2),
            eps=adamw.epsilon,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.SGD(
        parameters,
        lr=settings.learning_rate,
        momentum=settings.sgd.momentum,
        nesterov=settings.sgd.nesterov,
        weight_decay=settings.weight_decay,
    )


def state_tensors(settings: probe_service_pb2.Optimizer) -> int:
    """Return how many tensors of its size the optimiser keeps for each parameter."""
    if settings.WhichOneof("algorithm") == "adamw":
        return 2
    return 1 if settings.sgd.momentum else 0


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    step: int
    tensors: dict[int, torch.Tensor]
    optimizers: list[dict[str, Any]]


class Trainer:
    """Makes optimiser steps from the initial state, each with a random stream of its own.

    Attributes:
        program: What is trained.
        parameters: Its trainable parameters.
        shares: What they are stepped in.
    """

    def __init__(
        self,
        program: Program,
        settings: probe_service_pb2.Optimizer,
        *,
        journal: Journal | None = None,
    ) -> None:
        self.program = program
        self.parameters = program.trained()
        self.shares: list[Share] = shares(self.parameters)
        self._settings = settings
        self._journal = journal
        self._checkpoint: _Checkpoint | None = None
        # One for each share.
        self._optimizers: list[torch.optim.Optimizer] = []
        self._restart()

    def prepare(self, step: int) -> None:
        """Set inputs and random stream of a step, and forget the gradients of the one before."""
        self.program.inputs(step)
        self.program.seed_step(step)
        self.program.clear_gradients()

    def bare(
        self, step: int, between: Callable[[list[torch.Tensor]], None] | None = None
    ) -> torch.Tensor:
        """Make a step without measuring and return its loss, on the device.

        Args:
            step: Position of the step.
            between: Is given all gradients, which it may change, after the backward pass and before
                the optimiser's step.
        """
        self.prepare(step)
        loss = self.program.forward(journal=self._journal)
        self.program.backward(loss)
        if between is not None:
            self._densify()
            between([each.grad for each in self.parameters if each.grad is not None])
        self._step()
        return loss.detach()

    def set_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        for each in self._optimizers:
            for group in each.param_groups:
                group["lr"] = learning_rate

    def measured(self, step: int, meter: Meter, watch: Watch | None = None) -> Reading:
        """Make a step and measure it.

        Args:
            step: Position of the step.
            meter: Measures.
            watch: What is done with the results, where that is more than what the meter does.
        """
        if step and step % CHECKPOINT_STEPS == 0:
            self._save(step)
        meter.begin()
        self.prepare(step)
        loss = self.program.forward(journal=self._journal, watch=watch or meter.watch)
        meter.loss(loss)
        self.program.backward(loss)
        del loss
        self._step(meter.gradients(self.parameters, self.shares))
        return meter.read()

    def rewind(self, step: int) -> None:
        """Return to the state before a step, by repeating what led there."""
        start = 0
        if self._checkpoint is not None and self._checkpoint.step <= step:
            start = self._checkpoint.step
            self._restore(self._checkpoint)
        else:
            self._restart()
        for earlier in range(start, step):
            self.bare(earlier)

    def _densify(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                parameter.grad = parameter.grad.to_dense()

    def _step(self, measure: Parameters | None = None) -> None:
        self._densify()
        for number, (share, its_optimizer) in enumerate(
            zip(self.shares, self._optimizers, strict=True)
        ):
            share.lend(self.parameters)
            if measure is None:
                its_optimizer.step()
            else:
                measure.before(number)
                its_optimizer.step()
                measure.after(number)
            share.take_back()

    def _restart(self) -> None:
        self.program.reset()
        self._optimizers = [optimizer(self._settings, list(share.tensors)) for share in self.shares]

    def _save(self, step: int) -> None:
        self._checkpoint = _Checkpoint(
            step=step,
            tensors={
                index: tensor.detach().clone() for index, tensor in self.program.state().items()
            },
            optimizers=[copy.deepcopy(each.state_dict()) for each in self._optimizers],
        )

    def _restore(self, checkpoint: _Checkpoint) -> None:
        with torch.no_grad():
            for index, tensor in self.program.state().items():
                tensor.copy_(checkpoint.tensors[index])
        for each, state in zip(self._optimizers, checkpoint.optimizers, strict=True):
            # Loading keeps references to what it is given, and stepping writes into it.
            each.load_state_dict(copy.deepcopy(state))
