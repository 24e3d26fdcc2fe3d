"""Learned linear maps: linear, convolutions, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch

from nnlint.linter.operators import linear as ops
from nnlint.linter.signal.base import Call, Matrix, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import (
    Gradient,
    Value,
    folded,
    joint,
    linked,
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
        return back, _parameters(g, x, weight, bias, batch, var=float(var.mean()))

    return Map(value, pull)


def _parameters(
    g: Gradient, x: Value, weight: Matrix, bias: Matrix | None, batch: int, *, var: float = 0.0
) -> list[Pulled]:
    """Return the mean squares of the gradients of weight and bias, summed over rows."""
    rows, others = range(len(g.shape) - 1), _others(g)
    even = replace(g, power=numbers(g.total, len(g.shape)))
    power = float(joint(even, averaged(x, g), batch, rows))
    power += linked(g, batch, rows) * explained(weight.tensor, x, var)
    found = list(weight.gradient(power * others, common_part(even, x, batch, power)))
    if bias is not None:
        found += bias.gradient(float(summed(even, batch, rows)) * others)
    return found


def common_part(g: Gradient, x: Value, batch: int, power: float) -> float:
    """Return the part of a weight's gradient that the inputs of an output have in common.

    It comes from what their means have in common.
    """
    rank = len(x.shape)
    same = replace(
        averaged(x, g), mean=numbers(float(x.mean.mean()), rank), var=numbers(0.0, rank), shared=0.0
    )
    dims = [d for d, role in enumerate(g.roles) if role in "sp"]
    return min(float(joint(g, same, batch, dims)) / power, 1.0) if power > 0 else 0.0


def explained(weight: torch.Tensor, x: Value, var: float) -> float:
    """Return the mean square of E(z x) for a result z = sum w x in units of its deviation.

    For one input it is w v / s, with v its variance and s^2 that of the result, by all inputs
    w^2 v summed. So the mean over inputs is v / inputs times what they explain of s^2.
    """
    if var <= 0:
        return 0.0
    inputs = weight[0].numel()
    middle = float(x.var.mean())
    square = float(torch.linalg.vector_norm(weight)) ** 2 / weight.shape[0]
    return middle / inputs * min(square * middle / var, 1.0)


def _others(g: Gradient) -> float:
    """Return how many channels beside the last one a sum over rows runs over."""
    return float(
        prod(
            size for size, role in zip(g.shape[:-1], g.roles[:-1], strict=True) if role not in "sp"
        )
    )


def averaged(x: Value, g: Gradient) -> Value:
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
    len(x.shape)
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
    value = Value(
        (*x.shape[:-1], outputs), x.roles, mean, var, min(shared, 1.0), (*x.near[:-1], 0.0)
    )

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
