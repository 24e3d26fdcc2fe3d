"""Normalisation layers, in training mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from nnlint.linter.operators import normalisation as ops
from nnlint.linter.operators.shapes import as_ints, axis
from nnlint.linter.signal.base import Call, Matrix, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import (
    Gradient,
    Value,
    counts,
    even,
    folded,
    image_roles,
    joint,
    linked,
    neighbours,
    numbers,
    recast,
    summed,
)

if TYPE_CHECKING:
    import torch


def _affine(
    call: Call, name: str, default: float, rank: int, place: Sequence[int]
) -> tuple[Matrix | None, torch.Tensor]:
    """Return the scale or shift of a norm, and its numbers in the dimensions where it stands."""
    found = call.matrix(name)
    if found is None:
        return None, numbers(default, rank)
    flat = found.tensor.detach().double()
    sizes = [1] * rank
    for dim, size in zip(place, flat.shape, strict=True):
        sizes[dim] = size
    flat = flat.reshape(sizes)
    if flat.numel() > 1 and bool((flat == flat.flatten()[0]).all()):
        flat = numbers(float(flat.flatten()[0]), rank)
    return found, flat


def _eps(call: Call, default: float = 1e-5) -> float:
    found = call.plain("eps", default)
    return float(found) if isinstance(found, (int, float)) else default


def _parameters(
    g: Gradient,
    unit: Value,
    scale: Matrix | None,
    shift: Matrix | None,
    batch: int,
    *,
    others: float = 1.0,
) -> Iterator[Pulled]:
    """Yield the mean squares of the gradients of scale (sum of g x) and shift (sum of g)."""
    dims = range(len(g.shape))
    if scale is not None:
        power = float(joint(g, unit, batch, dims).mean()) + linked(g, batch, dims)
        yield from scale.gradient(power * others)
    if shift is not None:
        yield from shift.gradient(float(summed(g, batch, dims).mean()) * others)


@follows(ops.BATCH_NORM)
def batch_norm(call: Call) -> Step:
    """Follow batch norm: y = gain (x - mean) / std + shift by channel.

    Backward it takes out of the gradient what all samples and positions have in common and what
    goes along the normalised x: dx = gain / std (g - mean(g) - x mean(g x)) (Ioffe and Szegedy
    2015). So the gradient's sum is exactly zero behind it, and the mean of what the layer before
    takes in no longer counts in the gradient of its weights. Depth makes gradients grow by
    pi / (pi - 1) for each ReLU with batch norm (Yang and others 2019): forward the mean is divided
    out, backward it is not.
    """
    x = call.value()
    rank = len(x.shape)
    if rank < 2:
        raise UnfollowedError("it has no channels")
    if not call.flag("training", default=True) and call.node.arg("running_mean") is not None:
        raise UnfollowedError("it uses running statistics")
    fixed = x.constant
    roles = x.roles if fixed else image_roles(x)
    scale, gain = _affine(call, "weight", 1.0, rank, (1,))
    shift, offset = _affine(call, "bias", 0.0, rank, (1,))
    if fixed:
        return _standardised(call, x, gain, offset)
    x = folded(x, roles)
    spread = x.var + _eps(call)
    kept = x.var / spread
    n, m = counts(x.shape, roles, call.batch)
    unit = replace(x, mean=numbers(0.0, rank), var=_even(kept))
    # With few samples the mean of a sample is part of the mean that is taken out.
    shared = x.shared * (1 - 1 / n) / max(1 - x.shared / n, 1e-9) if n > 1 else 0.0
    value = replace(unit, mean=offset, var=_even(gain.square() * kept), shared=shared)
    seen = independent(x, n, m)
    # The mean of 1 / s^2 over estimates s^2 of the variance, by the degrees of freedom they have.
    steep = seen / max(seen - 2.0, 1.0) if seen > 1 else 1.0

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, roles)
        yield from _parameters(g, unit, scale, shift, call.batch)
        rows = x.shape[0] * prod(x.shape[2:])
        one = replace(g, power=numbers(1.0, rank))
        lost = float(summed(one, call.batch, range(rank))) / rows**2
        even = replace(unit, var=numbers(1.0, rank), shared=shared)
        along = float(joint(one, even, call.batch, range(rank))) / rows**2
        left = max(1.0 - min(lost, 1.0) - min(along, 1.0), 1e-12)
        power = g.power * gain.square() / spread * left * steep
        own = min(g.own / left, 1.0)
        yield from call.back(
            "input",
            replace(
                g,
                power=power,
                common=0.0,
                own=own,
                centred=1.0,
                along=g.along * (1 - 1 / n),
                along_all=0.0,
            ),
        )

    return Step(value, pull, linked=True)


def independent(x: Value, n: int, m: int) -> float:
    """Return how many independent values estimate a variance over n samples of m positions.

    n m over the sum of squared correlations, less one for the mean.
    """
    u, size = x.shared, x.shape
    first = min(neighbours(x.near, None, size, x.roles), m)
    second = min(neighbours(x.near, x.near, size, x.roles), m)
    return n * m / (m * u * u + 2 * u * (1 - u) * first + (1 - u) ** 2 * second) - 1


def _standardised(call: Call, x: Value, gain: torch.Tensor, offset: torch.Tensor) -> Step:
    """Follow batch norm of a parameter: standardised weights (Qiao and others 2019)."""
    dims = [d for d in range(len(x.shape)) if d != 1]
    full = x.mean.expand(x.shape)
    spread = full.var(dims, keepdim=True, unbiased=False) + _eps(call)
    mean = (full - full.mean(dims, keepdim=True)) / spread.sqrt() * gain + offset

    def pull(g: Gradient) -> Iterator[Pulled]:
        # What the inputs of an output have in common is centred away.
        factor = float((gain.square() / spread).mean()) * max(1 - g.own, 0.0)
        yield from call.back("input", replace(g, power=g.power * factor, own=0.0))
        if (scale := call.matrix("weight")) is not None:
            rows = prod(x.shape[d] for d in dims)
            yield from scale.gradient(g.total * rows)

    return Step(replace(x, mean=mean), pull)


def _even(moments: torch.Tensor) -> torch.Tensor:
    """Return moments as one number where all channels have the same, which later steps are fast on."""
    if moments.numel() > 1:
        low, high = moments.aminmax()
        if bool(high - low <= 1e-9 * high.abs()):
            return high.reshape((1,) * moments.dim())
    return moments


def _over_channels(call: Call, x: Value, dims: list[int], *, centre: bool) -> Step:
    """Normalise each position over dimensions of channels."""
    rank = len(x.shape)
    names = [rank - len(dims) + i for i in range(len(dims))]
    scale, gain = _affine(call, "weight", 1.0, rank, names)
    shift, offset = (
        _affine(call, "bias", 0.0, rank, names) if centre else (None, numbers(0.0, rank))
    )
    size = prod(x.shape[d] for d in dims)
    middle = x.mean.mean(dims, keepdim=True) if centre else numbers(0.0, rank)
    mean = x.mean - middle
    spread = x.var.mean(dims, keepdim=True) + mean.square().mean(dims, keepdim=True) + _eps(call)
    factor = 1 - 1 / size if centre and size > 1 else 1.0
    unit = replace(x, mean=mean / spread.sqrt(), var=x.var / spread * factor, profile=None)
    value = replace(unit, mean=unit.mean * gain + offset, var=unit.var * gain.square())

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from _parameters(
            recast(g, x.roles), unit, scale, shift, call.batch, others=_other_channels(x, dims)
        )
        lost = (2 if centre else 1) / size
        power = g.power * gain.square() / spread * max(1 - lost, 0.0)
        profile = g.profile
        if x.profile is not None:
            # Smaller positions are scaled up more, and so are their gradients.
            steep = (1.0 if profile is None else profile) / x.profile.clamp(min=1e-12)
            power = power * steep.mean()
            profile = even(steep)
        yield from call.back("input", replace(g, power=power, profile=profile))

    return Step(value, pull, linked=True)


def _other_channels(x: Value, dims: Sequence[int]) -> float:
    return float(prod(s for d, s in enumerate(x.shape) if d not in dims and x.roles[d] not in "sp"))


def _over_last(call: Call, over: object, *, centre: bool) -> Step:
    """Follow a norm over the last dimensions."""
    x = call.value()
    rank, sizes = len(x.shape), as_ints(over)
    if sizes is None or len(sizes) > rank:
        raise UnfollowedError("its shape is not known")
    dims = list(range(rank - len(sizes), rank))
    roles = "".join("c" if d in dims else r for d, r in enumerate(x.roles))
    return _over_channels(call, folded(x, roles), dims, centre=centre)


@follows(ops.LAYER_NORM)
def layer_norm(call: Call) -> Step:
    """Follow layer norm: each position is centred and scaled over its channels (Ba and others 2016).

    Over C channels mean and variance are those of the distribution; backward two of C directions
    are lost.
    """
    return _over_last(call, call.plain("normalized_shape"), centre=True)


@follows(ops.RMS_NORM)
def rms_norm(call: Call) -> Step:
    """Follow RMS norm (Zhang and Sennrich 2019): as layer norm, without centring."""
    last = (call.value().shape[-1],)
    return _over_last(call, call.plain("normalized_shape", last), centre=False)


@follows(ops.NORMALIZE)
def normalize(call: Call) -> Step:
    """Follow x / |x| over one dimension."""
    x = call.value()
    dim = axis(call.plain("dim", 1), len(x.shape))
    if dim is None or call.plain("p", 2.0) != 2:
        raise UnfollowedError("its norm is not the usual one")
    size = x.shape[dim]
    spread = x.square.mean(dim, keepdim=True) * size
    scale = 1 / spread.clamp(min=1e-24)
    value = replace(x, mean=x.mean * scale.sqrt(), var=x.var * scale)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", replace(g, power=g.power * scale * max(1 - 1 / size, 0.0)))

    return Step(value, pull)


@follows(ops.GROUP_NORM)
def group_norm(call: Call) -> Step:
    """Follow group norm (Wu and He 2018): each sample over the channels of a group and all positions."""
    groups = call.plain("num_groups")
    if not isinstance(groups, int):
        raise UnfollowedError("its groups are not known")
    return _per_sample(call, groups)


@follows(ops.INSTANCE_NORM)
def instance_norm(call: Call) -> Step:
    """Follow instance norm (Ulyanov and others 2016): group norm with a group for each channel."""
    x = call.value()
    return _per_sample(call, x.shape[1])


def _per_sample(call: Call, groups: int) -> Step:
    x = call.value()
    rank = len(x.shape)
    roles = image_roles(x)
    x = folded(x, roles)
    channels = x.shape[1]
    width = channels // groups
    scale, gain = _affine(call, "weight", 1.0, rank, (1,))
    shift, offset = _affine(call, "bias", 0.0, rank, (1,))

    def grouped(moments: torch.Tensor) -> torch.Tensor:
        return moments.reshape(-1).expand(channels).reshape(groups, width)

    def spread_out(moments: torch.Tensor) -> torch.Tensor:
        return moments.expand(groups, width).reshape(1, channels, *(1,) * (rank - 2))

    mean, var = grouped(x.mean), grouped(x.var)
    middle = mean.mean(1, keepdim=True)
    # What a sample has in common at all positions leaves with the mean of a group of one channel.
    taken = x.shared / width
    apart = var * (1 - taken)
    spread = (apart + (mean - middle).square()).mean(1, keepdim=True) + _eps(call)
    unit = replace(
        x,
        mean=_even(spread_out((mean - middle) / spread.sqrt())),
        var=_even(spread_out(apart / spread)),
        shared=(x.shared - taken) / (1 - taken) if taken < 1 else 0.0,
    )
    value = replace(unit, mean=unit.mean * gain + offset, var=unit.var * gain.square())
    factor = _even(spread_out(1 / spread))

    def pull(g: Gradient) -> Iterator[Pulled]:
        g = recast(g, roles)
        yield from _parameters(g, unit, scale, shift, call.batch)
        coherent = g.common + g.own
        lost = coherent / width
        left = max(1 - lost - 2 / (width * max(prod(x.shape[2:]), 1)), 1e-12)
        keep = (1 - 1 / width) / left
        yield from call.back(
            "input",
            replace(
                g,
                power=g.power * gain.square() * factor * left,
                common=g.common * keep,
                own=g.own * keep,
                along=g.along * (1 - 1 / width),
                along_all=0.0,
            ),
        )

    return Step(value, pull, linked=True)
