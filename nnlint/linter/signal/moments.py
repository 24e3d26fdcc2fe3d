"""What is known of a value and of a gradient: their moments, by channel, and how they cohere.

Dimensions have roles. Along samples and positions a value is random, so moments are one number
there; along channels they differ, because weights do. What positions of one sample have in common
is kept apart from what differs between them: sums over positions depend on it more than on
anything else (a gradient behind a global pooling is the same at all positions and adds up to n
times its size, one that differs from position to position only to its square root).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

Shape = tuple[int, ...]
SAMPLE, POSITION, CHANNEL, FIXED = "s", "p", "c", "."
RANDOM = frozenset({SAMPLE, POSITION})


@dataclass(frozen=True, slots=True)
class Value:
    """Moments of a value over the batch.

    Attributes:
        shape: Its full shape.
        roles: A letter for each dimension: samples, positions, channels, or "." for one of a
            parameter, which takes the role of what it meets.
        mean: Mean over samples and positions; of size 1 along these.
        var: Variance over samples and positions, of the same form.
        shared: The part of the variance that the positions of one sample have in common: the
            correlation of two distant positions.
        near: For each dimension the correlation of what is not shared between neighbours.
        profile: How the mean square is spread over positions, of mean 1 and of size 1 along
            channels; None for evenly. A class token is often far smaller than the others.
    """

    shape: Shape
    roles: str
    mean: torch.Tensor
    var: torch.Tensor
    shared: float = 0.0
    near: tuple[float, ...] = ()
    profile: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not self.near:
            object.__setattr__(self, "near", (0.0,) * len(self.shape))

    @property
    def square(self) -> torch.Tensor:
        """Mean square, of the form of the mean."""
        return self.mean.square() + self.var

    @property
    def rms(self) -> float:
        """Root mean square over all of it."""
        return float(self.square.mean().sqrt())

    @property
    def constant(self) -> bool:
        """Whether it is the same for all samples and positions: made of parameters alone."""
        return not bool(self.var.any())


@dataclass(frozen=True, slots=True)
class Gradient:
    """Moments of the gradient of the loss with respect to a value.

    Attributes:
        shape: The shape of the value.
        roles: The roles of its dimensions.
        power: Mean square; of size 1 along samples and positions.
        common: The part of the power that all samples and positions have in common.
        own: The further part that the positions of one sample have in common.
        fixed: The further part that differs from position to position, and is the same for all
            samples.
        along: The part of the power that is what a sample's positions have in common times the
            deviation of the value itself. It comes from the activation behind the value, whose
            derivative is larger where the value is: E f'(z) z is not zero.
        along_all: The same of what all samples have in common.
        near: For each dimension the correlation of the rest between neighbours.
        centred: The part of the power whose sum over all samples and positions is exactly zero, as
            it is behind a batch norm.
        profile: How the power is spread over positions, of mean 1 and of size 1 along channels;
            None for evenly.
    """

    shape: Shape
    roles: str
    power: torch.Tensor
    common: float = 0.0
    own: float = 0.0
    near: tuple[float, ...] = ()
    centred: float = 0.0
    profile: torch.Tensor | None = None
    fixed: float = 0.0
    along: float = 0.0
    along_all: float = 0.0

    def __post_init__(self) -> None:
        if not self.near:
            object.__setattr__(self, "near", (0.0,) * len(self.shape))

    @property
    def total(self) -> float:
        """Mean square over all of it."""
        return float(self.power.mean())

    @property
    def rest(self) -> float:
        """The part of the power that differs from position to position and sample to sample."""
        return max(1.0 - self.common - self.own - self.fixed, 0.0)


def numbers(value: float, rank: int) -> torch.Tensor:
    """Return one number as moments of `rank` dimensions."""
    return torch.full((1,) * rank, value, dtype=torch.float64)


def folded(value: Value, roles: str) -> Value:
    """Return a value with other roles; differences along new random dimensions become variance."""
    if value.profile is not None and roles != value.roles:
        value = replace(value, profile=_over_positions(value.profile, roles))
    dims = [d for d, role in enumerate(roles) if role in RANDOM and value.mean.shape[d] > 1]
    spread = [d for d, role in enumerate(roles) if role in RANDOM and value.var.shape[d] > 1]
    if not dims and not spread:
        return value if roles == value.roles else replace(value, roles=roles)
    var = value.var.mean(spread, keepdim=True) if spread else value.var
    mean = value.mean
    if dims:
        added = mean.var(dims, keepdim=True, unbiased=False)
        mean = mean.mean(dims, keepdim=True)
        before = float(var.mean())
        var = var + added
        after = float(var.mean())
        share = value.shared * before / after if after > 0 else 0.0
        profile = value.profile
        if profile is None:
            others = [d for d in range(len(roles)) if d not in dims]
            profile = even(value.square.mean(others, keepdim=True) if others else value.square)
        return replace(value, roles=roles, mean=mean, var=var, shared=share, profile=profile)
    return replace(value, roles=roles, var=var)


def _over_positions(profile: torch.Tensor, roles: str) -> torch.Tensor | None:
    """Return a profile without what varies along dimensions that are not random."""
    dims = [d for d, role in enumerate(roles) if role not in RANDOM and profile.shape[d] > 1]
    return even(profile.mean(dims, keepdim=True)) if dims else profile


def even(weights: torch.Tensor) -> torch.Tensor | None:
    """Return weights over positions scaled to mean 1, None where all are the same."""
    middle = weights.mean()
    if weights.numel() == 1 or not bool(middle > 0):
        return None
    return weights / middle


def weighed(parts: Iterable[tuple[float, torch.Tensor | None]]) -> torch.Tensor | None:
    """Return the average of profiles, each with a weight."""
    parts = list(parts)
    total = sum(weight for weight, _ in parts)
    if total <= 0 or all(profile is None for _, profile in parts):
        return None
    one = torch.ones((), dtype=torch.float64)
    found = sum(
        (w / total * (one if p is None else p) for w, p in parts),
        torch.zeros((), dtype=torch.float64),
    )
    return even(found)


def image_roles(x: Value) -> str:
    """Return the roles of (N, C, ...) where the first dimension may hold positions as well."""
    first = x.roles[0] if x.roles[0] in RANDOM else SAMPLE
    return first + CHANNEL + POSITION * (len(x.roles) - 2)


def flattened(power: torch.Tensor, roles: str) -> torch.Tensor:
    """Average moments of a gradient over what are random dimensions by `roles`."""
    dims = [d for d, role in enumerate(roles) if role in RANDOM and power.shape[d] > 1]
    return power.mean(dims, keepdim=True) if dims else power


def recast(gradient: Gradient, roles: str) -> Gradient:
    """Return a gradient with other roles."""
    if roles == gradient.roles:
        return gradient
    profile = gradient.profile
    if profile is not None:
        profile = _over_positions(profile, roles)
    return replace(gradient, roles=roles, power=flattened(gradient.power, roles), profile=profile)


def counts(
    shape: Shape, roles: str, batch: int, dims: Iterable[int] | None = None
) -> tuple[int, int]:
    """Return how many samples and how many positions of each a value has, along `dims`."""
    chosen = range(len(shape)) if dims is None else tuple(dims)
    rows = prod(shape[d] for d in chosen if roles[d] in RANDOM)
    samples = prod(shape[d] for d in chosen if roles[d] == SAMPLE)
    if samples == 1 and rows >= batch and rows % batch == 0 and SAMPLE not in roles:
        samples = batch
    return max(samples, 1), max(rows // max(samples, 1), 1)


def neighbours(
    near: Sequence[float],
    other: Sequence[float] | None,
    shape: Shape,
    roles: str,
    dims: Iterable[int] | None = None,
) -> float:
    """Return the sum of a product of correlations over all distances: how many add up as one.

    A correlation that falls with the distance d like a Gaussian is c^(d^2) with c that of
    neighbours; the correlation of a product of two independent fields is the product of both.
    """
    result = 1.0
    for d in range(len(shape)) if dims is None else dims:
        if roles[d] != POSITION or shape[d] < 2:
            continue
        c = near[d] * (1.0 if other is None else other[d])
        if c <= 1e-3:
            continue
        c = min(c, 0.9999)
        term, size = 1.0, shape[d]
        for distance in range(1, size):
            part = c ** (distance * distance)
            if part < 1e-4:
                break
            term += 2 * part * (1 - distance / size)
        result *= term
    return result


def combined(first: Gradient, second: Gradient) -> Gradient:
    """Add two independent gradients of one value."""
    roles = first.roles
    second = recast(second, roles) if second.roles != roles else second
    a, b = first.total, second.total
    total = a + b
    if total <= 0 or a == 0:
        return second if a == 0 else first
    if b == 0:
        return first
    wa, wb = a / total, b / total

    def mixed(name: str) -> float:
        return float(wa * getattr(first, name) + wb * getattr(second, name))

    rest = wa * first.rest + wb * second.rest
    near = tuple(
        (wa * first.rest * x + wb * second.rest * y) / rest if rest > 0 else 0.0
        for x, y in zip(first.near, second.near, strict=True)
    )
    profile = weighed([(wa, first.profile), (wb, second.profile)])
    return Gradient(
        first.shape,
        roles,
        first.power + second.power,
        mixed("common"),
        mixed("own"),
        near,
        mixed("centred"),
        profile,
        mixed("fixed"),
        mixed("along"),
        mixed("along_all"),
    )


def joint(
    gradient: Gradient,
    value: Value,
    batch: int,
    dims: Iterable[int],
    *,
    squared: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean square of sum(gradient * value) over the random dimensions among `dims`.

    Both are split into three parts that are orthogonal over the batch: what all have in common,
    what the positions of a sample have in common, and the rest. The sum of products is then
    a sum over parts, and for n samples of m positions its mean square

        (n m)^2 M M' + n m^2 U U' n / (n - 1) + n m V V' k,

    with k the number of neighbours that vary together. For parts of random values with a finite
    number of samples, M has 1/n of U, and so on. Assumes that gradient and value are independent
    given their parts.

    Args:
        gradient: Of the same shape as `value`.
        value: What it is multiplied with.
        batch: Number of samples.
        dims: Dimensions to sum over; those that are not random are left alone.
        squared: Mean square of the gradient in place of its own power.
    """
    dims = [d for d in dims if gradient.roles[d] in RANDOM]
    n, m = counts(gradient.shape, gradient.roles, batch, dims)
    power = gradient.power if squared is None else squared
    k = neighbours(gradient.near, value.near, gradient.shape, gradient.roles, dims)
    kg = neighbours(gradient.near, None, gradient.shape, gradient.roles, dims)
    kx = neighbours(value.near, None, value.shape, gradient.roles, dims)
    # The sum is known to vanish only over all of them.
    samples = any(gradient.roles[d] == SAMPLE for d in dims)
    fixed, rest = (
        (gradient.fixed, gradient.rest) if samples else (0.0, gradient.rest + gradient.fixed)
    )
    whole = 1.0 - gradient.centred * all(
        d in dims
        for d, role in enumerate(gradient.roles)
        if role in RANDOM and gradient.shape[d] > 1
    )
    gm = gradient.common + whole * (gradient.own / n + rest * min(kg / (n * m), 1.0 / n))
    gu = (gradient.own + rest * min(kg / m, 1.0)) * (1 - 1 / n)
    gv = rest * max(1 - min(kg / m, 1.0), 0.0)
    mean = value.mean.square()
    xm = mean + value.var * (value.shared / n + (1 - value.shared) * min(kx / (n * m), 1.0 / n))
    xu = value.var * (value.shared + (1 - value.shared) * min(kx / m, 1.0)) * (1 - 1 / n)
    xv = value.var * (1 - value.shared) * max(1 - min(kx / m, 1.0), 0.0)
    result = (n * m) ** 2 * gm * xm + n * m * gv * k * xv
    if fixed:
        # At each position all samples add up; the positions do so at random.
        result = result + n * n * m * fixed * k * (mean + value.var / n)
    if n > 1:
        result = result + n * m**2 * gu * xu * n / (n - 1)
    if gradient.profile is not None and value.profile is not None:
        result = result * (gradient.profile * value.profile).mean()
    return power * result


def linked(gradient: Gradient, batch: int, dims: Iterable[int]) -> float:
    """Return the mean square of sum(gradient * z) over random dimensions, as far as both go along.

    z is the value itself, in units of its deviation.
    """
    if not gradient.along and not gradient.along_all:
        return 0.0
    n, m = counts(gradient.shape, gradient.roles, batch, dims)
    return gradient.total * (n * m * m * gradient.along + (n * m) ** 2 * gradient.along_all)


def summed(gradient: Gradient, batch: int, dims: Iterable[int]) -> torch.Tensor:
    """Return the mean square of the gradient's sum over the random dimensions among `dims`."""
    one = Value(
        gradient.shape,
        gradient.roles,
        numbers(1.0, len(gradient.shape)),
        numbers(0.0, len(gradient.shape)),
    )
    return joint(gradient, one, batch, dims)
