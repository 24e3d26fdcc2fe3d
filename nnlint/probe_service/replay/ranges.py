"""What values a tensor holds: used where something went wrong, so it may wait for the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one tensor.

    Attributes:
        minimum: Of its finite values, 0 where there are none.
        maximum: Of its finite values.
        nans: How many values are NaN.
        infinities: How many values are infinite.
        elements: How many values there are.
        dtype: Their type.
    """

    minimum: float
    maximum: float
    nans: int
    infinities: int
    elements: int
    dtype: torch.dtype

    @property
    def finite(self) -> bool:
        """Whether every value is finite."""
        return not self.nans and not self.infinities


def range_of(value: torch.Tensor) -> Range:
    """Measure a tensor of any type and device."""
    value = value.detach()
    dtype, count = value.dtype, value.numel()
    if value.layout != torch.strided:
        value = value.coalesce().values()
    if value.is_complex():
        value = torch.view_as_real(value.resolve_conj())
    if not value.numel():
        return Range(0.0, 0.0, 0, 0, count, dtype)
    if value.dtype == torch.bool:
        value = value.to(torch.uint8)
    low, high = torch.stack([value.amin(), value.amax()]).tolist()
    if math.isfinite(low) and math.isfinite(high):
        return Range(float(low), float(high), 0, 0, count, dtype)
    finite = value[value.isfinite()]
    nans = int(value.isnan().sum())
    infinities = int(value.isinf().sum())
    if not finite.numel():
        return Range(0.0, 0.0, nans, infinities, count, dtype)
    return Range(float(finite.amin()), float(finite.amax()), nans, infinities, count, dtype)
