"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch

from nnlint.linter.operators import linear as ops
from nnlint.linter.operators.shapes import as_ints
from nnlint.linter.signal.base import Call, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.linear import averaged, common_part, explained
from nnlint.linter.signal.moments import (
    Gradient,
    Value,
    folded,
    image_roles,
    joint,
    linked,
    numbers,
    recast,
    summed,
)
from nnlint.linter.signal.weights import Squares


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel meets its input, all dimensions together.

    Attributes:
        inside: The mean share of a kernel's taps that meet the input and not its padding.
        ratio: Number of output positions over that of input positions.
        cover: For each tap the share of output positions at which it meets the input, and for each
            two taps the share at which both do; None without padding.
    """

    inside: float
    ratio: float
    cover: tuple[torch.Tensor, torch.Tensor] | None


def window(
    sizes: tuple[int, ...],
    outputs: tuple[int, ...],
    kernel: tuple[int, ...],
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Window:
    """Describe a kernel on an input, see `Window`."""
    ratio = prod(outputs) / max(prod(sizes), 1)
    if not any(padding):
        return Window(1.0, ratio, None)
    first, second = torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for size, out, k, s, p, d in zip(
        sizes, outputs, kernel, stride, padding, dilation, strict=True
    ):
        at = torch.arange(out).unsqueeze(0) * s - p + torch.arange(k).unsqueeze(1) * d
        met = ((at >= 0) & (at < size)).double()
        first = torch.outer(first, met.mean(1)).flatten()
        second = torch.kron(second, met @ met.t() / out)
    return Window(float(first.mean()), ratio, (first, second))


def _channels(values: torch.Tensor, rank: int) -> torch.Tensor:
    """Return one value for each channel as a tensor that broadcasts over samples and positions."""
    return values.reshape(1, -1, *(1,) * rank)


def _several(call: Call, name: str, rank: int, default: int) -> tuple[int, ...]:
    found = as_ints(call.plain(name, default))
    if found is None:
        raise UnfollowedError(f"its {name} is not known")
    return found * rank if len(found) == 1 else found


def conv_padding(call: Call, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return the zeros in front of each dimension."""
    given = call.plain("padding", 0)
    if given == "valid":
        return (0,) * len(kernel)
    if given == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return _several(call, "padding", len(kernel), 0)


@follows(*ops.CONVOLUTIONS)
def convolution(call: Call) -> Step:
    """Follow a convolution, grouped, depthwise, strided, dilated alike.

    As a linear layer over the taps of a kernel (He and others 2015). Over random kernels the
    autocorrelation of the output is that of the input (Xiao and others 2018): what positions share
    and what neighbours do is kept, a stride of s takes c to c^(s^2). Zero padding takes taps away
    at the border: variances shrink by the share of taps inside, and a mean that is not zero varies
    there, which batch norm sees as variance. Depthwise kernels see neighbours of one channel, so
    their correlation counts.
    """
    weight = call.matrix()
    x = call.value()
    rank = len(x.shape) - 2
    if weight is None or weight.tensor.dim() != rank + 2:
        raise UnfollowedError("it has no weight")
    w, bias = weight.tensor, call.matrix("bias")
    groups = call.plain("groups", 1)
    roles = image_roles(x)
    x = folded(x, roles)
    ins, kernel = x.shape[1], tuple(w.shape[2:])
    stride, dilation = _several(call, "stride", rank, 1), _several(call, "dilation", rank, 1)
    shape = call.shape
    seen = window(
        x.shape[2:],
        shape[2:],
        kernel,
        stride=stride,
        padding=conv_padding(call, kernel, dilation),
        dilation=dilation,
    )
    m, v = x.mean.reshape(-1), x.var.reshape(-1)
    taps = prod(kernel)
    squares = Kernel(w, groups, ins)
    u = x.shared
    random = squares.forward(v) * seen.inside
    if groups == ins and taps > 1:
        random, u = _depthwise(w, v, x, kernel, seen.inside)
    mean, border = _means(w, m, groups, ins, seen)
    if bias is not None:
        mean = mean + bias.tensor.double()
    var = random + border
    total, before = float(var.mean()), float(random.mean())
    shared = u * before / total if total > 0 else 0.0
    near = (
        0.0,
        0.0,
        *(c ** (s * s) if c > 0 else 0.0 for c, s in zip(x.near[2:], stride, strict=True)),
    )
    value = Value(
        shape,
        roles,
        _channels(mean, rank),
        _channels(var, rank),
        min(shared, 1.0),
        near,
    )

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, roles)
        power = g.power.reshape(-1)
        back = squares.backward(power)
        coherent = g.common + g.own
        if groups == ins and taps > 1:
            back = _depthwise_back(w, power, coherent, ins)
        back = back * seen.inside * seen.ratio
        spread = min(seen.ratio, 1.0)
        closeness = tuple(c / s for c, s in zip(g.near[2:], stride, strict=True))
        yield from call.back(
            "input",
            replace(
                g,
                shape=x.shape,
                power=_channels(back, rank),
                common=g.common * spread,
                own=g.own * spread,
                fixed=g.fixed * spread,
                near=(0.0, 0.0, *closeness),
                profile=None,
            ),
        )
        strided = replace(x, shape=shape, near=near)
        dims = range(len(shape))
        even = replace(g, power=numbers(g.total, rank + 2))
        found = float(joint(even, averaged(strided, g), call.batch, dims))
        found += linked(g, call.batch, dims) * explained(w, x, total)
        alike = common_part(even, strided, call.batch, found) if weight.node is not None else 0.0
        yield from weight.gradient(found * seen.inside, alike)
        if bias is not None:
            yield from bias.gradient(float(summed(g, call.batch, dims).mean()))

    return Step(value, pull)


