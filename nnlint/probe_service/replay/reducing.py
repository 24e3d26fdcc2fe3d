"""Reduce tensors to their magnitudes on the device, with as few passes over memory as torch allows.

On the CPU, `vector_norm` of order 2 and `amax` run at the speed of memory, while `vector_norm` of
infinite order, `count_nonzero`, `aminmax` and comparisons to bool are 2 to 40 times slower
(torch 2.13); on CUDA the number of kernels counts, and `_foreach_norm` measures many tensors with
a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

# Elements that are compared with zero at a time; the comparison stays in the cache.
_CHUNK = 1 << 16
# What may be held back on CUDA until it is measured with others.
_MOST_BYTES = 256 << 20
_MOST_TENSORS = 256


@dataclass(frozen=True, slots=True)
class Slots:
    """Places in the buffer, each a float32 without dimensions on the device.

    Attributes:
        norm: For the L2 norm, or for the root mean square where it is measured with care.
        high: For the largest value, or the largest magnitude.
        low: For the smallest value; None where no value is negative.
        nonzeros: For the number of values that are not exactly zero.
    """

    norm: torch.Tensor
    high: torch.Tensor | None = None
    low: torch.Tensor | None = None
    nonzeros: torch.Tensor | None = None


# Reduces a tensor that requires no gradient into its places.
Reducer = Callable[[torch.Tensor, Slots], None]


def at_once(value: torch.Tensor, slots: Slots) -> None:
    """Reduce a tensor now."""
    if value.is_cuda:
        _on_cuda(value, slots)
    elif value.dtype == torch.float32:
        torch.linalg.vector_norm(value, out=slots.norm)
        if slots.high is not None and value.numel():
            torch.amax(value, (), out=slots.high)
            if slots.low is not None:
                torch.amin(value, (), out=slots.low)
    else:
        wide = torch.float64 if value.dtype == torch.float64 else torch.float32
        slots.norm.copy_(torch.linalg.vector_norm(value, dtype=_norm_type(value, wide)))
        _peaks(value, slots)
    if slots.nonzeros is not None:
        _count_nonzeros(value, slots.nonzeros)


def careful(value: torch.Tensor, slots: Slots) -> None:
    """Reduce a tensor whose squares float32 does not hold; the norm's place takes the RMS."""
    wide = value.to(torch.complex128 if value.is_complex() else torch.float64)
    norm = torch.linalg.vector_norm(wide)
    slots.norm.copy_(norm / math.sqrt(max(value.numel(), 1)))
    _peaks(value, slots)
    if slots.nonzeros is not None:
        _count_nonzeros(value, slots.nonzeros)


class Batched:
    """Holds tensors back and reduces many at a time."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, list[tuple[torch.Tensor, Slots]]] = {}
        self._bytes = 0
        self._count = 0

    def add(self, value: torch.Tensor, slots: Slots) -> None:
        """Take a tensor that nothing will write into before the next `flush`."""
        if slots.nonzeros is not None:
            _count_nonzeros(value, slots.nonzeros)
        self._held.setdefault(value.dtype, []).append((value, slots))
        self._bytes += value.nbytes
        self._count += 1
        if self._bytes > _MOST_BYTES or self._count >= _MOST_TENSORS:
            self.flush()

    def flush(self) -> None:
        """Reduce everything that is held back."""
        for dtype, held in self._held.items():
            if dtype == torch.float64 or dtype.is_complex:
                for value, slots in held:
                    at_once(value, slots)
                continue
            norms = torch._foreach_norm(  # noqa: SLF001 - the one way to many norms at a time
                [value for value, _ in held], 2, dtype=torch.float32
            )
            torch._foreach_copy_([slots.norm for _, slots in held], norms)
            peaked = [(value, slots.high) for value, slots in held if slots.high is not None]
            if peaked:
                peaks = torch._foreach_norm([value for value, _ in peaked], math.inf)  # noqa: SLF001
                torch._foreach_copy_([place for _, place in peaked], peaks)
        self._held.clear()
        self._bytes = self._count = 0


def _on_cuda(value: torch.Tensor, slots: Slots) -> None:
    if value.dtype == torch.float64 or value.is_complex():
        slots.norm.copy_(torch.linalg.vector_norm(value))
        _peaks(value, slots)
        return
    torch.linalg.vector_norm(value, dtype=torch.float32, out=slots.norm)
    if slots.high is not None:
        torch.linalg.vector_norm(value, math.inf, dtype=torch.float32, out=slots.high)


def _norm_type(value: torch.Tensor, wide: torch.dtype) -> torch.dtype | None:
    return None if value.is_complex() else wide


def _peaks(value: torch.Tensor, slots: Slots) -> None:
    if slots.high is None or not value.numel():
        return
    if value.is_complex():
        slots.high.copy_(torch.linalg.vector_norm(value, math.inf))
        return
    slots.high.copy_(value.amax())
    if slots.low is not None:
        slots.low.copy_(value.amin())


def _count_nonzeros(value: torch.Tensor, place: torch.Tensor) -> None:
    """Count what is not exactly zero; sums of ones stay exact, since each is over one chunk."""
    if value.is_cuda:
        # One kernel, in float32: exact up to 2 ** 24.
        torch.linalg.vector_norm(value, 0, dtype=torch.float32, out=place)
        return
    flat = value.reshape(-1)
    scratch = torch.empty(min(_CHUNK, flat.numel()), dtype=torch.float32)
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, flat.numel(), _CHUNK):
        chunk = flat[start : start + _CHUNK]
        marks = scratch[: chunk.numel()]
        torch.ne(chunk, 0, out=marks)
        total += marks.sum()
    place.copy_(total)
