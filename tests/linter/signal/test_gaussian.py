"""Expectations over Gaussians: closed forms, integrals, and drawn values agree."""

from __future__ import annotations

import pytest
import torch

from nnlint.linter.signal.gaussian import Image, image, rectified
from nnlint.linter.signal.moments import Gradient, Value, joint, neighbours, numbers

MEANS = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0], dtype=torch.float64)
VARS = torch.tensor([1.0, 0.2, 1.0, 4.0, 0.5], dtype=torch.float64)
FIELDS = ("mean", "var", "first", "slope", "slopes", "bend")


def drawn(function, count: int = 400_000) -> Image:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 1, dtype=torch.float64, generator=generator)
    x = (MEANS + VARS.sqrt() * z).requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()
    return Image(
        y.mean(0),
        y.var(0),
        (z * y).mean(0).square(),
        slope.mean(0),
        slope.square().mean(0),
        (z * slope).mean(0).square(),
    )


@pytest.mark.parametrize("name", FIELDS)
def test_the_closed_form_of_relu_is_what_is_drawn(name: str) -> None:
    found = getattr(rectified(MEANS, VARS), name)
    assert torch.allclose(found, getattr(drawn(torch.relu), name), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", FIELDS)
def test_a_leaky_relu_lets_a_part_through(name: str) -> None:
    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.leaky_relu(x, 0.2)

    found = getattr(rectified(MEANS, VARS, 0.2), name)
    assert torch.allclose(found, getattr(drawn(leaky), name), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid, torch.nn.functional.gelu])
def test_integrals_are_what_is_drawn(function) -> None:
    found, expected = image(function, MEANS, VARS), drawn(function)
    for name in FIELDS:
        assert torch.allclose(
            getattr(found, name), getattr(expected, name), atol=0.01, rtol=0.02
        ), name


def test_a_constant_has_no_variance() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    found = image(torch.tanh, zero + 0.5, zero)
    assert float(found.mean) == pytest.approx(float(torch.tanh(torch.tensor(0.5))), abs=1e-6)
    assert float(found.var) == 0.0


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8, 1.0])
def test_correlations_behind_a_relu_are_what_is_drawn(correlation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    common, *own = torch.randn(3, 400_000, dtype=torch.float64, generator=generator)
    a, b = (correlation**0.5 * common + (1 - correlation) ** 0.5 * each for each in own)
    pair = torch.corrcoef(torch.stack([a.relu(), b.relu()]))[0, 1]
    one = torch.ones(1, dtype=torch.float64)
    assert rectified(one * 0, one).shared(correlation) == pytest.approx(float(pair), abs=0.03)


@pytest.mark.parametrize(
    ("common", "own", "shared"),
    [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 0.4, 0.5), (1.0, 0.0, 0.2)],
)
def test_sums_of_products_are_what_is_drawn(common: float, own: float, shared: float) -> None:
    n, m, draws = 6, 10, 4000
    generator = torch.Generator().manual_seed(0)

    def parts(first: float, second: float) -> torch.Tensor:
        every, sample, rest = (
            torch.randn(draws, *size, dtype=torch.float64, generator=generator)
            for size in ((1, 1), (n, 1), (n, m))
        )
        left = max(1 - first - second, 0.0)
        return first**0.5 * every + second**0.5 * sample + left**0.5 * rest

    mean = 0.7
    sums = (parts(common, own) * (mean + parts(0.0, shared))).sum((1, 2))
    g = Gradient((n, m, 1), "spc", numbers(1.0, 3), common, own)
    x = Value((n, m, 1), "spc", numbers(mean, 3), numbers(1.0, 3), shared)
    assert float(joint(g, x, n, range(3))) == pytest.approx(float(sums.square().mean()), rel=0.12)


def test_a_centred_gradient_sums_to_nothing() -> None:
    g = Gradient((4, 9, 1), "spc", numbers(1.0, 3), 0.0, 0.0, centred=1.0)
    one = Value((4, 9, 1), "spc", numbers(1.0, 3), numbers(0.0, 3))
    assert float(joint(g, one, 4, range(3))) == 0.0


def test_neighbours_that_are_alike_count_together() -> None:
    assert neighbours((0.0, 0.0), None, (4, 9), "sp") == 1.0
    assert neighbours((0.0, 0.9999), None, (4, 9), "sp") == pytest.approx(9, rel=0.01)
