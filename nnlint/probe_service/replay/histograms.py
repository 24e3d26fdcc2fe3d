"""Count values by power of two, on the device and without waiting for it.

The exponent of a float32 stands in its bits, so a shift and a count of 256 numbers do it. They are
counted in one preallocated buffer, which crosses to the host once a step and is made coarser there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from nnlint.probe_service.replay.reducing import flat
from nnlint.protos.v1 import measurement_pb2

BINS = 64
_EXPONENTS = 256
_NOT_FINITE = _EXPONENTS - 1
# Of 2^-41, the largest power of two in the first bin.
_FIRST = 86
# Elements at a time: a few times as many bytes are needed beside them.
_PIECE = 1 << 20
# On CUDA neighbours count in rows of their own: most values share a few exponents, and would wait
# for each other.
_LANES = 64
# Exponents of a float64, which are reduced to those of a float32.
_WIDE = 2047
_WIDE_OFFSET = 1023 - 127


class Histograms:
    """Histograms of the tensors of one step."""

    def __init__(self, nodes: int, parameters: int, device: torch.device) -> None:
        """Make room.

        Args:
            nodes: How many are observed.
            parameters: How many there are.
            device: Where the program runs.
        """
        self._sizes = (nodes, nodes, parameters, parameters)
        self._counts = torch.zeros(sum(self._sizes), _EXPONENTS, dtype=torch.int64, device=device)
        self._lanes = None
        if device.type == "cuda":
            lanes = torch.arange(_PIECE, device=device, dtype=torch.int64)
            self._lanes = lanes.remainder_(_LANES).mul_(_EXPONENTS)

    def begin(self) -> None:
        """Forget the step before."""
        self._counts.zero_()

    def of_value(self, position: int) -> Callable[[torch.Tensor], None]:
        """Return what counts the values of an observed node."""
        return self._counter(0, position)

    def of_gradient(self, position: int) -> Callable[[torch.Tensor], None]:
        """Return what counts the gradients of its values."""
        return self._counter(1, position)

    def parameter(self, position: int, tensor: torch.Tensor) -> None:
        """Count the values of a parameter, and its gradients where it has any."""
        self._counter(2, position)(tensor)
        if tensor.grad is not None:
            self._counter(3, position)(tensor.grad)

    def message(self) -> measurement_pb2.Histograms:
        """Return the counts of the step; here the device is waited for."""
        exponents = torch.arange(_EXPONENTS)
        bins = (exponents - _FIRST).clamp_(0, BINS - 2)
        bins[_NOT_FINITE] = BINS - 1
        counts = self._counts.cpu()
        coarse = counts.new_zeros(len(counts), BINS).index_add_(1, bins, counts)
        parts = coarse.split(self._sizes)  # type: ignore[no-untyped-call]
        values, gradients, parameters, its_gradients = (part.flatten().tolist() for part in parts)
        return measurement_pb2.Histograms(
            activations=values,
            gradients=gradients,
            parameters=parameters,
            parameter_gradients=its_gradients,
        )

    def _counter(self, part: int, position: int) -> Callable[[torch.Tensor], None]:
        counts = self._counts[sum(self._sizes[:part]) + position]

        def count(tensor: torch.Tensor) -> None:
            with torch.no_grad():
                for piece in _floats(tensor.detach()).split(_PIECE):  # type: ignore[no-untyped-call]
                    self._add(_exponents(piece), counts)

        return count

    def _add(self, exponents: torch.Tensor, counts: torch.Tensor) -> None:
        if self._lanes is None:
            counts += torch.bincount(exponents, minlength=_EXPONENTS)
            return
        # bincount looks at the largest value first, and so waits for the device.
        places = exponents + self._lanes[: len(exponents)]
        rows = counts.new_zeros(_LANES * _EXPONENTS)
        rows.scatter_add_(0, places, torch.ones_like(places))
        counts += rows.view(_LANES, _EXPONENTS).sum(0)


def _floats(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements in one dimension and any order."""
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = tensor.abs()
    return flat(tensor.resolve_neg())


def _exponents(values: torch.Tensor) -> torch.Tensor:
    """Return the biased exponents: 0 below the normal numbers, 255 where not finite."""
    if values.dtype != torch.float64:
        # Half precision fits into it to the bit.
        return (values.float().view(torch.int32) >> 23).bitwise_and_(_NOT_FINITE)
    wide = (values.view(torch.int64) >> 52).bitwise_and_(_WIDE)
    narrow = (wide - _WIDE_OFFSET).clamp_(0, _NOT_FINITE - 1)
    return torch.where(wide == _WIDE, _NOT_FINITE, narrow)
