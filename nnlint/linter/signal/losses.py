"""Losses as the source of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch

from nnlint.linter.operators import loss as ops
from nnlint.linter.operators.base import Operator
from nnlint.linter.signal.base import Call, UnfollowedError
from nnlint.linter.signal.moments import Gradient, Value, folded, numbers

# Logits are drawn this many times to take expectations over their softmax.
DRAWS = 64


def source(call: Call) -> tuple[int | None, Gradient]:
    """Return which of several values a loss takes, and the gradient that it sends there.

    Raises:
        UnfollowedError: The loss is not known.
    """
    op = call.node.op
    if op not in _LOSSES:
        raise UnfollowedError("the gradient of its loss is not known")
    content = call.content()
    index = 0 if isinstance(content, tuple) else None
    x = content[0] if isinstance(content, tuple) else content
    g = _LOSSES[op](x)
    reduction = call.node.arg("reduction", "mean")
    if reduction == "sum":
        g = replace(g, power=g.power * float(_terms(op, x)) ** 2)
    return index, g


def unit(x: Value) -> Gradient:
    """Return a gradient of size 1 / n for an output whose loss is not known."""
    rank = len(x.shape)
    return Gradient(
        x.shape, x.roles, numbers(1.0 / max(x.shape[0] if x.shape else 1, 1) ** 2, rank)
    )


def _terms(op: Operator | None, x: Value) -> int:
    return prod(x.shape) // (
        x.shape[1] if op in {ops.CROSS_ENTROPY, ops.NLL_LOSS} and len(x.shape) > 1 else 1
    )


def _cross_entropy(x: Value) -> Gradient:
    """(softmax(z) - y) / n for labels y drawn evenly from C classes.

    E (p - y)^2 = E p^2 - 2 E p / C + 1 / C, over Gaussian logits.
    """
    rank = len(x.shape)
    if rank < 2:
        raise UnfollowedError("its input has no classes")
    classes = x.shape[1]
    roles = "sc" + "p" * (rank - 2)
    x = folded(x, roles)
    n = prod(x.shape) // classes
    p = _drawn(x, classes)
    mean = p.mean(0)
    power = p.square().mean(0) - 2 * mean / classes + 1 / classes
    total = float(power.mean())
    common = float((mean - 1 / classes).square().mean()) / total if total > 0 else 0.0
    varying = float(p.var(0, unbiased=False).mean())
    own = x.shared * varying / total if rank > 2 and total > 0 else 0.0
    sizes = [1, classes, *(1,) * (rank - 2)]
    return Gradient(
        x.shape,
        roles,
        power.reshape(sizes) / n**2,
        min(common, 1.0),
        min(own, 1.0 - min(common, 1.0)),
    )


def _drawn(x: Value, classes: int) -> torch.Tensor:
    """Return probabilities for drawn logits, always the same draws."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(DRAWS, classes, dtype=torch.float64, generator=generator)
    mean, var = (
        t.reshape(-1).expand(classes) if t.numel() == 1 else t.reshape(-1) for t in (x.mean, x.var)
    )
    return torch.softmax(mean + z * var.clamp(min=0).sqrt(), 1)


def _nll(x: Value) -> Gradient:
    """-1 / n at the label of each sample."""
    classes = x.shape[1] if len(x.shape) > 1 else 1
    n = prod(x.shape) // classes
    return Gradient(x.shape, x.roles, numbers(1 / classes / n**2, len(x.shape)), 1 / classes)


def _squared(x: Value) -> Gradient:
    """2 (x - t) / n for targets t of mean 0 and variance 1."""
    n = prod(x.shape)
    power = 4 * (x.square + 1.0) / n**2
    total = float(power.mean())
    common = 4 * float(x.mean.square().mean()) / n**2 / total
    own = 4 * x.shared * float(x.var.mean()) / n**2 / total
    return Gradient(x.shape, x.roles, power, common, own)


def _absolute(x: Value) -> Gradient:
    """sign(x - t) / n."""
    n = prod(x.shape)
    spread = x.mean.square() / (x.var + 1.0)
    common = float((spread / (spread + 1.57)).mean())
    return Gradient(x.shape, x.roles, numbers(1 / n**2, len(x.shape)), common)


def _binary_logits(x: Value) -> Gradient:
    """(sigmoid(z) - y) / n for labels y that are 0 or 1 alike."""
    n = prod(x.shape)
    rank = len(x.shape)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(DRAWS, *(1,) * rank, dtype=torch.float64, generator=generator)
    p = torch.sigmoid(x.mean + z * x.var.sqrt())
    mean = p.mean(0)
    power = p.square().mean(0) - mean + 0.5
    common = float((mean - 0.5).square().mean()) / float(power.mean())
    return Gradient(x.shape, x.roles, power / n**2, min(common, 1.0))


def _binary(x: Value) -> Gradient:
    """(p - y) / (p (1 - p) n) for probabilities p."""
    n = prod(x.shape)
    p = x.mean.clamp(1e-6, 1 - 1e-6)
    power = 0.5 / p.square() + 0.5 / (1 - p).square()
    common = float((0.5 / (1 - p) - 0.5 / p).square().mean()) / float(power.mean())
    return Gradient(x.shape, x.roles, power / n**2, min(common, 1.0))


_LOSSES: dict[Operator | None, Callable[[Value], Gradient]] = {
    ops.CROSS_ENTROPY: _cross_entropy,
    ops.NLL_LOSS: _nll,
    ops.MSE: _squared,
    ops.L1: _absolute,
    ops.SMOOTH_L1: _absolute,
    ops.HUBER: _absolute,
    ops.BCE_WITH_LOGITS: _binary_logits,
    ops.BCE: _binary,
}
