"""Reduce tensors to their magnitudes on the device, with as few passes over memory as torch allows.

On the CPU, `dot`, `amax` and `amin` run at the speed of memory on every core, while `vector_norm` of
order 2 runs on one core alone, and `vector_norm` of infinite order, `count_nonzero`, `aminmax` and
comparisons to bool are 2 to 40 times slower (torch 2.13). Large tensors are taken in pieces that stay
in the cache for all three; tensors of a few elements are put together first, since a call costs as
much as a thousand elements. On CUDA the number of kernels counts, and `_foreach_norm` measures many
tensors with a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

# Elements of a piece: with its scratch space it fits into the second-level caches of two cores.
PIECE = 1 << 18
# From here on a tensor is taken in pieces.
_LARGE = 2 * PIECE
# Up to here a call counts for more than a pass over the elements.
_FEW = 1 << 13
# Up to here a tensor is put together with others.
TINY = 1 << 10
# What may be held back until it is measured with others.
_MOST_BYTES = 256 << 20
_MOST_TENSORS = 256


@dataclass(frozen=True, slots=True)
class Slots:
    """Where in the buffer the magnitudes of one tensor go.

    Attributes:
        buffer: The buffer, float32 on the device, in one dimension.
        places: Positions of the L2 norm (or of the root mean square, where it is measured with
            care), the largest and the smallest value; on CUDA, the second takes the largest
            magnitude. -1 for one that is not wanted.
        norm: The first of these places, and so on.
        high: None where it is not wanted.
        low: None where no value is negative.
        nonzeros: For the number of values that are not exactly zero, None where not wanted.
    """

    buffer: torch.Tensor
    places: tuple[int, int, int]
    norm: torch.Tensor
    high: torch.Tensor | None = None
    low: torch.Tensor | None = None
    nonzeros: torch.Tensor | None = None


def slots(
    buffer: torch.Tensor, norm: int, high: int = -1, low: int = -1, nonzeros: int = -1
) -> Slots:
    """Return the places at given positions of a buffer; -1 leaves one out."""

    def at(position: int) -> torch.Tensor | None:
        return None if position < 0 else buffer[position]

    return Slots(buffer, (norm, high, low), buffer[norm], at(high), at(low), at(nonzeros))


def at_once(value: torch.Tensor, into: Slots) -> None:
    """Reduce a tensor now."""
    if value.is_cuda:
        _on_cuda(value, into)
        if into.nonzeros is not None:
            # One kernel, in float32: exact up to 2 ** 24.
            torch.linalg.vector_norm(value, 0, dtype=torch.float32, out=into.nonzeros)
    elif value.dtype != torch.float32:
        into.norm.copy_(_norm(value))
        _peaks(value, into)
        if into.nonzeros is not None:
            _count_nonzeros(value, into.nonzeros)
    else:
        for_size(into, value.numel())(value)


def for_size(into: Slots, count: int) -> Callable[[torch.Tensor], None]:
    """Return what reduces float32 tensors of so many elements on the CPU.

    It is made once for each place: looking up attributes would take as long as a small reduction.
    """
    norm, high, low, nonzeros = into.norm, into.high, into.low, into.nonzeros
    vector_norm, amax, amin, aminmax = (
        torch.linalg.vector_norm,
        torch.amax,
        torch.amin,
        torch.aminmax,
    )

    def norm_alone(value: torch.Tensor) -> None:
        vector_norm(value, out=norm)

    def without_low(value: torch.Tensor) -> None:
        if count <= _FEW:
            vector_norm(value, out=norm)
        else:
            squares(value, out=norm).sqrt_()
        amax(value, (), out=high)
        if nonzeros is not None:
            # Nothing is negative here, so the signs are 0 and 1.
            torch.sum(torch.sign(value), (), out=nonzeros)

    def few(value: torch.Tensor) -> None:
        assert low is not None
        assert high is not None
        vector_norm(value, out=norm)
        if value.is_contiguous():
            # Slower for each element than two calls, but one call less.
            aminmax(value, out=(low, high))
        else:
            amax(value, (), out=high)
            amin(value, (), out=low)
        if nonzeros is not None:
            _count_nonzeros(value, nonzeros)

    def many(value: torch.Tensor) -> None:
        squares(value, out=norm).sqrt_()
        amax(value, (), out=high)
        amin(value, (), out=low)
        if nonzeros is not None:
            _count_nonzeros(value, nonzeros)

    def large(value: torch.Tensor) -> None:
        _in_pieces(value, into)
        if nonzeros is not None:
            _count_nonzeros(value, nonzeros)

    if high is None or not count:
        return norm_alone
    if count >= _LARGE:
        return large
    if low is None:
        return without_low
    return few if count <= _FEW else many


def careful(value: torch.Tensor, into: Slots) -> None:
    """Reduce a tensor whose squares float32 does not hold; the norm's place takes the RMS."""
    wide = value.to(torch.complex128 if value.is_complex() else torch.float64)
    into.norm.copy_(torch.linalg.vector_norm(wide) / math.sqrt(max(value.numel(), 1)))
    _peaks(value, into)
    if into.nonzeros is not None:
        _count_nonzeros(value, into.nonzeros)


