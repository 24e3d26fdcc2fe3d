"""Numbers as the report writes them: short for people, rounded for the page's data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Of a number in the page's data: more than a chart can show.
_DIGITS = 4


def number(value: float | None, digits: int = 3, none: str = "") -> str:
    """Return a number in some digits: 0.0123, 45.6, 1.2e-07, NaN; `none` where there is none."""
    if value is None:
        return none
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 0.001 <= abs(value) < 10**digits:
        return f"{value:.{digits}g}"
    return f"{value:.0f}" if 10**digits <= abs(value) < 100_000 else f"{value:.1e}"


def percent(share: float | None) -> str:
    """Return a share in whole percent, and "<1%" for a little."""
    if share is None:
        return ""
    return "<1%" if 0 < share < 0.01 else f"{math.floor(100 * share)}%"


def plotted(value: float | None) -> float | None:
    """Return a number for a chart's data, None where it has no place on an axis."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def logarithm(value: float | None) -> float | None:
    """Return the power of ten of a positive finite number, None for others."""
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return round(math.log10(value), 3)


def word(value: float | None) -> str:
    """Return what a logarithmic chart says in place of a number that has no place on its axis."""
    if value is None:
        return "none"
    return "" if math.isfinite(value) and value > 0 else number(value)


def odd(value: float | None) -> str:
    """Return "NaN", "inf" or "-inf" for a number that is not finite, else ""."""
    return "" if value is None or math.isfinite(value) else number(value)


def sizes(shape: Sequence[int]) -> str:
    """Return sizes as people write them: 64x3x7x7."""
    return "x".join(map(str, shape)) or "scalar"


def middle(values: Iterable[float]) -> float | None:
    """Return the median of the logarithms of the positive finite numbers, None without any."""
    logs = sorted(math.log10(v) for v in values if math.isfinite(v) and v > 0)
    return logs[len(logs) // 2] if logs else None
