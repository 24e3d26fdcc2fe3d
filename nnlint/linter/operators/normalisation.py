"""Normalisation layers."""

from __future__ import annotations

from nnlint.linter.operators import shapes
from nnlint.linter.operators.base import Family, operator

BATCH_NORM = operator(
    "batch_norm",
    Family.NORM,
    params="input running_mean running_var weight bias training momentum eps",
    shape=shapes.batch_norm,
    modules="BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d"
    " modules.batchnorm._BatchNorm",
    functions="F.batch_norm torch.batch_norm",
    aten="batch_norm",
    learned=True,
    signatures={
        "torch.batch_norm": "input weight bias running_mean running_var training momentum eps"
    },
)
INSTANCE_NORM = operator(
    "instance_norm",
    Family.NORM,
    params="input running_mean running_var weight bias",
    shape=shapes.same_float,
    modules="InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    functions="F.instance_norm",
    aten="instance_norm",
    learned=True,
)
LAYER_NORM = operator(
    "layer_norm",
    Family.NORM,
    params="input normalized_shape weight bias eps",
    shape=shapes.layer_norm,
    modules="LayerNorm",
    functions="F.layer_norm torch.layer_norm",
    aten="layer_norm",
    learned=True,
)
GROUP_NORM = operator(
    "group_norm",
    Family.NORM,
    params="input num_groups weight bias eps",
    shape=shapes.same_float,
    modules="GroupNorm",
    functions="F.group_norm torch.group_norm",
    aten="group_norm",
    learned=True,
)
RMS_NORM = operator(
    "rms_norm",
    Family.NORM,
    params="input normalized_shape weight eps",
    shape=shapes.same_float,
    modules="RMSNorm",
    functions="F.rms_norm torch.rms_norm",
    aten="rms_norm",
    learned=True,
)
LOCAL_RESPONSE_NORM = operator(
    "local_response_norm",
    Family.NORM,
    params="input size",
    shape=shapes.same_float,
    modules="LocalResponseNorm",
    functions="F.local_response_norm",
)
NORMALIZE = operator(
    "normalize",
    Family.NORM,
    params="input p dim eps",
    shape=shapes.same_float,
    functions="F.normalize",
)
