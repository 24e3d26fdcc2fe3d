"""Learned linear maps: linear, convolutions, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch

from nnlint.linter.operators import linear as ops
from nnlint.linter.operators.shapes import as_ints
from nnlint.linter.signal.base import Call, Matrix, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import (
    Gradient,
    Value,
    folded,
    image_roles,
    joint,
    numbers,
    recast,
    summed,
)
from nnlint.linter.signal.weights import Squares, mapped


@dataclass(frozen=True, slots=True)
class Map:
    """A linear map with weights: the result, and a pull to its input and its parameters."""

    value: Value
    pull: Callable[[Gradient], tuple[Gradient, list[Pulled]]]


def linear_map(x: Value, weight: Matrix, bias: Matrix | None, batch: int) -> Map:
    """Follow y = W x + b over the last dimension.

    Var y_o = sum_i W_oi^2 Var x_i for channels that are independent, E g_i^2 = sum_o W_oi^2 E g_o^2
    (Glorot and Bengio 2010, He and others 2015), by the actual weights. For inputs that are
    positions (token mixing) what they share counts with the square of the sum.
    """
    w = weight.tensor
    if x.roles[-1] == "p":
        return _mixing(x, weight, bias, batch)
    roles = x.roles[:-1] + "c"
    x = folded(x, roles)
    rank, lead = len(x.shape), (1,) * (len(x.shape) - 1)
    shape = (*x.shape[:-1], w.shape[0])
    squares = Squares(w)
    if all(size == 1 for size in x.mean.shape[:-1]) and all(size == 1 for size in x.var.shape[:-1]):
        mean = mapped(w, x.mean.flatten()).reshape(*lead, -1)
        var = squares.forward(x.var.flatten()).reshape(*lead, -1)
    else:
        full = x.mean.expand(*x.mean.shape[:-1], w.shape[1])
        mean = full @ w.double().t()
        spread = x.var.expand(*x.var.shape[:-1], w.shape[1])
        var = spread @ w.double().square().t()
    if bias is not None:
        mean = mean + bias.tensor.double()
    value = Value(shape, roles, mean, var, x.shared, (*x.near[:-1], 0.0), x.profile)

    def pull(g: Gradient) -> tuple[Gradient, list[Pulled]]:
        g = recast(g, roles)
        power = squares.backward(flat(g.power, rank - 1)).reshape(*lead, -1)
        back = replace(g, shape=x.shape, power=power, near=(*g.near[:-1], 0.0))
        return back, _parameters(g, x, weight, bias, batch)

    return Map(value, pull)


def _parameters(g: Gradient, x: Value, weight: Matrix, bias: Matrix | None, batch: int) -> list[Pulled]:
    """Return the mean squares of the gradients of weight and bias, summed over rows."""
    rows, others = range(len(g.shape) - 1), _others(g)
    even = replace(g, power=numbers(g.total, len(g.shape)))
    found = list(weight.gradient(float(joint(even, _like(x, g), batch, rows)) * others))
    if bias is not None:
        found += bias.gradient(float(summed(even, batch, rows)) * others)
    return found


def _others(g: Gradient) -> float:
    """Return how many channels beside the last one a sum over rows runs over."""
    return float(prod(size for size, role in zip(g.shape[:-1], g.roles[:-1], strict=True) if role not in "sp"))


def _like(x: Value, g: Gradient) -> Value:
    """Return x for products with g: averaged over its channels."""
    rank = len(x.shape)
    return replace(
        x,
        roles=g.roles,
        mean=numbers(float(x.mean.square().mean()) ** 0.5, rank),
        var=numbers(float(x.var.mean()), rank),
    )


def flat(power: torch.Tensor, keep: int) -> torch.Tensor:
    """Average moments over all dimensions but one."""
    dims = [d for d in range(power.dim()) if d != keep]
    return power.mean(dims) if dims else power


def _mixing(x: Value, weight: Matrix, bias: Matrix | None, batch: int) -> Map:
    w = weight.tensor.double()
    rank = len(x.shape)
    outputs, inputs = w.shape
    squares = float(w.square().sum())
    across = float(w.sum(1).square().sum())
    u = x.shared
    gain = ((1 - u) * squares + u * across) / outputs
    # Two outputs have in common what their rows do.
    both = float(w.sum(0).square().sum()) - squares
    whole = float(w.sum()) ** 2 - across
    pairs = outputs * (outputs - 1)
    common = ((1 - u) * both + u * whole) / pairs if pairs else gain
    sums = w.sum(1)
    mean = x.mean * float(sums.mean())
    offset = 0.0
    if bias is not None:
        mean = mean + float(bias.tensor.double().mean())
        offset = float(bias.tensor.double().var(unbiased=False))
    var = x.var * gain + x.mean.square() * float(sums.var(unbiased=False)) + offset
    base = float((x.var * gain).mean())
    after = float(var.mean())
    shared = max(common / gain, 0.0) * base / after if gain > 0 and after > 0 else 0.0
    value = Value((*x.shape[:-1], outputs), x.roles, mean, var, min(shared, 1.0), (*x.near[:-1], 0.0))

    def pull(g: Gradient) -> tuple[Gradient, list[Pulled]]:
        g = recast(g, x.roles)
        a = g.common + g.own
        columns = float(w.sum(0).square().sum())
        gained = ((1 - a) * squares + a * columns) / inputs
        two = float(w.sum(1).square().sum()) - squares
        every = float(w.sum()) ** 2 - columns
        n = inputs * (inputs - 1)
        kept = max(((1 - a) * two + a * every) / n, 0.0) / gained if n and gained > 0 else 0.0
        share = g.common / a if a > 0 else 0.0
        back = replace(
            g,
            shape=x.shape,
            power=g.power * gained,
            common=kept * share,
            own=kept * (1 - share),
            near=(*g.near[:-1], 0.0),
            profile=None,
        )
        return back, _parameters(g, x, weight, bias, batch)

    return Map(value, pull)


@follows(ops.LINEAR)
def linear(call: Call) -> Step:
    """Follow a fully connected layer, see `linear_map`."""
    weight = call.matrix()
    if weight is None or weight.tensor.dim() != 2:
        raise UnfollowedError("it has no weight")
    found = linear_map(call.value(), weight, call.matrix("bias"), call.batch)

    def pull(g: Gradient) -> Iterator[Pulled]:
        back, parameters = found.pull(g)
        yield from call.back("input", back)
        yield from parameters

    return Step(found.value, pull)


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


def window(sizes: tuple[int, ...], outputs: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> Window:
    """Describe a kernel on an input, see `Window`."""
    ratio = prod(outputs) / max(prod(sizes), 1)
    if not any(padding):
        return Window(1.0, ratio, None)
    first, second = torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for size, out, k, s, p, d in zip(sizes, outputs, kernel, stride, padding, dilation, strict=True):
        at = torch.arange(out).unsqueeze(0) * s - p + torch.arange(k).unsqueeze(1) * d
        met = ((at >= 0) & (at < size)).double()
        first = torch.outer(first, met.mean(1)).flatten()
        second = torch.kron(second, met @ met.t() / out)
    return Window(float(first.mean()), ratio, (first, second))


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
    outs, ins, kernel = w.shape[0], x.shape[1], tuple(w.shape[2:])
    stride, dilation = _several(call, "stride", rank, 1), _several(call, "dilation", rank, 1)
    shape = call.shape
    seen = window(x.shape[2:], shape[2:], kernel, stride, conv_padding(call, kernel, dilation), dilation)
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
    lead, tail = (1,), (1,) * rank
    near = (0.0, 0.0, *(c ** (s * s) if c > 0 else 0.0 for c, s in zip(x.near[2:], stride, strict=True)))
    value = Value(shape, roles, mean.reshape(*lead, -1, *tail), var.reshape(*lead, -1, *tail), min(shared, 1.0), near)

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
                power=back.reshape(*lead, -1, *tail),
                common=g.common * spread,
                own=g.own * spread,
                fixed=g.fixed * spread,
                near=(0.0, 0.0, *closeness),
                profile=None,
            ),
        )
        strided = replace(x, shape=shape, near=near)
        dims = range(len(shape))
        yield from weight.gradient(float(joint(g, _like(strided, g), call.batch, dims, squared=numbers(g.total, rank + 2)).mean()) * seen.inside)
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


def _means(w: torch.Tensor, m: torch.Tensor, groups: int, ins: int, seen: Window) -> tuple[torch.Tensor, torch.Tensor]:
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
        by_tap = torch.einsum("goik,gi->gok", taps.reshape(groups, -1, taps.shape[1], taps.shape[2]), unit.reshape(groups, -1)).flatten(0, 1)
    by_tap = by_tap.double() * size
    if seen.cover is None:
        return by_tap.sum(1), torch.zeros(outs, dtype=torch.float64)
    first, second = seen.cover
    mean = by_tap @ first
    return mean, ((by_tap @ second * by_tap).sum(1) - mean.square()).clamp(min=0)


def _depthwise(w: torch.Tensor, v: torch.Tensor, x: Value, kernel: tuple[int, ...], inside: float) -> tuple[torch.Tensor, float]:
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
    lost = (taps.square().sum(2) * per * u * inside - taps.square().sum(2) * per * u * inside**2).clamp(min=0)
    var = (apart + shared + lost).flatten()
    total = float(var.mean())
    return var, float(shared.mean()) / total if total > 0 else 0.0


def _depthwise_back(w: torch.Tensor, power: torch.Tensor, coherent: float, ins: int) -> torch.Tensor:
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
    turned = w.reshape(groups, ins // groups, per_group, -1).transpose(1, 2).reshape(groups * per_group, ins // groups, -1)
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
    lead, tail = (1,), (1,) * rank
    near = (0.0, 0.0, *(c / s for c, s in zip(x.near[2:], stride, strict=True)))
    value = Value(shape, roles, mean.reshape(*lead, -1, *tail), var.reshape(*lead, -1, *tail), min(shared, 1.0), near)

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, roles)
        back = squares.backward(g.power.reshape(-1))
        closeness = tuple(c ** (s * s) if c > 0 else 0.0 for c, s in zip(g.near[2:], stride, strict=True))
        coarse = replace(g, shape=x.shape, power=back.reshape(*lead, -1, *tail), near=(0.0, 0.0, *closeness), profile=None)
        yield from call.back("input", coarse)
        dims = range(len(shape))
        at = replace(coarse, power=numbers(g.total, rank + 2))
        yield from weight.gradient(float(joint(at, _like(x, g), call.batch, dims).mean()))
        if bias is not None:
            yield from bias.gradient(float(summed(g, call.batch, dims).mean()))

    return Step(value, pull)


def _tap_power(w: torch.Tensor, m: torch.Tensor, groups: int, ins: int) -> torch.Tensor:
    unit = m.expand(ins).to(w.dtype)
    by_tap = torch.einsum("goik,gi->gok", w.reshape(groups, -1, w.shape[1], w.shape[2]), unit.reshape(groups, -1)).flatten(0, 1)
    return by_tap.double().square().sum(1)


@follows(ops.EMBEDDING)
def embedding(call: Call) -> Step:
    """Follow an embedding for tokens drawn evenly: mean and variance over the rows of its table.

    A row gets the sum of the gradients of its occurrences, n / V of n positions.
    """
    weight = call.matrix()
    if weight is None or weight.tensor.dim() != 2:
        raise UnfollowedError("it has no weight")
    w = weight.tensor
    shape = call.shape
    rank = len(shape)
    roles = ids_roles(call, rank) + "c"
    lead = (1,) * (rank - 1)
    table = w.double()
    var, mean = torch.var_mean(table, 0, unbiased=False)
    # Positions looked up in a table are the same for all samples: nothing is shared by a sample.
    value = Value(shape, roles, mean.reshape(*lead, -1), var.reshape(*lead, -1), 0.0)

    def pull(g: Gradient) -> Iterator[Pulled]:
        rows = prod(shape[:-1])
        yield from weight.gradient(g.total * rows / w.shape[0])

    return Step(value, pull)


def ids_roles(call: Call, rank: int) -> str:
    """Return the roles of the dimensions of token indices."""
    batch = call.node.info.batch
    places = (0,) if batch is None else batch
    return "".join("s" if d in places else "p" for d in range(rank - 1))