def flat(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor in one dimension: the memory as it lies where it is dense, else a copy."""
    if value.is_contiguous():
        return value.view(-1)
    expected = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size != 1 and stride != expected:
            return value.reshape(-1)
        expected *= size
    return value.as_strided((value.numel(),), (1,))


def squares(value: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sum of the squares of a float32 tensor on the CPU, without dimensions."""
    elements = flat(value)
    return torch.dot(elements, elements, out=out)


class Held:
    """Holds tensors back and reduces many at a time."""

    def __init__(self, *, cuda: bool) -> None:
        self._reduce = _many_on_cuda if cuda else _many_tiny
        self._held: list[tuple[torch.Tensor, Slots]] = []
        self._bytes = 0

    def add(self, value: torch.Tensor, into: Slots) -> None:
        """Take a tensor that nothing writes into before the next `flush`."""
        if value.dtype == torch.float64 or value.is_complex():
            at_once(value, into)
            return
        if into.nonzeros is not None:
            _count_nonzeros(value, into.nonzeros)
        self._held.append((value, into))
        self._bytes += value.nbytes
        if self._bytes > _MOST_BYTES or len(self._held) >= _MOST_TENSORS:
            self.flush()

    def flush(self) -> None:
        """Reduce everything that is held back."""
        for dtype in {value.dtype for value, _ in self._held}:
            self._reduce([each for each in self._held if each[0].dtype == dtype])
        self._held.clear()
        self._bytes = 0


def _many_on_cuda(held: Sequence[tuple[torch.Tensor, Slots]]) -> None:
    values = [value for value, _ in held]
    # torch's one way to many norms at a time.
    norms = torch._foreach_norm(values, 2, dtype=torch.float32)  # noqa: SLF001
    torch._foreach_copy_([into.norm for _, into in held], norms)
    peaked = [(value, into.high) for value, into in held if into.high is not None]
    if peaked:
        peaks = torch._foreach_norm([value for value, _ in peaked], math.inf)  # noqa: SLF001
        torch._foreach_copy_([place for _, place in peaked], peaks)


def _many_tiny(held: Sequence[tuple[torch.Tensor, Slots]]) -> None:
    present = [(value, into) for value, into in held if value.numel()]
    if not present:
        return
    lengths = torch.tensor([value.numel() for value, _ in present])
    together = torch.cat([value.reshape(-1) for value, _ in present]).float()
    found = [
        torch.segment_reduce(together * together, "sum", lengths=lengths, unsafe=True).sqrt_(),
        torch.segment_reduce(together, "max", lengths=lengths, unsafe=True),
        torch.segment_reduce(together, "min", lengths=lengths, unsafe=True),
    ]
    buffer = present[0][1].buffer
    for which, reduced in enumerate(found):
        wanted = [
            (position, into.places[which])
            for position, (_, into) in enumerate(present)
            if into.places[which] >= 0
        ]
        if wanted:
            positions, places = zip(*wanted, strict=True)
            buffer[torch.tensor(places)] = reduced[torch.tensor(positions)]


def _on_cuda(value: torch.Tensor, into: Slots) -> None:
    if value.dtype == torch.float64 or value.is_complex():
        into.norm.copy_(torch.linalg.vector_norm(value))
        _peaks(value, into)
        return
    torch.linalg.vector_norm(value, dtype=torch.float32, out=into.norm)
    if into.high is not None:
        torch.linalg.vector_norm(value, math.inf, dtype=torch.float32, out=into.high)


def _in_pieces(value: torch.Tensor, into: Slots) -> None:
    sums, highs, lows = [], [], []
    for piece in flat(value).split(PIECE):  # type: ignore[no-untyped-call]
        sums.append(torch.dot(piece, piece))
        if into.high is not None:
            highs.append(torch.amax(piece, ()))
            if into.low is not None:
                lows.append(torch.amin(piece, ()))
    torch.sum(torch.stack(sums), (), out=into.norm).sqrt_()
    if highs and into.high is not None:
        torch.amax(torch.stack(highs), (), out=into.high)
    if lows and into.low is not None:
        torch.amin(torch.stack(lows), (), out=into.low)


def _norm(value: torch.Tensor) -> torch.Tensor:
    if value.dtype == torch.float64 or value.is_complex():
        norm: torch.Tensor = torch.linalg.vector_norm(value)
    else:
        norm = torch.linalg.vector_norm(value, dtype=torch.float32)
    return norm


def _peaks(value: torch.Tensor, into: Slots) -> None:
    if into.high is None or not value.numel():
        return
    if value.is_complex():
        into.high.copy_(torch.linalg.vector_norm(value, math.inf))
        return
    into.high.copy_(value.amax())
    if into.low is not None:
        into.low.copy_(value.amin())


def _count_nonzeros(value: torch.Tensor, place: torch.Tensor) -> None:
    """Count what is not exactly zero; sums of ones stay exact, since each is over one piece."""
    if value.is_cuda:
        # One kernel, in float32: exact up to 2 ** 24.
        torch.linalg.vector_norm(value, 0, dtype=torch.float32, out=place)
        return
    if value.numel() < _LARGE:
        torch.sum(_marks(value), (), out=place)
        return
    counts = [
        torch.sum(_marks(piece))
        for piece in flat(value).split(PIECE)  # type: ignore[no-untyped-call]
    ]
    place.copy_(torch.stack(counts).double().sum())


def _marks(value: torch.Tensor) -> torch.Tensor:
    """Return 1.0 for each value that is not zero: a comparison to bool takes three times as long."""
    return torch.ne(value, 0, out=torch.empty_like(value, dtype=torch.float32))
