"""Writes into tensors that exist: buffers of the model, and its own intermediate values."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "overwrites elements by those of another tensor, whose sizes must broadcast",
    """
    aten.copy.default aten.copy_.default
    """,
)
allow(
    "overwrites elements by one value",
    """
    aten.fill_.Scalar aten.fill_.Tensor aten.fill_diagonal_.default aten.zero_.default
    """,
)
allow(
    "changes elements in the place of each",
    """
    aten.absolute_.default aten.negative_.default aten.renorm_.default aten.sgn_.default
    """,
)
