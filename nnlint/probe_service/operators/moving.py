"""Views and copies that move elements and compute nothing."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "a view whose sizes torch compares with the number of elements",
    """
    aten._unsafe_view.default aten.alias.default aten.atleast_1d.Sequence
    aten.atleast_1d.default aten.atleast_2d.Sequence aten.atleast_2d.default
    aten.atleast_3d.Sequence aten.atleast_3d.default aten.broadcast_tensors.default
    aten.broadcast_to.default aten.expand.default aten.expand_as.default
    aten.flatten.using_ints aten.ravel.default aten.reshape.default aten.reshape_as.default
    aten.squeeze.default aten.squeeze.dim aten.squeeze.dims aten.squeeze_.default
    aten.squeeze_.dim aten.squeeze_.dims aten.unflatten.int aten.unsqueeze.default
    aten.unsqueeze_.default aten.view.default aten.view_as.default
    """,
)
allow(
    "a view with dimensions in another order",
    """
    aten.adjoint.default aten.mH.default aten.matrix_H.default aten.mT.default aten.moveaxis.int
    aten.moveaxis.intlist aten.movedim.int aten.movedim.intlist aten.numpy_T.default
    aten.permute.default aten.swapaxes.default aten.swapdims.default aten.t.default
    aten.t_.default aten.transpose.int aten.transpose_.default
    """,
)
allow(
    "a view of a part; torch keeps positions within the dimension",
    """
    aten.chunk.default aten.diag.default aten.diagonal.default aten.dsplit.array
    aten.dsplit.int aten.hsplit.array aten.hsplit.int aten.linalg_diagonal.default
    aten.narrow.default aten.select.int aten.slice.Tensor aten.split.Tensor aten.split.sizes
    aten.split_with_sizes.default aten.tensor_split.indices aten.tensor_split.sections
    aten.unbind.int aten.unfold.default aten.unsafe_chunk.default aten.unsafe_split.Tensor
    aten.unsafe_split_with_sizes.default aten.vsplit.array aten.vsplit.int
    """,
)
allow(
    "a copy of whole tensors side by side",
    """
    aten.block_diag.default aten.cartesian_prod.default aten.cat.default
    aten.column_stack.default aten.concat.default aten.concatenate.default
    aten.dstack.default aten.hstack.default aten.meshgrid.default aten.row_stack.default
    aten.stack.default aten.vstack.default
    """,
)
allow(
    "a copy of whole tensors along axes in one of two orders",
    """
    aten.meshgrid.indexing
    """,
    words=("ij", "xy"),
)
allow(
    "sequences side by side, padded on one of two sides",
    """
    aten.pad_sequence.default
    """,
    words=("left", "right"),
)
allow(
    "a copy in another order of elements",
    """
    aten.channel_shuffle.default aten.col2im.default aten.flip.default aten.fliplr.default
    aten.flipud.default aten.im2col.default aten.native_channel_shuffle.default
    aten.pixel_shuffle.default aten.pixel_unshuffle.default aten.repeat.default
    aten.repeat_interleave.self_int aten.roll.default aten.rot90.default aten.tile.default
    """,
)
allow(
    "a copy with the same elements",
    """
    aten.clone.default aten.contiguous.default aten.detach.default aten.detach_.default
    aten.expand_copy.default aten.lift_fresh.default aten.lift_fresh_copy.default
    aten.permute_copy.default aten.resolve_conj.default aten.resolve_neg.default
    aten.view_copy.default
    """,
)
allow(
    "a copy with another element type, on the probe's own device",
    """
    aten._to_copy.default aten.to.device aten.to.dtype aten.to.dtype_layout aten.to.other
    aten.type_as.default
    """,
)
allow(
    "borders made of zeros, a value, or the input's own elements; torch refuses widths beyond them",
    """
    aten._pad_circular.default aten.constant_pad_nd.default aten.reflection_pad1d.default
    aten.reflection_pad2d.default aten.reflection_pad3d.default
    aten.replication_pad1d.default aten.replication_pad2d.default
    aten.replication_pad3d.default
    """,
)
allow(
    "borders made as one of four words says",
    """
    aten.pad.default
    """,
    words=("constant", "reflect", "replicate", "circular"),
)
allow(
    "a part of a copy is replaced; torch compares the sizes",
    """
    aten.diag_embed.default aten.diagflat.default aten.diagonal_copy.default
    aten.diagonal_scatter.default aten.select_copy.int aten.select_scatter.default
    aten.slice_copy.Tensor aten.slice_scatter.default aten.split_copy.Tensor
    aten.squeeze_copy.default aten.squeeze_copy.dim aten.t_copy.default
    aten.transpose_copy.int aten.tril.default aten.tril_.default aten.triu.default
    aten.triu_.default aten.unbind_copy.int aten.unsqueeze_copy.default
    """,
)
allow(
    "a view of complex numbers as pairs, or of pairs as complex numbers",
    """
    aten.imag.default aten.real.default aten.view_as_complex.default
    aten.view_as_real.default
    """,
)
