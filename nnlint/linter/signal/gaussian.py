"""Expectations of functions of Gaussian values, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

Function = Callable[[torch.Tensor], torch.Tensor]

# Numbers of channels beyond which a coarser grid is used.
_FEW, _MANY = 128, 4096


@dataclass(frozen=True, slots=True)
class Image:
    """What an elementwise function f makes of x = m + s z with z standard normal.

    Attributes:
        mean: E f(x).
        var: Var f(x).
        first: Square of the first Hermite coefficient, (E z f(x))^2: the part of the variance that
            is linear in z.
        slope: E f'(x).
        slopes: E f'(x)^2.
        bend: Square of the first Hermite coefficient of f', (E z f'(x))^2.
    """

    mean: torch.Tensor
    var: torch.Tensor
    first: torch.Tensor
    slope: torch.Tensor
    slopes: torch.Tensor
    bend: torch.Tensor

    def shared(self, correlation: float) -> float:
        """Return the correlation of f at two places whose arguments correlate by `correlation`.

        By Mehler's formula Cov(f, f) is the sum of a_k^2 r^k over the Hermite coefficients a_k
        with k > 0; all behind the first is taken as of second order.
        """
        total = float(self.var.mean())
        if total <= 0:
            return 0.0
        linear = min(float(self.first.mean()), total)
        return (linear * correlation + (total - linear) * correlation * abs(correlation)) / total

    def kept(self, correlation: float, power: torch.Tensor) -> float:
        """Return E f' f' at two places over E f'^2, weighted with the power of a gradient."""
        total = float((power * self.slopes).mean())
        if total <= 0:
            return 1.0
        whole = self.slope.square()
        beyond = (self.slopes - whole - self.bend).clamp(min=0)
        both = whole + self.bend * correlation + beyond * correlation * abs(correlation) ** 2
        return min(float((power * both).mean()) / total, 1.0)


def _aligned(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return means and standard deviations of one form."""
    std = var.clamp(min=0).sqrt()
    return mean + torch.zeros_like(std), std + torch.zeros_like(mean)


def _grid(count: int, width: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places and weights; an even count, so that a kink at the mean lies between two."""
    z = torch.linspace(-width, width, count, dtype=torch.float64)
    weights = torch.exp(-z.square() / 2)
    return z, weights / weights.sum()


_FINE, _MEDIUM, _COARSE = _grid(160, 6.0), _grid(80, 5.0), _grid(40, 4.5)


def image(function: Function, mean: torch.Tensor, var: torch.Tensor) -> Image:
    """Integrate a function and its derivative over Gaussians with the trapezoidal rule.

    Args:
        function: Elementwise.
        mean: Means.
        var: Variances, of a form that broadcasts with the means.
    """
    mean, std = _aligned(mean, var)
    if mean.numel() > 1 and bool(
        (mean == mean.flatten()[0]).all() & (std == std.flatten()[0]).all()
    ):
        found = image(function, mean.flatten()[:1], std.flatten()[:1].square())
        return Image(*(getattr(found, name).reshape((1,) * mean.dim()) for name in _FIELDS))
    count = mean.numel()
    z, weights = _FINE if count <= _FEW else (_MEDIUM if count <= _MANY else _COARSE)
    x = mean.unsqueeze(-1) + std.unsqueeze(-1) * z
    with torch.enable_grad():
        x.requires_grad_()
        y = function(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()
    first = y @ weights
    second = (y - first.unsqueeze(-1)).square() @ weights
    linear = (y @ (weights * z)).square()
    d1, d2 = slope @ weights, slope.square() @ weights
    return Image(
        first, second, torch.minimum(linear, second), d1, d2, (slope @ (weights * z)).square()
    )


_FIELDS = ("mean", "var", "first", "slope", "slopes", "bend")


def rectified(mean: torch.Tensor, var: torch.Tensor, leak: float = 0.0) -> Image:
    """Give the moments of max(x, leak x) in closed form.

    For x = m + s z, with Phi and phi the normal distribution and density at m / s:
    E relu = m Phi + s phi and E relu^2 = (m^2 + s^2) Phi + m s phi.
    """
    mean, std = _aligned(mean, var)
    safe = std.clamp(min=1e-300)
    ratio = (mean / safe).clamp(-1e6, 1e6)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    share = torch.special.ndtr(ratio)
    first = mean * share + std * density
    second = (mean.square() + std.square()) * share + mean * std * density
    rest = 1.0 - leak
    # f = leak x + rest relu(x), and relu(x) x = relu(x)^2
    average = leak * mean + rest * first
    square = leak**2 * (mean.square() + std.square()) + (2 * leak * rest + rest**2) * second
    slope = leak + rest * share
    slopes = leak**2 + (1 - leak**2) * share
    linear = (std * slope).square()
    spread = (square - average.square()).clamp(min=0)
    return Image(
        average,
        torch.maximum(spread, linear * 0),
        torch.minimum(linear, spread),
        slope,
        slopes,
        (rest * density).square(),
    )
