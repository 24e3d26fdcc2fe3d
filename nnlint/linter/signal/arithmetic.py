"""Sums, products and quotients of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import arithmetic as ops
from nnlint.linter.operators.shapes import ShapeError, broadcast_shapes
from nnlint.linter.signal.base import Call, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import (
    RANDOM,
    Gradient,
    Shape,
    Value,
    even,
    folded,
    joint,
    summed,
    weighed,
)


def aligned(x: Value, y: Value) -> tuple[Value, Value, Shape]:
    """Return two values with the same rank and roles, and the shape that both broadcast to."""
    rank = max(len(x.shape), len(y.shape))
    x, y = _ranked(x, rank), _ranked(y, rank)
    try:
        shape = broadcast_shapes(x.shape, y.shape)
    except ShapeError as error:
        raise UnfollowedError(str(error)) from None
    roles = "".join(
        _role(a, b, s, t) for a, b, s, t in zip(x.roles, y.roles, x.shape, y.shape, strict=True)
    )
    return folded(x, roles), folded(y, roles), shape


def _role(a: str, b: str, s: int, t: int) -> str:
    if a == "." or b == ".":
        return b if a == "." else a
    if a == b or t == 1:
        return a
    return b if s == 1 else ("c" if "c" in (a, b) else "p")


def _ranked(x: Value, rank: int) -> Value:
    extra = rank - len(x.shape)
    if not extra:
        return x
    lead = (1,) * extra
    return Value(
        (*lead, *x.shape),
        "." * extra + x.roles,
        x.mean.reshape(*lead, *x.mean.shape),
        x.var.reshape(*lead, *x.var.shape),
        x.shared,
        (0.0,) * extra + x.near,
        None if x.profile is None else x.profile.reshape(*lead, *x.profile.shape),
    )


def blend(parts: list[tuple[float, Value]], rank: int) -> tuple[float, tuple[float, ...]]:
    """Return what is shared, and what neighbours have in common, in a sum of independent parts."""
    total = sum(weight for weight, _ in parts)
    if total <= 0:
        return 0.0, (0.0,) * rank
    shared = sum(weight * v.shared for weight, v in parts) / total
    rest = sum(weight * (1 - v.shared) for weight, v in parts)
    near = tuple(
        sum(weight * (1 - v.shared) * v.near[d] for weight, v in parts) / rest if rest > 0 else 0.0
        for d in range(rank)
    )
    return shared, near


def unbroadcast(
    g: Gradient, x: Value, original: Value, batch: int, other: Value | None = None
) -> Gradient:
    """Return the gradient of a value that was broadcast: summed over what it was repeated along.

    Args:
        g: Gradient of the result, before multiplication with `other`.
        x: The value, with the rank of the result.
        original: The value as it was.
        batch: Number of samples.
        other: What the value was multiplied with, if anything.
    """
    rank = len(g.shape)
    dims = [d for d in range(rank) if x.shape[d] == 1 and g.shape[d] > 1]
    # A parameter holds one number for all samples.
    random = [d for d in dims if g.roles[d] in RANDOM]
    channels = [d for d in dims if g.roles[d] not in RANDOM]
    if other is None:
        power = summed(g, batch, random) if random else g.power
    elif random:
        power = joint(g, other, batch, random)
    else:
        power = g.power * other.square
    for d in channels:
        size = power.shape[d]
        power = power.sum(d, keepdim=True) if size > 1 else power * g.shape[d]
    common, own, centred, profile = g.common, g.own, g.centred, g.profile
    near = g.near
    if other is not None:
        common, own, near = _times(g, other)
        centred = g.centred if other.constant else 0.0
    if random:
        total = max(float(power.mean()), 1e-300)
        left = prod(g.shape[d] for d in random)
        raw = float((g.power * (1.0 if other is None else other.square)).mean())
        rows = prod(g.shape[d] for d in channels) or 1
        common = min(common * left**2 * raw * rows / total, 1.0) if total > 0 else 0.0
        positions = [
            d for d in range(rank) if g.roles[d] == "p" and d not in random and g.shape[d] > 1
        ]
        own = 1 - common if positions and not any(g.roles[d] == "p" for d in random) else 0.0
        own = own if positions and own and g.own > 0.5 else 0.0
        centred = 0.0
        if profile is not None:
            profile = (
                profile.mean([d for d in random if profile.shape[d] > 1], keepdim=True)
                if any(profile.shape[d] > 1 for d in random)
                else profile
            )
            profile = None if profile.numel() == 1 else profile
    extra = rank - len(original.shape)
    shape = original.shape
    roles = g.roles[extra:]
    sizes = [1 if d in dims else s for d, s in enumerate(power.shape)]
    power = power.reshape(sizes)[(0,) * extra] if extra else power.reshape(sizes)
    if profile is not None and extra:
        profile = (
            profile[(0,) * extra] if all(profile.shape[d] == 1 for d in range(extra)) else None
        )
    return Gradient(shape, roles, power, common, own, near[extra:], centred, profile)


def _times(g: Gradient, y: Value) -> tuple[float, float, tuple[float, ...]]:
    """Return what is common, own and near in g times y, for independent y."""
    mean, var = float((g.power * y.mean.square()).mean()), float((g.power * y.var).mean())
    total = mean + var
    if total <= 0:
        return g.common, g.own, g.near
    common = g.common * mean / total
    sample = (mean + var * y.shared) / total
    own = max((g.common + g.own) * sample - common, 0.0)
    rest = max(1 - common - own, 0.0)

    def near(c: float, b: float) -> float:
        whole = (
            (g.common + g.own + g.rest * c) * (mean + var * (y.shared + (1 - y.shared) * b)) / total
        )
        return max(min((whole - common - own) / rest, 1.0), 0.0) if rest > 1e-9 else 0.0

    positions = tuple(
        near(c, b) if r == "p" else 0.0 for c, b, r in zip(g.near, y.near, g.roles, strict=True)
    )
    return common, own, positions


def add(x: Value, y: Value, alpha: float = 1.0, *, same: bool = False) -> Value:
    """Return the moments of x + alpha y, taken as independent unless they are the same."""
    x, y, shape = aligned(x, y)
    if same:
        return replace(x, mean=x.mean * (1 + alpha), var=x.var * (1 + alpha) ** 2)
    mean = x.mean + alpha * y.mean
    var = x.var + alpha**2 * y.var
    shared, near = blend(
        [(float(x.var.mean()), x), (alpha**2 * float(y.var.mean()), y)], len(shape)
    )
    weights = [(float(x.square.mean()), x.profile), (alpha**2 * float(y.square.mean()), y.profile)]
    return Value(shape, x.roles, mean, var, shared, near, weighed(weights))


@follows(ops.ADD, ops.SUB, ops.RSUB)
def addition(call: Call) -> Step:
    """Follow a sum: variances add, as of independent values (Taki 2017 for residual branches).

    A branch that ends in random weights is uncorrelated with what goes around it. Each side gets
    the gradient of the sum.
    """
    first, second = "input", "other"
    alpha = call.plain("alpha", 1)
    scale = float(alpha) if isinstance(alpha, (int, float)) else 1.0
    sign = -1.0 if call.node.op in {ops.SUB, ops.RSUB} else 1.0
    x, y = call.value(first), call.value(second)
    same = call.source(first) is not None and call.source(first) is call.source(second)
    value = add(x, y, sign * scale, same=same)
    if call.node.op is ops.RSUB:
        value = replace(value, mean=-value.mean)
    left, right, _ = aligned(x, y)
    value = folded(value, left.roles)

    def pull(g: Gradient) -> Iterator[Pulled]:
        if same:
            yield from call.back(first, replace(g, power=g.power * (1 + sign * scale) ** 2))
            return
        g = replace(g, roles=left.roles) if g.roles != left.roles else g
        mine = _share(left, scale, right)
        yield from call.back(first, _linked(unbroadcast(g, left, x, call.batch), g, mine))
        scaled = replace(g, power=g.power * scale**2)
        yield from call.back(
            second, _linked(unbroadcast(scaled, right, y, call.batch), g, 1 - mine)
        )

    return Step(value, pull, linked=True)


def _share(x: Value, scale: float, y: Value) -> float:
    """Return the share of x in the variance of x + scale y."""
    first, second = float(x.var.mean()), scale**2 * float(y.var.mean())
    return first / (first + second) if first + second > 0 else 0.0


def _linked(back: Gradient, g: Gradient, share: float) -> Gradient:
    """Return a gradient that goes along with a sum as one that goes along with a part of it."""
    if back.shape != g.shape:
        return back
    return replace(back, along=g.along * share, along_all=g.along_all * share)


def multiply(x: Value, y: Value) -> Value:
    """Return the moments of a product of independent values."""
    x, y, shape = aligned(x, y)
    rank = len(shape)
    mean = x.mean * y.mean
    both, xy, yx = x.var * y.var, x.var * y.mean.square(), y.var * x.mean.square()
    var = both + xy + yx
    parts = [
        (float(both.mean()), replace(x, shared=x.shared * y.shared, near=_both(x, y))),
        (float(xy.mean()), x),
        (float(yx.mean()), y),
    ]
    shared, near = blend(parts, rank)
    profile = (
        x.profile
        if y.profile is None
        else (y.profile if x.profile is None else even(x.profile * y.profile))
    )
    return Value(shape, x.roles, mean, var, shared, near, profile)


def _both(x: Value, y: Value) -> tuple[float, ...]:
    shared = x.shared * y.shared

    def near(a: float, b: float) -> float:
        whole = (x.shared + (1 - x.shared) * a) * (y.shared + (1 - y.shared) * b)
        return (whole - shared) / (1 - shared) if shared < 1 else 0.0

    return tuple(near(a, b) for a, b in zip(x.near, y.near, strict=True))


@follows(ops.MUL)
def multiplication(call: Call) -> Step:
    """Follow a product: E (x y)^2 = E x^2 E y^2 for independent x and y; gates and scales.

    The gradient of a side is the gradient times the other side, summed over what it is repeated
    along.
    """
    x, y = call.value("input"), call.value("other")
    if call.source("input") is not None and call.source("input") is call.source("other"):
        return _square(call, x)
    return product(call, x, y, "input", "other")


def product(call: Call, x: Value, y: Value, first: str, second: str) -> Step:
    """Return the step of a product of two arguments."""
    left, right, _ = aligned(x, y)
    value = multiply(x, y)

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = replace(g, roles=left.roles) if g.roles != left.roles else g
        if call.source(first) is not None:
            yield from call.back(first, unbroadcast(g, left, x, call.batch, right))
        if call.source(second) is not None:
            yield from call.back(second, unbroadcast(g, right, y, call.batch, left))

    return Step(value, pull)


def _square(call: Call, x: Value) -> Step:
    from nnlint.linter.signal.activations import elementwise
    from nnlint.linter.signal.gaussian import image

    return elementwise(call, image(torch.square, x.mean, x.var))


@follows(ops.DIV)
def division(call: Call) -> Step:
    """Follow a quotient by a number, or by a value that keeps away from zero."""
    x, y = call.value("input"), call.value("other")
    inverse = inverted(y)
    left, right, _ = aligned(x, inverse)
    value = multiply(x, inverse)
    back, _, _ = aligned(inverse, x)

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = replace(g, roles=left.roles) if g.roles != left.roles else g
        yield from call.back("input", unbroadcast(g, left, x, call.batch, right))
        if call.source("other") is not None:
            # d (x / y) / dy = -x / y^2
            steep = replace(
                left, mean=left.mean * back.square.mean(), var=left.var * back.square.mean() ** 2
            )
            yield from call.back("other", unbroadcast(g, right, y, call.batch, steep))

    return Step(value, pull)


def inverted(y: Value) -> Value:
    """Return the moments of 1 / y to first order: relative deviations are kept."""
    if bool((y.mean.square() < 4 * y.var).any()) or not bool(y.mean.abs().min() > 0):
        raise UnfollowedError("its divisor comes close to zero")
    return replace(y, mean=1 / y.mean, var=y.var / y.mean**4)


@follows(ops.ADDCMUL)
def addcmul(call: Call) -> Step:
    """Follow input + value * tensor1 * tensor2."""
    x, a, b = call.value("input"), call.value("tensor1"), call.value("tensor2")
    both = multiply(a, b)
    scale = call.plain("value", 1.0)
    value = add(x, both, float(scale))
    wide, narrow, _ = aligned(x, both)
    left, right, _ = aligned(a, b)

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = replace(g, roles=value.roles) if g.roles != value.roles else g
        yield from call.back("input", unbroadcast(g, wide, x, call.batch))
        inner = unbroadcast(g, narrow, both, call.batch)
        inner = replace(inner, power=inner.power * float(scale) ** 2, roles=left.roles)
        yield from call.back("tensor1", unbroadcast(inner, left, a, call.batch, right))
        yield from call.back("tensor2", unbroadcast(inner, right, b, call.batch, left))

    return Step(value, pull)


@follows(ops.LERP)
def lerp(call: Call) -> Step:
    """Follow input + weight (end - input) for a plain weight."""
    w = call.plain("weight")
    if not isinstance(w, (int, float)):
        raise UnfollowedError("its weight is not known")
    x, y = call.value("input"), call.value("end")
    left, right, _ = aligned(x, y)
    value = add(replace(x, mean=x.mean * (1 - w), var=x.var * (1 - w) ** 2), y, float(w))

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back(
            "input", unbroadcast(replace(g, power=g.power * (1 - w) ** 2), left, x, call.batch)
        )
        yield from call.back(
            "end", unbroadcast(replace(g, power=g.power * w**2), right, y, call.batch)
        )

    return Step(value, pull)


@follows(ops.MASKED_FILL, ops.WHERE, ops.MAXIMUM, ops.MINIMUM)
def chosen(call: Call) -> Step:
    """Follow a choice between values as far as it leaves moments alone: masks of scores.

    A fill with a very large negative number marks positions that a softmax leaves out; what is
    left has the moments of before.
    """
    name = "input"
    node: Node | None = call.source(name)
    if node is None or call.node.op is not ops.MASKED_FILL:
        raise UnfollowedError("it chooses by values that are only known when the model runs")
    x = call.value(name)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back(name, g)

    return Step(x, pull)
