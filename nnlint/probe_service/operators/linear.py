"""Products of matrices, and convolutions."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "a product whose operands' sizes torch compares first",
    """
    aten.addbmm.default aten.addmm.default aten.addmv.default aten.addr.default
    aten.baddbmm.default aten.bilinear.default aten.bmm.default aten.chain_matmul.default
    aten.dot.default aten.ger.default aten.inner.default aten.kron.default
    aten.linalg_matmul.default aten.linalg_multi_dot.default aten.linalg_vecdot.default
    aten.linear.default aten.matmul.default aten.mm.default aten.mv.default
    aten.outer.default aten.tensordot.default aten.vdot.default
    """,
)
allow(
    "einsum: products over named dimensions; the equation is letters alone and torch parses it as such",
    """
    aten.einsum.default
    """,
    pattern=r"[A-Za-z., >-]{1,200}",
)
allow(
    "a convolution; torch refuses sizes, strides and groups that do not fit",
    """
    aten.conv1d.default aten.conv2d.default aten.conv3d.default aten.conv_tbc.default
    aten.conv_transpose1d.default aten.conv_transpose2d.input aten.conv_transpose3d.input
    aten.convolution.default
    """,
)
allow(
    "a convolution padded by one of two words",
    """
    aten.conv1d.padding aten.conv2d.padding aten.conv3d.padding
    """,
    words=("same", "valid"),
)
