"""What the rules about experiments have in common: why there is no result, and losses for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured


def unfinished(measured: Measured, name: str) -> str:
    """Return why an experiment that was asked for has no result."""
    return measured.experiments.skipped.get(name, "the probe ended before it did")


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values; NaN of none, and where one of them is not finite."""
    found = list(values)
    if not found or not all(map(math.isfinite, found)):
        return math.nan
    return math.fsum(value / len(found) for value in found)  # their sum may be too large


def loss(value: float) -> str:
    """Write a loss for people: "2.303", "1.2e-05"."""
    return f"{value:.4g}"


def rate(value: float) -> str:
    """Write a learning rate for people, to two digits: "0.0083", "1.2e-05"."""
    return f"{value:.2g}"
