"""Sums over squares of weights: what a linear map does to variances."""

from __future__ import annotations

import torch

# Weights above which row and column norms stand for the squares: no copy of the matrix is made.
LARGE = 1 << 22


def forward_squares(weight: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    """Return sum_i w_oi^2 v_i for a matrix (outputs, inputs) and variances by input, or one of all."""
    if var.numel() == 1:
        return _norms(weight, 1) * var
    if weight.numel() <= LARGE:
        return _scaled(weight.square(), var)
    rows, columns = _norms(weight, 1), _norms(weight, 0)
    total = columns.sum()
    return rows * (columns @ var / total) if total > 0 else rows


def backward_squares(weight: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """Return sum_o w_oi^2 g_o for a matrix (outputs, inputs) and powers by output, or one of all."""
    return forward_squares(weight.t(), power)


def mapped(weight: torch.Tensor, mean: torch.Tensor, count: int) -> torch.Tensor:
    """Return sum_i w_oi m_i; a single mean stands for `count` equal ones."""
    if not bool(mean.any()):
        return torch.zeros(weight.shape[0], dtype=torch.float64)
    if mean.numel() == 1:
        return weight.sum(1).double() * mean
    del count
    return _scaled(weight, mean)


def _norms(weight: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.linalg.vector_norm(weight, dim=dim).double().square()


def _scaled(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Multiply in the matrix's type, with the vector brought to size one and back."""
    size = vector.abs().max()
    if not bool(size > 0) or not bool(torch.isfinite(size)):
        return torch.full((matrix.shape[0],), float(size), dtype=torch.float64)
    return (matrix @ (vector / size).to(matrix.dtype)).double() * size
