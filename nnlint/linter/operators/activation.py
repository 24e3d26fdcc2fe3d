"""Elementwise non-linearities, and softmax with its relatives."""

from __future__ import annotations

from nnlint.linter.operators import shapes, shapes_pooling
from nnlint.linter.operators.base import Family, Operator, operator


def _activation(
    name: str,
    *,
    params: str = "input",
    modules: str = "",
    functions: str = "",
    methods: str = "",
    aten: str = "",
) -> Operator:
    return operator(
        name,
        Family.ACTIVATION,
        params=params,
        shape=shapes.same,
        modules=modules,
        functions=functions,
        methods=methods,
        aten=aten,
    )


RELU = _activation(
    "relu",
    modules="ReLU",
    functions="F.relu F.relu_ torch.relu torch.relu_",
    methods="relu",
    aten="relu",
)
RELU6 = _activation("relu6", modules="ReLU6", functions="F.relu6", aten="relu6")
LEAKY_RELU = _activation(
    "leaky_relu",
    params="input negative_slope",
    modules="LeakyReLU",
    functions="F.leaky_relu F.leaky_relu_",
    aten="leaky_relu",
)
PRELU = _activation(
    "prelu",
    params="input weight",
    modules="PReLU",
    functions="F.prelu torch.prelu",
    methods="prelu",
    aten="prelu",
)
RRELU = _activation(
    "rrelu",
    params="input lower upper training",
    modules="RReLU",
    functions="F.rrelu torch.rrelu",
    aten="rrelu",
)
ELU = _activation("elu", params="input alpha", modules="ELU", functions="F.elu F.elu_", aten="elu")
SELU = _activation("selu", modules="SELU", functions="F.selu torch.selu torch.selu_", aten="selu")
CELU = _activation(
    "celu", params="input alpha", modules="CELU", functions="F.celu torch.celu", aten="celu"
)
GELU = _activation("gelu", modules="GELU", functions="F.gelu", aten="gelu")
SILU = _activation("silu", modules="SiLU", functions="F.silu", aten="silu")
MISH = _activation("mish", modules="Mish", functions="F.mish", aten="mish")
SOFTPLUS = _activation(
    "softplus",
    params="input beta threshold",
    modules="Softplus",
    functions="F.softplus",
    aten="softplus",
)
SOFTSIGN = _activation("softsign", modules="Softsign", functions="F.softsign")
TANH = _activation(
    "tanh", modules="Tanh", functions="F.tanh torch.tanh", methods="tanh", aten="tanh"
)
SIGMOID = _activation(
    "sigmoid",
    modules="Sigmoid",
    functions="F.sigmoid torch.sigmoid torch.special.expit",
    methods="sigmoid",
    aten="sigmoid",
)
LOGSIGMOID = _activation(
    "logsigmoid", modules="LogSigmoid", functions="F.logsigmoid", aten="log_sigmoid"
)
HARDTANH = _activation(
    "hardtanh",
    params="input min_val max_val",
    modules="Hardtanh",
    functions="F.hardtanh F.hardtanh_",
    aten="hardtanh",
)
HARDSWISH = _activation("hardswish", modules="Hardswish", functions="F.hardswish", aten="hardswish")
HARDSIGMOID = _activation(
    "hardsigmoid", modules="Hardsigmoid", functions="F.hardsigmoid", aten="hardsigmoid"
)
TANHSHRINK = _activation("tanhshrink", modules="Tanhshrink", functions="F.tanhshrink")
SOFTSHRINK = _activation(
    "softshrink", modules="Softshrink", functions="F.softshrink", aten="softshrink"
)
HARDSHRINK = _activation(
    "hardshrink",
    modules="Hardshrink",
    functions="F.hardshrink torch.hardshrink",
    methods="hardshrink",
    aten="hardshrink",
)
THRESHOLD = _activation(
    "threshold",
    params="input threshold value",
    modules="Threshold",
    functions="F.threshold torch.threshold",
    aten="threshold",
)
GLU = operator(
    "glu",
    Family.ACTIVATION,
    params="input dim",
    shape=shapes_pooling.glu,
    modules="GLU",
    functions="F.glu",
    aten="glu",
)

# Zero for negative inputs, unbounded for positive ones (ReLU6 is bounded at 6).
RELU_LIKE = frozenset({RELU, RELU6, THRESHOLD})

_SOFTMAX = "input dim"
SOFTMAX = operator(
    "softmax",
    Family.PROBABILITY,
    params=_SOFTMAX,
    shape=shapes.same,
    modules="Softmax Softmax2d",
    functions="F.softmax torch.softmax torch.special.softmax",
    methods="softmax",
    aten="softmax _softmax",
    signatures={"F.softmax": "input dim _stacklevel dtype"},
)
LOG_SOFTMAX = operator(
    "log_softmax",
    Family.PROBABILITY,
    params=_SOFTMAX,
    shape=shapes.same,
    modules="LogSoftmax",
    functions="F.log_softmax torch.log_softmax torch.special.log_softmax",
    methods="log_softmax",
    aten="log_softmax _log_softmax",
    signatures={"F.log_softmax": "input dim _stacklevel dtype"},
)
SOFTMIN = operator(
    "softmin",
    Family.PROBABILITY,
    params=_SOFTMAX,
    shape=shapes.same,
    modules="Softmin",
    functions="F.softmin",
)
GUMBEL_SOFTMAX = operator(
    "gumbel_softmax",
    Family.PROBABILITY,
    params="input tau hard eps dim",
    shape=shapes.same,
    functions="F.gumbel_softmax",
)
