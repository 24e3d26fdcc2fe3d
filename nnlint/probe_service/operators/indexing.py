"""Reading and writing by positions, each of which torch compares with the size."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "rows of a table; a position beyond it is refused",
    """
    aten.embedding.default aten.embedding_bag.default aten.embedding_bag.padding_idx
    """,
)
allow(
    "reads; a position beyond the dimension is refused",
    """
    aten.bucketize.Tensor aten.gather.default aten.index.Tensor aten.index_select.default
    aten.take.default aten.take_along_dim.default
    """,
)
allow(
    "searches sorted values, from one of two sides",
    """
    aten.searchsorted.Tensor
    """,
    words=("left", "right"),
)
allow(
    "writes; a position beyond the dimension is refused",
    """
    aten.embedding_renorm_.default aten.index_add.default aten.index_add_.default aten.index_copy.default
    aten.index_copy_.default aten.index_fill.int_Scalar aten.index_fill.int_Tensor
    aten.index_fill_.int_Scalar aten.index_fill_.int_Tensor aten.index_put.default
    aten.index_put_.default aten.masked_scatter.default aten.masked_scatter_.default
    aten.put.default aten.put_.default aten.scatter.src aten.scatter.value aten.scatter_.src
    aten.scatter_.value aten.scatter_add.default aten.scatter_add_.default
    """,
)
allow(
    "writes and reduces as one of a few words says; a position beyond the dimension is refused",
    """
    aten.index_reduce.default aten.index_reduce_.default aten.scatter.reduce
    aten.scatter.value_reduce aten.scatter_.reduce aten.scatter_.value_reduce
    aten.scatter_reduce.two aten.scatter_reduce_.two
    """,
    words=("add", "multiply", "sum", "prod", "mean", "amax", "amin"),
)
