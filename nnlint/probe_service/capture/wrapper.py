"""The model and its loss as one module, from tensors to a scalar."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nnlint.probe_service.capture.feed import Call
from nnlint.probe_service.capture.loss import ForwardLoss, Term, forward_losses, tensors_of

# Under these names the user's model and the losses stand in the wrapper.
MODEL = "model"
TERMS = "terms"


class TrainingStep(nn.Module):
    """Calls a model and sums its losses.

    `forward` takes the tensors of the call, then the labels of each term, and returns the loss
    and every tensor of the model's output.
    """

    def __init__(
        self,
        model: nn.Module,
        call: Call,
        terms: Sequence[Term | ForwardLoss] = (),
        counts: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.terms = nn.ModuleList(terms)
        self._call = call
        self._counts = tuple(counts)
        self.training = model.training

    def output(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Call the model; a buffer that it replaces is changed in place instead."""
        args, kwargs = self._call.arguments(inputs)
        before = [
            (module, name, buffer)
            for module in self.model.modules()
            for name, buffer in module._buffers.items()  # noqa: SLF001 - no public way to a module's own buffers
            if buffer is not None
        ]
        output = self.model(*args, **kwargs)
        for module, name, buffer in before:
            now = module._buffers.get(name)  # noqa: SLF001 - as above
            if now is buffer or now is None:
                continue
            if now.shape == buffer.shape and now.dtype == buffer.dtype:
                with torch.no_grad():
                    buffer.copy_(now)
                module._buffers[name] = buffer  # noqa: SLF001 - as above
        return output

    def loss(self, output: Any, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the sum of the losses."""
        rest = list(targets)
        total: torch.Tensor | None = None
        for term, count in zip(self.terms, self._counts, strict=True):
            mine, rest = rest[:count], rest[count:]
            loss = term(output, *mine)
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the loss and the tensors of the model's output."""
        count = len(self._call.feeds)
        output = self.output(tensors[:count])
        loss = self.loss(output, tensors[count:])
        losses = forward_losses(output) if isinstance(self.terms[0], ForwardLoss) else []
        return (loss, *(t for t in tensors_of(output) if not any(t is each for each in losses)))


def copied(model: nn.Module, *, share: bool = False) -> nn.Module:
    """Return a deep copy of a model.

    Args:
        model: What to copy.
        share: Whether the copy has the same parameters and buffers, in modules of its own.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            # Computed from parameters (as by weight normalisation); copying refuses those.
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    if share:
        for tensor in (*model.parameters(), *model.buffers()):
            memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)
