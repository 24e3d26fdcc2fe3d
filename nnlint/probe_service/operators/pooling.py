"""Pooling, and changes of resolution."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "windows inside the padded input; torch refuses windows, strides and paddings that do not fit",
    """
    aten.adaptive_avg_pool1d.default aten.adaptive_avg_pool2d.default
    aten.adaptive_avg_pool3d.default aten.adaptive_max_pool1d.default
    aten.adaptive_max_pool2d.default aten.adaptive_max_pool3d.default
    aten.avg_pool1d.default aten.avg_pool2d.default aten.avg_pool3d.default
    aten.max_pool1d.default aten.max_pool1d_with_indices.default aten.max_pool2d.default
    aten.max_pool2d_with_indices.default aten.max_pool3d.default
    aten.max_pool3d_with_indices.default
    """,
)
allow(
    "positions are compared with the output's size",
    """
    aten.max_unpool2d.default aten.max_unpool3d.default
    """,
)
allow(
    "reads between existing neighbours; the .vec forms take a size or a scale, never both",
    """
    aten._upsample_bicubic2d_aa.vec aten._upsample_bilinear2d_aa.vec
    aten._upsample_nearest_exact1d.vec aten._upsample_nearest_exact2d.vec
    aten._upsample_nearest_exact3d.vec aten.upsample_bicubic2d.vec
    aten.upsample_bilinear2d.vec aten.upsample_linear1d.vec aten.upsample_nearest1d.vec
    aten.upsample_nearest2d.vec aten.upsample_nearest3d.vec aten.upsample_trilinear3d.vec
    """,
)
allow(
    "positions outside the image, and those that are not finite, are clipped or read as zero",
    """
    aten.affine_grid_generator.default aten.grid_sampler.default
    aten.grid_sampler_2d.default aten.grid_sampler_3d.default
    """,
)