class Kernel:
    """Sums over the squares of a kernel (outputs, inputs of a group, taps)."""

    def __init__(self, weight: torch.Tensor, groups: int, ins: int) -> None:
        self._groups, self._ins = groups, ins
        single = weight.dim() == 2 or prod(weight.shape[2:]) == 1
        if single:
            self._squares = Squares(weight.flatten(1))
        else:
            norms = torch.linalg.vector_norm(weight.flatten(2), dim=2)
            self._squares = Squares(norms.square(), squared=True)

    def forward(self, var: torch.Tensor) -> torch.Tensor:
        """Return the variance of each output for unit taps."""
        if self._groups == 1:
            return self._squares.forward(var)
        per = var.expand(self._ins).reshape(self._groups, 1, -1)
        return (self._grouped() * per).sum(2).flatten()

    def backward(self, power: torch.Tensor) -> torch.Tensor:
        """Return the power at each input."""
        if self._groups == 1:
            return self._squares.backward(power)
        sums = self._grouped()
        per = power.expand(sums.shape[0] * sums.shape[1]).reshape(self._groups, -1, 1)
        return (sums * per).sum(1).flatten()

    def _grouped(self) -> torch.Tensor:
        held = self._squares.weight
        sums = held if self._squares.squared else held.square()
        return sums.double().reshape(self._groups, -1, sums.shape[1])


