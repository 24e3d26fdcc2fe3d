"""Tell an averaged loss from a summed one: run the step with its batch taken twice."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import nn

from nnlint.probe_service.capture.eager import Eager, undisturbed
from nnlint.probe_service.capture.feed import Call
from nnlint.probe_service.capture.wrapper import TrainingStep, copied

# Modules that drop values in training mode, by themselves or between their layers. Normalisation
# stays in training mode: the statistics of a batch are those of it taken twice.
_DROPPING = (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention, nn.RReLU)  # noqa: SLF001 - the common base of nn.Dropout and its like


def doubled(model: nn.Module, call: Call, eager: Eager, *, seed: int) -> float | None:
    """Return the loss of the batch taken twice, divided by that of the batch.

    1 for an average over samples and 2 for a sum; anything else where samples are compared with
    each other, or where the loss has a part that depends on no sample. None where a batch of
    another size does not run, or where the loss is zero or not finite.

    Args:
        model: In training mode; it is not changed, and neither is any random state.
        call: How forward is called.
        eager: The step as it was run first, with its losses and labels.
        seed: The probe's seed.
    """
    labels = [feed for group in eager.targets for feed in group]
    tensors = [
        feed.tensor(seed=seed, index=index) for index, feed in enumerate([*call.feeds, *labels])
    ]
    twice = [_twice(tensor, call.batch_size) for tensor in tensors]
    losses: list[float] = []
    # A model may raise anything at a batch of another size.
    with contextlib.suppress(Exception):
        losses = [_loss(model, call, eager, each, seed) for each in (tensors, twice)]
    if len(losses) < 2 or not all(map(math.isfinite, losses)) or losses[0] == 0:
        return None
    return losses[1] / losses[0]


def _twice(tensor: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Return a tensor with each sample twice, in the first dimension that counts samples."""
    for dimension, size in enumerate(tensor.shape):
        if size == batch_size:
            return torch.cat([tensor, tensor], dimension)
    return tensor


def _loss(
    model: nn.Module, call: Call, eager: Eager, tensors: Sequence[torch.Tensor], seed: int
) -> float:
    copy = copied(model)
    for module in copy.modules():
        if isinstance(module, _DROPPING):
            module.eval()
    step = TrainingStep(copy, call, eager.plan.terms, [len(group) for group in eager.targets])
    with undisturbed(seed):
        loss, *_ = step(*tensors)
    return float(loss.detach())
