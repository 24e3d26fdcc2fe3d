"""A curve in one line of characters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*%#"
_CELLS = 32
# What stands for a value that is not finite.
_LOST = "x"


def sparkline(
    values: Sequence[float],
    *,
    plain: bool = False,
    floor: float | None = None,
    ceiling: float | None = None,
    cells: int = _CELLS,
) -> str:
    """Return a curve as characters of different height, "" for fewer than two finite values.

    Args:
        values: In order; of more than `cells` the mean of each stretch is drawn.
        plain: Whether only ASCII may be used.
        floor: What is drawn lowest, the least value without it.
        ceiling: Larger values are drawn as high as it.
        cells: Most characters.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low = min(finite) if floor is None or not math.isfinite(floor) else min(floor, *finite)
    high = max(finite)
    if ceiling is not None and math.isfinite(ceiling):
        high = min(high, max(ceiling, low))
    steps = _ASCII if plain else _BLOCKS
    return "".join(_cell(value, low, high, steps) for value in _drawn(values, high, cells))


def _drawn(values: Sequence[float], high: float, cells: int) -> list[float]:
    """Return one value for each cell; a stretch with one that is not finite is lost."""
    count = min(len(values), cells)
    edges = [len(values) * cell // count for cell in range(count + 1)]
    stretches = (values[a:b] for a, b in itertools.pairwise(edges))
    return [
        math.fsum(min(v, high) / len(s) for v in s) if _sound(s) else math.nan for s in stretches
    ]


def _sound(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _cell(value: float, low: float, high: float, steps: str) -> str:
    if not math.isfinite(value):
        return _LOST
    # Halves, since the difference of the two may overflow.
    span = high / 2 - low / 2
    share = (value / 2 - low / 2) / span if span > 0 else 0.0
    return steps[min(int(share * len(steps)), len(steps) - 1)]
