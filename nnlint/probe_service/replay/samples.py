"""Which dimension of a tensor counts the samples of a batch; without torch."""

from __future__ import annotations

from collections.abc import Sequence


def batch_dimension(shape: Sequence[int], batch_size: int) -> int | None:
    """Return the first dimension whose size is that of the batch, None where there is none."""
    return next((index for index, size in enumerate(shape) if size == batch_size), None)
