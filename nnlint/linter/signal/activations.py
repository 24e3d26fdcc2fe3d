"""Elementwise functions: activations, and the functions of arithmetic that take one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from nnlint.linter.operators import activation as a
from nnlint.linter.operators import arithmetic as m
from nnlint.linter.operators.base import Operator
from nnlint.linter.signal.base import Call, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.gaussian import Function, Image, image, rectified
from nnlint.linter.signal.moments import Gradient, Value

Make = Callable[[Call], Function]


def _fixed(function: Function) -> Make:
    return lambda _: function


def _number(call: Call, name: str, default: float) -> float:
    found = call.plain(name, default)
    if not isinstance(found, (int, float)):
        raise UnfollowedError(f"its {name} is no number")
    return float(found)


_SMOOTH: dict[Operator, Make] = {
    a.RELU6: _fixed(lambda x: x.clamp(0, 6)),
    a.ELU: lambda c: partial(F.elu, alpha=_number(c, "alpha", 1.0)),
    a.SELU: _fixed(F.selu),
    a.CELU: lambda c: partial(F.celu, alpha=_number(c, "alpha", 1.0)),
    a.GELU: lambda c: partial(F.gelu, approximate=c.plain("approximate", "none")),
    a.SILU: _fixed(F.silu),
    a.MISH: _fixed(F.mish),
    a.SOFTPLUS: lambda c: partial(F.softplus, beta=_number(c, "beta", 1.0)),
    a.SOFTSIGN: _fixed(F.softsign),
    a.TANH: _fixed(torch.tanh),
    a.SIGMOID: _fixed(torch.sigmoid),
    a.LOGSIGMOID: _fixed(F.logsigmoid),
    a.HARDTANH: lambda c: partial(
        torch.clamp, min=_number(c, "min_val", -1.0), max=_number(c, "max_val", 1.0)
    ),
    a.HARDSWISH: _fixed(F.hardswish),
    a.HARDSIGMOID: _fixed(F.hardsigmoid),
    a.TANHSHRINK: _fixed(F.tanhshrink),
    a.SOFTSHRINK: lambda c: partial(F.softshrink, lambd=_number(c, "lambd", 0.5)),
    a.HARDSHRINK: lambda c: partial(F.hardshrink, lambd=_number(c, "lambd", 0.5)),
    m.EXP: _fixed(torch.exp),
    m.EXPM1: _fixed(torch.expm1),
    m.EXP2: _fixed(torch.exp2),
    m.SQUARE: _fixed(torch.square),
    m.ABS: _fixed(torch.abs),
    m.ERF: _fixed(torch.erf),
    m.LOG1P: _fixed(lambda x: torch.log1p(x.clamp(min=-1 + 1e-6))),
    m.CLAMP_MIN: lambda c: partial(torch.clamp, min=_number(c, "min", 0.0)),
    m.CLAMP_MAX: lambda c: partial(torch.clamp, max=_number(c, "max", 0.0)),
    m.CLAMP: lambda c: partial(torch.clamp, min=c.plain("min"), max=c.plain("max")),
    m.NAN_TO_NUM: _fixed(lambda x: x),
}
# Functions whose moments only mean something away from a pole.
_POSITIVE: dict[Operator, Function] = {
    m.LOG: torch.log,
    m.LOG2: torch.log2,
    m.LOG10: torch.log10,
    m.SQRT: torch.sqrt,
    m.RSQRT: torch.rsqrt,
    m.RECIPROCAL: torch.reciprocal,
}
# f(max(x, y)) = max(f(x), f(y)): a max pool may go before them.
MONOTONE = frozenset(
    {
        a.RELU,
        a.RELU6,
        a.LEAKY_RELU,
        a.SIGMOID,
        a.TANH,
        a.ELU,
        a.SELU,
        a.CELU,
        a.SOFTPLUS,
        a.HARDTANH,
    }
)


def _leak(call: Call) -> float:
    if call.node.op is a.LEAKY_RELU:
        return _number(call, "negative_slope", 0.01)
    if call.node.op is a.RRELU:
        return (_number(call, "lower", 1 / 8) + _number(call, "upper", 1 / 3)) / 2
    if call.node.op is a.PRELU:
        weight = call.matrix()
        return 0.25 if weight is None else float(weight.tensor.mean())
    return 0.0


def moments_of(call: Call, mean: torch.Tensor, var: torch.Tensor) -> Image:
    """Return the image of Gaussians under the activation of a call."""
    op = call.node.op
    if op in {a.RELU, a.LEAKY_RELU, a.PRELU, a.RRELU}:
        return rectified(mean, var, _leak(call))
    if op in _SMOOTH:
        return image(_SMOOTH[op](call), mean, var)
    raise UnfollowedError("its activation is not known")


def applied(x: Value, found: Image) -> Value:
    """Return the moments behind an elementwise function."""
    shared = found.shared(x.shared)

    def near(c: float) -> float:
        whole = found.shared(x.shared + (1 - x.shared) * c)
        return max((whole - shared) / (1 - shared), 0.0) if shared < 1 else 0.0

    return replace(
        x,
        mean=found.mean,
        var=found.var,
        shared=shared,
        near=tuple(near(c) if c else 0.0 for c in x.near),
    )


def masked(g: Gradient, x: Value, found: Image) -> Gradient:
    """Return the gradient before an elementwise function: times f'(x), which varies with x.

    What positions had in common is kept as far as f' agrees there (the arc-cosine kernels of Cho
    and Saul 2009, here by the Hermite coefficients of f').
    """
    everywhere = found.kept(0.0, g.power)
    sample = found.kept(x.shared, g.power)
    common = g.common * everywhere
    own = max((g.common + g.own) * sample - common, 0.0)
    fixed = g.fixed * everywhere
    rest = max(1.0 - common - own - fixed, 0.0)

    def near(c: float, between: float) -> float:
        whole = (g.common + g.own + g.rest * c) * found.kept(
            x.shared + (1 - x.shared) * between, g.power
        )
        return max(min((whole - common - own) / rest, 1.0), 0.0) if rest > 1e-9 else 0.0

    slopes = float((g.power * found.slopes).mean())
    bent = float((g.power * found.bend).mean()) / slopes if slopes > 0 else 0.0
    positions = tuple(
        near(c, b) if role == "p" else 0.0
        for c, b, role in zip(g.near, x.near, g.roles, strict=True)
    )
    return replace(
        g,
        power=g.power * found.slopes,
        common=common,
        own=own,
        near=positions,
        centred=g.centred * everywhere,
        fixed=fixed,
        along=g.own * bent,
        along_all=g.common * bent,
    )


def elementwise(call: Call, found: Image) -> Step:
    """Return the step of an elementwise function with a known image."""
    x = call.value()

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", masked(g, x, found))

    return Step(applied(x, found), pull, linked=True)


@follows(a.RELU, a.LEAKY_RELU, a.PRELU, a.RRELU, *_SMOOTH)
def activation(call: Call) -> Step:
    """Follow an activation: Gaussian expectations by channel (Poole and others 2016).

    E f(x) and E f(x)^2 forward, E f'(x)^2 backward, over the distribution of each channel. ReLU in
    closed form, all others by integration.
    """
    x = call.value()
    return elementwise(call, moments_of(call, x.mean, x.var))


@follows(*_POSITIVE)
def positive(call: Call) -> Step:
    """Follow functions of positive values, where the values keep away from zero."""
    x = call.value()
    if float(x.mean.min()) <= 0:
        raise UnfollowedError("its operand comes close to zero")
    # A Gaussian would reach below zero, the operand does not.
    x = replace(x, var=torch.minimum(x.var, (x.mean / 8).square()))
    op = call.node.op
    assert op is not None
    found = image(_POSITIVE[op], x.mean, x.var)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", masked(g, x, found))

    return Step(applied(x, found), pull, linked=True)


@follows(m.POW)
def power(call: Call) -> Step:
    """Follow x ** k for a plain number k."""
    x, k = call.value(), call.plain("exponent")
    if not isinstance(k, (int, float)):
        raise UnfollowedError("its exponent is no number")
    if float(k).is_integer() and k >= 0:
        return elementwise(call, image(lambda v: v**k, x.mean, x.var))
    lowest = float((x.mean - 3 * x.var.sqrt()).min())
    if lowest <= 0:
        raise UnfollowedError("its operand comes close to zero")
    return elementwise(call, image(lambda v: v.clamp(min=1e-12) ** k, x.mean, x.var))


@follows(m.NEG)
def negative(call: Call) -> Step:
    """Follow -x."""
    x = call.value()

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", g)

    return Step(replace(x, mean=-x.mean), pull)


@follows(m.SIN)
def wave(call: Call) -> Step:
    """Follow sine and cosine of parameters, such as the angles of rotary positions."""
    x = call.value()
    cosine = "cos" in str(getattr(call.node.target, "__name__", call.node.target))
    return elementwise(call, image(torch.cos if cosine else torch.sin, x.mean, x.var))
