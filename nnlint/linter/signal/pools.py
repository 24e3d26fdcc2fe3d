"""Pooling, averages and sums."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from math import prod

from nnlint.linter.graph import Node
from nnlint.linter.operators import arithmetic
from nnlint.linter.operators import pooling as ops
from nnlint.linter.operators.shapes import as_ints, axes
from nnlint.linter.signal.activations import MONOTONE, moments_of
from nnlint.linter.signal.base import Call, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.gaussian import Image
from nnlint.linter.signal.moments import (
    RANDOM,
    Gradient,
    Value,
    folded,
    image_roles,
    neighbours,
    recast,
)
from nnlint.linter.signal.parts import Arrangement

_MAX = frozenset({ops.MAX_POOL1D, ops.MAX_POOL2D, ops.MAX_POOL3D})
_AVG = frozenset({ops.AVG_POOL1D, ops.AVG_POOL2D, ops.AVG_POOL3D})
_ADAPTIVE_AVG = frozenset(
    {ops.ADAPTIVE_AVG_POOL1D, ops.ADAPTIVE_AVG_POOL2D, ops.ADAPTIVE_AVG_POOL3D}
)
_ADAPTIVE_MAX = frozenset(
    {ops.ADAPTIVE_MAX_POOL1D, ops.ADAPTIVE_MAX_POOL2D, ops.ADAPTIVE_MAX_POOL3D}
)


def _spatial(call: Call, x: Value) -> tuple[Value, tuple[int, ...]]:
    """Return the input with the roles of an image, and how many positions a window spans."""
    rank = len(x.shape) - 2
    if rank < 1:
        raise UnfollowedError("it has no positions")
    x = folded(x, image_roles(x))
    shape = call.shape
    kernel = as_ints(call.node.arg("kernel_size"))
    if kernel is None or isinstance(call.node.arg("kernel_size"), Node):
        kernel = tuple(max(a // max(b, 1), 1) for a, b in zip(x.shape[2:], shape[2:], strict=True))
    kernel = kernel * rank if len(kernel) == 1 else kernel
    return x, tuple(min(k, s) for k, s in zip(kernel, x.shape[2:], strict=True))


@follows(*_AVG, *_ADAPTIVE_AVG)
def average_pool(call: Call) -> Step:
    """Follow an average over windows.

    What positions share stays, the rest is divided by the number of positions that vary on their
    own. Backward each position of a window gets 1 / k of the same gradient, so a global average
    makes the gradient of a sample the same everywhere.
    """
    x, kernel = _spatial(call, call.value())
    shape = call.shape
    return _averaged(call, x, shape, kernel)


def _averaged(call: Call, x: Value, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Step:
    size = prod(kernel)
    window = (1, 1, *kernel)
    left = neighbours(x.near, None, window, x.roles) / size
    kept = x.shared + (1 - x.shared) * min(left, 1.0)
    near = tuple(c ** (k * k) if c > 0 else 0.0 for c, k in zip(x.near[2:], kernel, strict=True))
    value = replace(
        x,
        shape=shape,
        var=x.var * kept,
        shared=x.shared / kept if kept > 0 else 0.0,
        near=(0.0, 0.0, *near),
    )
    ratio = prod(shape[2:]) / prod(x.shape[2:])

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, x.roles)
        single = prod(shape[2:]) == 1
        overlap = ratio * size
        # Each position is in `overlap` windows, with a gradient of 1 / size from each.
        power = (
            g.power * overlap / size**2
            if overlap <= 1
            else g.power * (overlap + overlap * (overlap - 1) * (g.common + g.own)) / size**2
        )
        own = 1 - g.common if single else g.own
        spread = tuple(
            max(c ** (1 / (k * k)) if c > 0 else 0.0, 1 - 1 / k)
            for c, k in zip(g.near[2:], kernel, strict=True)
        )
        yield from call.back(
            "input",
            replace(g, shape=x.shape, power=power, own=own, near=(0.0, 0.0, *spread), profile=None),
        )

    return Step(value, pull)


def largest(count: float) -> tuple[float, float]:
    """Return mean and variance of the largest of n standard normal values, by interpolation."""
    known = [
        (1, 0.0, 1.0),
        (2, 0.564, 0.682),
        (3, 0.846, 0.559),
        (4, 1.029, 0.492),
        (6, 1.267, 0.416),
        (9, 1.485, 0.357),
        (16, 1.766, 0.295),
        (25, 1.965, 0.258),
        (49, 2.241, 0.214),
        (100, 2.508, 0.18),
        (400, 2.97, 0.13),
        (2500, 3.5, 0.1),
        (50000, 4.26, 0.07),
    ]
    for (n, a, v), (m, b, w) in itertools.pairwise(known):
        if count <= m:
            t = (math.log(max(count, 1.0)) - math.log(n)) / (math.log(m) - math.log(n))
            return a + t * (b - a), v + t * (w - v)
    return known[-1][1], known[-1][2]


@follows(*_MAX, *_ADAPTIVE_MAX)
def max_pool(call: Call) -> Step:
    """Follow a maximum over windows of Gaussian values.

    An activation that grows with its argument may come after the maximum as well as before, and
    there the values are Gaussian: max(relu(z)) = relu(max(z)). Backward the gradient goes to the
    largest value of each window, where such an activation is mostly open.
    """
    node = call.source()
    x = call.value()
    inner: Node | None = None
    found: Image | None = None
    if (
        node is not None
        and node.op in MONOTONE
        and isinstance(call.values.get(node.inputs[0]), Value)
    ):
        inner = node.inputs[0]
        latent = call.values[inner]
        assert isinstance(latent, Value)
    else:
        latent = x
    latent, kernel = _spatial(call, latent)
    shape = call.shape
    size = prod(kernel)
    rho = latent.shared + (1 - latent.shared) * min(
        (
            neighbours(
                latent.near, None, (1, 1, *kernel), "scpp"[: len(shape)].ljust(len(shape), "p")
            )
            - 1
        )
        / max(size - 1, 1),
        1.0,
    )
    above, spread = largest(size)
    mean = latent.mean + latent.var.sqrt() * (max(1 - rho, 0.0) ** 0.5 * above)
    kept = rho + (1 - rho) * spread
    var = latent.var * kept
    pooled = replace(
        latent,
        shape=shape,
        mean=mean,
        var=var,
        shared=min(latent.shared / kept, 1.0) if kept > 0 else 0.0,
        near=_pooled_near(latent, kernel),
    )
    value = pooled
    if inner is not None and node is not None:
        found = moments_of(Call(node, call.values, call.batch), mean, var)
        from nnlint.linter.signal.activations import applied

        value = applied(pooled, found)
    ratio = prod(shape[2:]) / prod(latent.shape[2:])

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, latent.roles)
        power = g.power * ratio
        steep = (mean - latent.mean) / latent.var.sqrt().clamp(min=1e-300)
        bent = float(steep.square().mean())
        if found is not None:
            power = power * found.slopes
            reach = found.slope * steep + found.bend.sqrt() * kept**0.5
            bent = float(reach.square().mean()) / max(float(found.slopes.mean()), 1e-300)
        near = tuple(c**0.5 * 0.5 if k > 1 else c for c, k in zip(g.near[2:], kernel, strict=True))
        spread_out = min(ratio, 1.0)
        common, own = g.common * spread_out, g.own * spread_out
        back = replace(
            g,
            shape=latent.shape,
            power=power,
            common=common,
            own=own,
            near=(0.0, 0.0, *near),
            centred=g.centred * (0.0 if found is not None else 1.0),
            profile=None,
            along=g.own * spread_out * bent,
            along_all=g.common * spread_out * bent,
        )
        target = inner if inner is not None else node
        if target is not None:
            yield Slot(target), back

    return Step(value, pull, linked=True)


def _pooled_near(x: Value, kernel: tuple[int, ...]) -> tuple[float, ...]:
    return (
        0.0,
        0.0,
        *(c ** (k * k) if c > 0 else 0.0 for c, k in zip(x.near[2:], kernel, strict=True)),
    )


@follows(arithmetic.MEAN, arithmetic.SUM)
def reduction(call: Call) -> Step:
    """Follow a mean or sum: over positions as a global pooling, over channels of independent ones."""
    x = call.value()
    rank = len(x.shape)
    dim = call.plain("dim")
    dims = tuple(range(rank)) if dim is None else axes(dim, rank)
    if dims is None:
        raise UnfollowedError("its dimensions are not known")
    keep = call.flag("keepdim")
    size = prod(x.shape[d] for d in dims)
    scale = 1.0 if call.node.op is arithmetic.SUM else 1 / size
    positions = [d for d in dims if x.roles[d] in RANDOM]
    channels = [d for d in dims if d not in positions]
    n = prod(x.shape[d] for d in positions)
    k = min(neighbours(x.near, None, x.shape, x.roles, positions), n)
    kept = k / n if any(x.roles[d] == "s" for d in positions) else x.shared + (1 - x.shared) * k / n
    mean, var = x.mean * n, x.var * n * n * kept
    for d in channels:
        mean = mean.sum(d, keepdim=True) if mean.shape[d] > 1 else mean * x.shape[d]
        var = var.sum(d, keepdim=True) if var.shape[d] > 1 else var * x.shape[d]
    shared = x.shared / kept if kept > 0 and positions else x.shared
    full = Value(
        tuple(1 if d in dims else s for d, s in enumerate(x.shape)),
        x.roles,
        mean * scale,
        var * scale**2,
        min(shared, 1.0),
        tuple(0.0 if d in dims else c for d, c in enumerate(x.near)),
    )
    arrangement = _kept(rank, dims, keep=keep)
    value = arrangement.value(full)
    rest = [d for d in range(rank) if d not in dims]

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = arrangement.gradient(g, full)
        everywhere = any(x.roles[d] == "p" for d in positions) and not any(
            x.roles[d] == "p" and x.shape[d] > 1 for d in rest
        )
        own = 1 - g.common if everywhere else g.own
        common = 1.0 if any(x.roles[d] == "s" for d in positions) else g.common
        yield from call.back(
            "input",
            Gradient(
                x.shape,
                x.roles,
                g.power * scale**2,
                common,
                0.0 if common == 1 else own,
                tuple(0.99 if d in positions else c for d, c in enumerate(g.near)),
                0.0,
                g.profile,
            ),
        )

    return Step(value, pull)


def _kept(rank: int, dims: tuple[int, ...], *, keep: bool) -> Arrangement:
    """Return how dimensions are arranged behind a reduction."""
    return Arrangement([d for d in range(rank) if keep or d not in dims], (), rank)


@follows(arithmetic.NORM)
def norm(call: Call) -> Step:
    """Follow the L2 norm over many elements: the root of their mean square, nearly a constant."""
    x = call.value()
    rank = len(x.shape)
    if call.plain("p", 2) not in (2, 2.0, "fro"):
        raise UnfollowedError("its norm is not the usual one")
    dim = call.plain("dim")
    dims = tuple(range(rank)) if dim is None else axes(dim, rank)
    if dims is None:
        raise UnfollowedError("its dimensions are not known")
    keep = call.flag("keepdim")
    size = prod(x.shape[d] for d in dims)
    square = x.square
    for d in dims:
        square = square.mean(d, keepdim=True)
    k = neighbours(x.near, None, x.shape, x.roles, dims)
    ratio = x.shared + (1 - x.shared) * min(k / size, 1.0)
    mean = (square * size).sqrt()
    shape = tuple(1 if d in dims else s for d, s in enumerate(x.shape))
    value = Value(shape, x.roles, mean, mean.square() * ratio / 2, 1.0)
    arrangement = _kept(rank, dims, keep=keep)

    def pull(g: Gradient) -> Iterator[Pulled]:
        # d |x| / dx = x / |x|: a share of 1 / n of the power at each place.
        g = arrangement.gradient(g, value)
        power = g.power * x.square / (square * size).clamp(min=1e-300)
        yield from call.back("input", Gradient(x.shape, x.roles, power))

    return Step(arrangement.value(value), pull)


@follows(ops.INTERPOLATE)
def interpolate(call: Call) -> Step:
    """Follow a change of resolution: neighbours become more alike, gradients add up."""
    x = call.value()
    shape = call.shape
    rank = len(x.shape) - 2
    x = folded(x, image_roles(x))
    ratio = prod(shape[2:]) / max(prod(x.shape[2:]), 1)
    stretch = [b / a for a, b in zip(x.shape[2:], shape[2:], strict=True)]
    near = tuple(
        max(c ** (1 / (s * s)) if c > 0 else 0.0, 1 - 1 / s, 0.0)
        for c, s in zip(x.near[2:], stretch, strict=True)
    )
    smooth = call.plain("mode", "nearest") not in ("nearest", "nearest-exact")
    kept = x.shared + (1 - x.shared) * (0.66**rank if smooth and ratio > 1 else 1.0)
    value = replace(
        x,
        shape=shape,
        var=x.var * kept,
        shared=x.shared / kept if kept else 0.0,
        near=(0.0, 0.0, *near),
    )

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, x.roles)
        if ratio >= 1:
            block = (1, 1, *(max(round(s), 1) for s in stretch))
            together = neighbours(g.near, None, block, g.roles)
            power = g.power * ratio * ((g.common + g.own) * ratio + g.rest * min(together, ratio))
        else:
            power = g.power * ratio
        yield from call.back(
            "input",
            replace(
                g,
                shape=x.shape,
                power=power,
                near=(
                    0.0,
                    0.0,
                    *(
                        c ** (s * s) if c > 0 else 0.0
                        for c, s in zip(g.near[2:], stretch, strict=True)
                    ),
                ),
                profile=None,
            ),
        )

    return Step(value, pull)
