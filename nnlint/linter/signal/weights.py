"""Sums over squares of weights: what a linear map does to variances."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Weights that are squared at once; more of them are taken in pieces that fit a cache.
PIECE = 1 << 18
# Weights beyond which row and column sums stand for the squares themselves.
LARGE = 1 << 22
# Relative spread of variances below which they do so as well: they agree where all are equal.
ALIKE = 0.3


@dataclass(slots=True)
class Squares:
    """A matrix (outputs, inputs), seen by the squares of its elements.

    Attributes:
        weight: The matrix.
        squared: Whether it holds squares already.
    """

    weight: torch.Tensor
    squared: bool = False
    _rows: torch.Tensor | None = None
    _columns: torch.Tensor | None = None

    def forward(self, var: torch.Tensor) -> torch.Tensor:
        """Return sum_i w_oi^2 v_i for variances by input, or one of all."""
        rows, columns = self._sums()
        return self._applied(var, rows, columns, turned=False)

    def backward(self, power: torch.Tensor) -> torch.Tensor:
        """Return sum_o w_oi^2 g_o for powers by output, or one of all."""
        rows, columns = self._sums()
        return self._applied(power, columns, rows, turned=True)

    def _applied(
        self, vector: torch.Tensor, sums: torch.Tensor, across: torch.Tensor, *, turned: bool
    ) -> torch.Tensor:
        if vector.numel() == 1:
            return sums * vector
        middle = vector.mean()
        if self.weight.numel() <= LARGE and not bool(vector.std() <= ALIKE * middle):
            matrix = self.weight if self.squared else self.weight.square()
            return product(matrix.t() if turned else matrix, vector)
        total = across.sum()
        return sums * (across @ vector / total) if bool(total > 0) else sums

    def _sums(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sums of each row and of each column, from one pass over the matrix."""
        if self._rows is None or self._columns is None:
            weight = self.weight
            step = max(PIECE // max(weight.shape[1], 1), 1)
            rows: list[torch.Tensor] = []
            columns = torch.zeros(weight.shape[1], dtype=torch.float64)
            for start in range(0, weight.shape[0], step):
                piece = weight[start : start + step]
                piece = piece if self.squared else piece.square()
                rows.append(piece.sum(1).double())
                columns += piece.sum(0)
            self._rows = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.float64)
            self._columns = columns
        return self._rows, self._columns


def mapped(weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Return sum_i w_oi m_i for means by input, or one of all."""
    if not bool(mean.any()):
        return torch.zeros(weight.shape[0], dtype=torch.float64)
    if mean.numel() == 1:
        return weight.sum(1).double() * mean
    return product(weight, mean)


def product(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Multiply in the matrix's type, with the vector brought to size one and back."""
    size = vector.abs().max()
    if not bool(size > 0) or not bool(torch.isfinite(size)):
        return torch.full((matrix.shape[0],), float(size), dtype=torch.float64)
    return (matrix @ (vector / size).to(matrix.dtype)).double() * size
