"""Intervals: between which bounds a value lies, and why it could be exactly 0."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

INF = math.inf


class Zero(enum.Flag):
    """What makes a value exactly 0, by the structure of the graph and not by rare luck.

    GATED: a ReLU, a clamp at 0, a padding row: whole regions are exactly 0.
    SPREAD: a variance or standard deviation, 0 where all values are equal.
    MASK: the count of what a comparison of the input lets through.
    PRODUCT: a square, an absolute value, a product: 0 where its operand is, with a gradient rule
        that does not shield the operand from an infinite gradient (inf * 0 is NaN).
    """

    GATED = enum.auto()
    SPREAD = enum.auto()
    MASK = enum.auto()
    PRODUCT = enum.auto()


NONE = Zero(0)


@dataclass(frozen=True, slots=True)
class Interval:
    """All values lie in [lo, hi].

    Attributes:
        lo: Lower bound.
        hi: Upper bound.
        zero: Why the value can be exactly 0; nothing where no reason is known.
        nonzero: Whether 0 is excluded, also where it is a bound (exp is in (0, inf)).
    """

    lo: float = -INF
    hi: float = INF
    zero: Zero = NONE
    nonzero: bool = False

    def __post_init__(self) -> None:
        if self.lo > 0 or self.hi < 0:
            object.__setattr__(self, "nonzero", True)
        if self.nonzero and self.zero:
            object.__setattr__(self, "zero", NONE)

    @property
    def nonnegative(self) -> bool:
        """Whether no value is below 0."""
        return self.lo >= 0

    @property
    def one_sided(self) -> bool:
        """Whether all values have the same sign, so that a sum of them cannot cancel."""
        return self.lo >= 0 or self.hi <= 0

    def __neg__(self) -> Interval:
        return replace(self, lo=-self.hi, hi=-self.lo)

    def __add__(self, other: Interval) -> Interval:
        together = (self.lo >= 0 and other.lo >= 0) or (self.hi <= 0 and other.hi <= 0)
        return Interval(
            _finite(self.lo + other.lo, -INF),
            _finite(self.hi + other.hi, INF),
            # Two summands of one sign give 0 only together.
            self.zero | other.zero if together and self.zero and other.zero else NONE,
            nonzero=together and (self.nonzero or other.nonzero),
        )

    def __mul__(self, other: Interval) -> Interval:
        corners = [_times(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        zero = self.zero | other.zero
        if zero and not (self.is_number or other.is_number):
            zero |= Zero.PRODUCT
        return Interval(min(corners), max(corners), zero, nonzero=self.nonzero and other.nonzero)

    def __truediv__(self, other: Interval) -> Interval:
        if other.is_number and other.lo != 0:
            return self * number(1 / other.lo)
        if self.nonnegative and other.nonnegative:
            return Interval(0, INF, self.zero, nonzero=self.nonzero and other.hi < INF)
        return UNKNOWN

    @property
    def is_number(self) -> bool:
        """Whether it is one number."""
        return self.lo == self.hi


UNKNOWN = Interval()
POSITIVE = Interval(0, INF, nonzero=True)


def number(value: float) -> Interval:
    """Return the interval of a constant."""
    return UNKNOWN if math.isnan(value) else Interval(value, value)


def hull(parts: Iterable[Interval]) -> Interval:
    """Return the smallest interval that holds all parts; a reason for 0 must hold in each."""
    found = list(parts)
    if not found:
        return UNKNOWN
    zero = found[0].zero
    for part in found[1:]:
        zero &= part.zero
    return Interval(
        min(p.lo for p in found),
        max(p.hi for p in found),
        zero,
        nonzero=all(p.nonzero for p in found) and len({p.lo >= 0 for p in found}) == 1,
    )


def square(value: Interval) -> Interval:
    """Return the interval of value * value."""
    ends = (_times(value.lo, value.lo), _times(value.hi, value.hi))
    lo = min(ends) if value.one_sided else 0.0
    return Interval(lo, max(ends), value.zero | Zero.PRODUCT, nonzero=value.nonzero)


def absolute(value: Interval) -> Interval:
    """Return the interval of abs(value)."""
    if value.nonnegative:
        return value
    if value.hi <= 0:
        return -value
    return Interval(0, max(-value.lo, value.hi), value.zero | Zero.PRODUCT, nonzero=value.nonzero)


def total(value: Interval) -> Interval:
    """Return the interval of a sum of any number of such values."""
    if not value.one_sided:
        return UNKNOWN
    lo = value.lo if value.lo >= 0 else -INF
    hi = value.hi if value.hi <= 0 else INF
    return Interval(lo, hi, value.zero, nonzero=value.nonzero)


def average(value: Interval) -> Interval:
    """Return the interval of a mean, which keeps the bounds."""
    return value if value.one_sided else replace(value, zero=NONE, nonzero=False)


def clamp(value: Interval, low: float, high: float) -> Interval:
    """Return the interval of a value held between two numbers."""
    lo, hi = min(max(value.lo, low), high), max(min(value.hi, high), low)
    gated = low == 0 and value.lo < 0
    return Interval(lo, hi, Zero.GATED if gated else value.zero, nonzero=value.nonzero)


def monotonic(function: Callable[[float], float], value: Interval, *, nonzero: bool) -> Interval:
    """Return the interval of a growing function, with overflow read as infinity."""

    def at(bound: float) -> float:
        try:
            return function(bound)
        except OverflowError:
            return INF

    return Interval(at(value.lo), at(value.hi), nonzero=nonzero)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _finite(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value
