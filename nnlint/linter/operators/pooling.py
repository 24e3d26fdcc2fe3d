"""Pooling, resizing, padding."""

from __future__ import annotations

from nnlint.linter.operators import shapes, shapes_pooling
from nnlint.linter.operators.base import Family, Operator, operator

_MAX = "input kernel_size stride padding dilation ceil_mode return_indices"
_AVG = "input kernel_size stride padding ceil_mode count_include_pad"


def _max_pool(rank: int) -> Operator:
    name = f"max_pool{rank}d"
    return operator(
        name,
        Family.POOL,
        params=_MAX,
        shape=shapes_pooling.pool(rank),
        modules=f"MaxPool{rank}d",
        functions=f"F.{name} F._{name} torch.{name}",
        aten=f"{name} {name}_with_indices",
    )


def _avg_pool(rank: int) -> Operator:
    name = f"avg_pool{rank}d"
    return operator(
        name,
        Family.POOL,
        params=_AVG,
        shape=shapes_pooling.pool(rank),
        modules=f"AvgPool{rank}d",
        functions=f"F.{name} torch.{name}",
        aten=name,
    )


def _adaptive(kind: str, rank: int) -> Operator:
    name = f"adaptive_{kind}_pool{rank}d"
    return operator(
        name,
        Family.POOL,
        params="input output_size return_indices",
        shape=shapes_pooling.adaptive_pool(rank),
        modules=f"Adaptive{kind.title()}Pool{rank}d",
        functions=f"F.{name} F._{name} torch.{name}",
        aten=name,
    )


MAX_POOL1D, MAX_POOL2D, MAX_POOL3D = (_max_pool(rank) for rank in (1, 2, 3))
AVG_POOL1D, AVG_POOL2D, AVG_POOL3D = (_avg_pool(rank) for rank in (1, 2, 3))
ADAPTIVE_AVG_POOL1D, ADAPTIVE_AVG_POOL2D, ADAPTIVE_AVG_POOL3D = (
    _adaptive("avg", rank) for rank in (1, 2, 3)
)
ADAPTIVE_MAX_POOL1D, ADAPTIVE_MAX_POOL2D, ADAPTIVE_MAX_POOL3D = (
    _adaptive("max", rank) for rank in (1, 2, 3)
)
LP_POOL = operator(
    "lp_pool",
    Family.POOL,
    params="input norm_type kernel_size stride ceil_mode",
    shape=shapes.unknown,
    modules="LPPool1d LPPool2d",
    functions="F.lp_pool1d F.lp_pool2d",
)
MAX_UNPOOL = operator(
    "max_unpool",
    Family.POOL,
    params="input indices",
    shape=shapes.unknown,
    modules="MaxUnpool1d MaxUnpool2d MaxUnpool3d",
    functions="F.max_unpool1d F.max_unpool2d F.max_unpool3d",
)
INTERPOLATE = operator(
    "interpolate",
    Family.POOL,
    params="input size scale_factor mode align_corners",
    shape=shapes_pooling.interpolate,
    modules="Upsample UpsamplingNearest2d UpsamplingBilinear2d",
    functions="F.interpolate F.upsample",
)
GRID_SAMPLE = operator(
    "grid_sample",
    Family.POOL,
    params="input grid",
    shape=shapes.unknown,
    functions="F.grid_sample torch.grid_sampler",
)
PIXEL_SHUFFLE = operator(
    "pixel_shuffle",
    Family.SHAPE,
    params="input upscale_factor",
    shape=shapes_pooling.pixel_shuffle,
    modules="PixelShuffle",
    functions="F.pixel_shuffle torch.pixel_shuffle",
    aten="pixel_shuffle",
)
CHANNEL_SHUFFLE = operator(
    "channel_shuffle",
    Family.SHAPE,
    params="input groups",
    shape=shapes.same,
    modules="ChannelShuffle",
    functions="F.channel_shuffle torch.channel_shuffle",
    aten="channel_shuffle",
)
UNFOLD = operator(
    "unfold",
    Family.SHAPE,
    params="input kernel_size dilation padding stride",
    shape=shapes.unknown,
    modules="Unfold Fold",
    functions="F.unfold F.fold",
    aten="im2col col2im",
)
PAD = operator(
    "pad",
    Family.SHAPE,
    params="input pad mode value",
    shape=shapes_pooling.pad,
    modules="ZeroPad1d ZeroPad2d ZeroPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d "
    "ReplicationPad1d ReplicationPad2d ReplicationPad3d ConstantPad1d ConstantPad2d ConstantPad3d CircularPad1d CircularPad2d CircularPad3d",
    functions="F.pad torch.constant_pad_nd",
    aten="pad constant_pad_nd",
)
