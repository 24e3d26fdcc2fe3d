"""Operators that move, join, split or select values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnlint.linter.operators import dropout, pooling
from nnlint.linter.operators import moving as ops
from nnlint.linter.operators.shapes import as_ints, axis
from nnlint.linter.signal.base import Call, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.layout import near_of, reshaped, roles_of
from nnlint.linter.signal.moments import (
    RANDOM,
    Gradient,
    Shape,
    Value,
    folded,
    numbers,
    recast,
    summed,
)

if TYPE_CHECKING:
    import torch


@follows(
    ops.IDENTITY,
    ops.CAST,
    ops.FLOAT,
    ops.DEVICE_MOVE,
    ops.FLIP,
    pooling.CHANNEL_SHUFFLE,
    dropout.ALPHA_DROPOUT,
    dropout.FEATURE_ALPHA_DROPOUT,
)
def unchanged(call: Call) -> Step:
    """Follow what leaves moments as they are: casts, copies, flips, rolls; channels swap places."""
    found = call.content()

    def pull(g: Any) -> Iterator[Pulled]:
        if isinstance(g, Gradient):
            yield from call.back("input", g)

    return Step(found, pull, linked=True)


@follows(
    dropout.DROPOUT,
    dropout.DROPOUT1D,
    dropout.DROPOUT2D,
    dropout.DROPOUT3D,
    dropout.FEATURE_DROPOUT,
)
def drop(call: Call) -> Step:
    """Follow dropout in training: E x^2 / (1 - p) forward, the same backward (Srivastava 2014)."""
    x, p = call.value(), call.plain("p", 0.5)
    on = call.flag("training", default=True)
    if not isinstance(p, (int, float)) or not 0 <= p < 1 or not on:
        p = 0.0
    if p == 0:
        return unchanged(call)
    keep = 1 - p
    var = x.var / keep + x.mean.square() * (1 / keep - 1)
    total = float(var.mean())
    share = float(x.var.mean()) / total if total > 0 else 0.0
    value = replace(x, var=var, shared=x.shared * share, near=tuple(c * share for c in x.near))

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back(
            "input",
            replace(
                g,
                power=g.power / keep,
                common=g.common * keep,
                own=g.own * keep,
                centred=g.centred * keep,
            ),
        )

    return Step(value, pull)


def reshape(x: Value, shape: Shape, batch: tuple[int, ...] | None) -> Value:
    """Return the moments of a reshaped value."""
    if x.constant:
        return Value(
            shape, "." * len(shape), reshaped(x.mean, x.shape, shape), numbers(0.0, len(shape))
        )
    roles = roles_of(x.roles, x.shape, shape, batch)
    value = Value(
        shape,
        roles,
        reshaped(x.mean, x.shape, shape),
        reshaped(x.var, x.shape, shape),
        x.shared,
        near_of(x.near, x.shape, shape),
        None if x.profile is None else reshaped(x.profile, x.shape, shape),
    )
    return folded(value, roles)


def shape_back(g: Gradient, x: Value) -> Gradient:
    """Return the gradient before a reshape."""
    roles = x.roles
    power = reshaped(g.power, g.shape, x.shape)
    common, own, fixed = g.common, g.own, g.fixed
    channels = sum(s for s, r in zip(g.shape, g.roles, strict=True) if r == "c")
    if (
        channels > sum(s for s, r in zip(x.shape, roles, strict=True) if r == "c")
        and "p" in roles
        and "p" not in g.roles
    ):
        # Positions that were channels: their gradients come through weights of their own.
        common, own, fixed = 0.0, 0.0, fixed + common
    profile = None if g.profile is None else reshaped(g.profile, g.shape, x.shape)
    return recast(
        Gradient(
            x.shape,
            "?" * len(roles),
            power,
            common,
            own,
            near_of(g.near, g.shape, x.shape),
            g.centred,
            profile,
            fixed,
        ),
        roles,
    )


@follows(ops.VIEW, ops.VIEW_AS, ops.FLATTEN, ops.RAVEL, ops.UNFLATTEN, ops.SQUEEZE, ops.UNSQUEEZE)
def view(call: Call) -> Step:
    """Follow a reshape: moments go with their channels."""
    x = call.value()
    shape = call.shape
    value = reshape(x, shape, call.node.info.batch)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", shape_back(g, x))

    return Step(value, pull)


def _order(call: Call, rank: int) -> list[int]:
    op = call.node.op
    order = list(range(rank))
    if op is ops.PERMUTE:
        dims = call.plain("dims")
        if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], (tuple, list)):
            dims = dims[0]
        found = as_ints(dims)
        if found is None or len(found) != rank:
            raise UnfollowedError("its order is not known")
        return [d % rank for d in found]
    if op is ops.TRANSPOSE:
        a, b = (axis(call.plain(n), rank) for n in ("dim0", "dim1"))
    elif op is ops.SWAP_LAST:
        a, b = rank - 2, rank - 1
    elif op is ops.REVERSE_DIMS:
        return order[::-1]
    else:
        a, b = axis(call.plain("source"), rank), axis(call.plain("destination"), rank)
        if a is not None and b is not None:
            order.insert(b, order.pop(a))
            return order
    if a is None or b is None:
        raise UnfollowedError("its order is not known")
    order[a], order[b] = order[b], order[a]
    return order


@follows(ops.PERMUTE, ops.TRANSPOSE, ops.SWAP_LAST, ops.REVERSE_DIMS, ops.MOVEDIM)
def permute(call: Call) -> Step:
    """Follow a change of the order of dimensions."""
    x = call.value()
    order = _order(call, len(x.shape))
    value = Value(
        tuple(x.shape[d] for d in order),
        "".join(x.roles[d] for d in order),
        x.mean.permute(order),
        x.var.permute(order),
        x.shared,
        tuple(x.near[d] for d in order),
        None if x.profile is None else x.profile.permute(order),
    )
    back = [order.index(d) for d in range(len(order))]

    def pull(g: Gradient) -> Iterator[Pulled]:
        turned = Gradient(
            x.shape,
            "".join(g.roles[d] for d in back),
            g.power.permute(back),
            g.common,
            g.own,
            tuple(g.near[d] for d in back),
            g.centred,
            None if g.profile is None else g.profile.permute(back),
            g.fixed,
        )
        yield from call.back("input", recast(turned, x.roles))

    return Step(value, pull)


@follows(ops.EXPAND, ops.EXPAND_AS, ops.REPEAT)
def expand(call: Call) -> Step:
    """Follow a repetition: of a parameter for each sample, of a value along new positions."""
    x = call.value()
    shape = call.shape
    rank = len(shape)
    extra = rank - len(x.shape)
    batch = call.node.info.batch or ()
    lead = (1,) * extra
    old = lead + x.shape
    roles = "".join(
        "s" if d in batch and old[d] != shape[d] else r for d, r in enumerate("p" * extra + x.roles)
    )
    mean, var = x.mean.reshape(*lead, *x.mean.shape), x.var.reshape(*lead, *x.var.shape)
    if call.node.op is ops.REPEAT:
        wide = [
            max(n, 1) if mean.shape[d] > 1 and shape[d] != old[d] else 1
            for d, n in enumerate(_ratios(shape, old))
        ]
        mean = mean.repeat(wide) if mean.numel() > 1 else mean
    value = folded(
        Value(shape, roles, mean, var, 1.0 if not x.constant else 0.0, (0.0,) * extra + x.near),
        roles,
    )
    if x.shared and not any(roles[d] == "p" and old[d] != shape[d] for d in range(rank)):
        value = replace(value, shared=x.shared)

    def pull(g: Gradient) -> Iterator[Pulled]:
        dims = [d for d in range(rank) if old[d] == 1 and shape[d] > 1]
        random = [d for d in dims if g.roles[d] in RANDOM]
        power = summed(g, call.batch, random) if random else g.power
        for d in dims:
            if d not in random:
                power = power.sum(d, keepdim=True) if power.shape[d] > 1 else power * shape[d]
        power = power[(0,) * extra] if extra else power
        yield from call.back(
            "input", Gradient(x.shape, g.roles[extra:], power, g.common, 0.0, g.near[extra:])
        )

    return Step(value, pull)


def _ratios(shape: Shape, old: Shape) -> list[int]:
    return [s // max(o, 1) for s, o in zip(shape, old, strict=True)]


@follows(pooling.PAD)
def pad(call: Call) -> Step:
    """Follow padding with zeros: a mixture with zeros."""
    x = call.value()
    shape = call.shape
    inside = 1.0
    for a, b in zip(x.shape, shape, strict=True):
        inside *= min(a / b, 1.0)
    ratio = 1.0
    for a, b in zip(x.shape, shape, strict=True):
        ratio *= b / a
    mode = call.plain("mode", "constant")
    channels = any(
        a != b and r not in RANDOM for a, b, r in zip(x.shape, shape, x.roles, strict=True)
    )
    if channels:
        raise UnfollowedError("it pads channels")
    if mode != "constant":
        value = replace(x, shape=shape)
    else:
        mean = x.mean * inside
        value = replace(
            x, shape=shape, mean=mean, var=(x.square * inside - mean.square()).clamp(min=0)
        )

    def pull(g: Gradient) -> Iterator[Pulled]:
        scale = 1.0 if mode == "constant" else ratio
        yield from call.back(
            "input",
            replace(
                g, shape=x.shape, power=g.power * scale, centred=g.centred * inside, profile=None
            ),
        )

    return Step(value, pull)


@follows(pooling.PIXEL_SHUFFLE)
def pixel_shuffle(call: Call) -> Step:
    """Follow a pixel shuffle: channels become positions."""
    x = call.value()
    shape = call.shape
    r2 = x.shape[1] // shape[1]

    def coarse(moments: torch.Tensor) -> torch.Tensor:
        return moments.reshape(1, -1, r2, 1, 1).mean(2) if moments.numel() > 1 else moments

    mean = coarse(x.mean)
    square = coarse(x.square)
    value = Value(shape, "scpp", mean, (square - mean.square()).clamp(min=0), x.shared / r2, x.near)

    def pull(g: Gradient) -> Iterator[Pulled]:
        power = g.power.repeat_interleave(r2, 1) if g.power.numel() > 1 else g.power
        yield from call.back("input", replace(g, shape=x.shape, power=power, profile=None))

    return Step(value, pull)