def _means(
    w: torch.Tensor, m: torch.Tensor, groups: int, ins: int, seen: Window
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of each output and its variance over positions, which padding makes."""
    outs = w.shape[0]
    if not bool(m.any()):
        zero = torch.zeros(outs, dtype=torch.float64)
        return zero, zero
    size = m.abs().max()
    unit = (m / size).to(w.dtype).expand(ins)
    taps = w.flatten(2) if w.dim() > 2 else w.unsqueeze(2)
    if groups == 1:
        by_tap = torch.einsum("oik,i->ok", taps, unit)
    else:
        by_tap = torch.einsum(
            "goik,gi->gok",
            taps.reshape(groups, -1, taps.shape[1], taps.shape[2]),
            unit.reshape(groups, -1),
        ).flatten(0, 1)
    by_tap = by_tap.double() * size
    if seen.cover is None:
        return by_tap.sum(1), torch.zeros(outs, dtype=torch.float64)
    first, second = seen.cover
    mean = by_tap @ first
    return mean, ((by_tap @ second * by_tap).sum(1) - mean.square()).clamp(min=0)


def _depthwise(
    w: torch.Tensor, v: torch.Tensor, x: Value, kernel: tuple[int, ...], inside: float
) -> tuple[torch.Tensor, float]:
    """Return the variance behind depthwise kernels, and the part that positions share."""
    ins = x.shape[1]
    taps = w.double().reshape(ins, -1, prod(kernel))
    relation = torch.ones(1, 1, dtype=torch.float64)
    for k, c in zip(kernel, x.near[2:], strict=True):
        lag = (torch.arange(k).unsqueeze(0) - torch.arange(k).unsqueeze(1)).double().square()
        one = torch.full_like(lag, max(c, 1e-12)) ** lag
        relation = torch.kron(relation, one)
    u = x.shared
    per = v.expand(ins).unsqueeze(1)
    apart = (taps @ relation * taps).sum(2) * per * (1 - u) * inside
    shared = taps.sum(2).square() * per * u * inside**2
    # What is shared varies at the border as well.
    lost = (
        taps.square().sum(2) * per * u * inside - taps.square().sum(2) * per * u * inside**2
    ).clamp(min=0)
    var = (apart + shared + lost).flatten()
    total = float(var.mean())
    return var, float(shared.mean()) / total if total > 0 else 0.0


def _depthwise_back(
    w: torch.Tensor, power: torch.Tensor, coherent: float, ins: int
) -> torch.Tensor:
    taps = w.double().reshape(ins, -1, prod(w.shape[2:]))
    per = power.expand(w.shape[0]).reshape(ins, -1)
    apart = taps.square().sum(2) * per * (1 - coherent)
    together = taps.sum(2).square() * per * coherent
    return (apart + together).sum(1)


@follows(*ops.TRANSPOSED_CONVOLUTIONS)
def transposed_convolution(call: Call) -> Step:
    """Follow a transposed convolution: the backward of a convolution, forward.

    Each output position gets the taps of a kernel at a distance of the stride, in all
    kernel / stride^n of them.
    """
    weight = call.matrix()
    x = call.value()
    rank = len(x.shape) - 2
    if weight is None or weight.tensor.dim() != rank + 2:
        raise UnfollowedError("it has no weight")
    w, bias = weight.tensor, call.matrix("bias")
    groups = call.plain("groups", 1)
    roles = image_roles(x)
    x = folded(x, roles)
    ins, kernel = x.shape[1], tuple(w.shape[2:])
    shape = call.shape
    stride = _several(call, "stride", rank, 1)
    per_group = w.shape[1]
    ratio = prod(x.shape[2:]) / max(prod(shape[2:]), 1)
    # (inputs, outputs of a group, taps) -> (outputs, inputs of a group, taps)
    turned = (
        w.reshape(groups, ins // groups, per_group, -1)
        .transpose(1, 2)
        .reshape(groups * per_group, ins // groups, -1)
    )
    squares = Kernel(turned, groups, ins)
    m, v = x.mean.reshape(-1), x.var.reshape(-1)
    random = squares.forward(v) * ratio
    nothing = Window(1.0, 1.0, None)
    mean, _ = _means(turned, m, groups, ins, nothing)
    mean = mean * ratio
    # With few taps at each position the mean is that of other taps from position to position.
    taps = prod(kernel) * ratio
    by_tap = _tap_power(turned, m, groups, ins) * ratio - mean.square() / max(taps, 1.0)
    border = by_tap.clamp(min=0) if any(s > 1 for s in stride) else torch.zeros_like(mean)
    if bias is not None:
        mean = mean + bias.tensor.double()
    var = random + border
    total = float(var.mean())
    spread = min(ratio, 1.0)
    shared = x.shared * spread * float(random.mean()) / total if total > 0 else 0.0
    near = (0.0, 0.0, *(c / s for c, s in zip(x.near[2:], stride, strict=True)))
    value = Value(
        shape,
        roles,
        _channels(mean, rank),
        _channels(var, rank),
        min(shared, 1.0),
        near,
    )

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, roles)
        back = squares.backward(g.power.reshape(-1))
        closeness = tuple(
            c ** (s * s) if c > 0 else 0.0 for c, s in zip(g.near[2:], stride, strict=True)
        )
        coarse = replace(
            g,
            shape=x.shape,
            power=_channels(back, rank),
            near=(0.0, 0.0, *closeness),
            profile=None,
        )
        yield from call.back("input", coarse)
        dims = range(len(shape))
        at = replace(coarse, power=numbers(g.total, rank + 2))
        yield from weight.gradient(float(joint(at, averaged(x, g), call.batch, dims).mean()))
        if bias is not None:
            yield from bias.gradient(float(summed(g, call.batch, dims).mean()))

    return Step(value, pull)


def _tap_power(w: torch.Tensor, m: torch.Tensor, groups: int, ins: int) -> torch.Tensor:
    unit = m.expand(ins).to(w.dtype)
    by_tap = torch.einsum(
        "goik,gi->gok", w.reshape(groups, -1, w.shape[1], w.shape[2]), unit.reshape(groups, -1)
    ).flatten(0, 1)
    return by_tap.double().square().sum(1)
