"""New tensors of given sizes; the limits on sizes are checked before anything is made."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "makes a tensor of one value",
    """
    aten.eye.default aten.eye.m aten.fill.Scalar aten.fill.Tensor aten.full.default
    aten.full_like.default aten.new_full.default aten.new_ones.default
    aten.new_zeros.default aten.ones.default aten.ones_like.default
    aten.scalar_tensor.default aten.zero.default aten.zeros.default aten.zeros_like.default
    """,
)
allow(
    "makes an arithmetic or geometric sequence",
    """
    aten.arange.default aten.arange.start aten.arange.start_step aten.linspace.default
    aten.logspace.default aten.tril_indices.default aten.triu_indices.default
    aten.vander.default
    """,
)
allow(
    "makes a window of a signal",
    """
    aten.bartlett_window.default aten.bartlett_window.periodic aten.blackman_window.default
    aten.blackman_window.periodic aten.hamming_window.default aten.hamming_window.periodic
    aten.hamming_window.periodic_alpha aten.hamming_window.periodic_alpha_beta
    aten.hann_window.default aten.hann_window.periodic aten.kaiser_window.beta
    aten.kaiser_window.default aten.kaiser_window.periodic
    """,
)
allow(
    "classes beyond the given number are refused",
    """
    aten.one_hot.default
    """,
)
