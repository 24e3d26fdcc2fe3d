"""Elementwise arithmetic, comparisons, reductions, tensor factories, and Python on sizes."""

from __future__ import annotations

from nnlint.linter.operators import shapes, shapes_moving
from nnlint.linter.operators.base import Family, Operator, operator

_BINARY = "input other"


def _unary(name: str, *, extra: str = "", params: str = "input") -> Operator:
    return operator(
        name,
        Family.ELEMENTWISE,
        params=params,
        shape=shapes.same_float,
        functions=f"torch.{name} {extra}",
        methods=name,
        aten=name,
    )


ADD = operator(
    "add",
    Family.ELEMENTWISE,
    params="input other alpha",
    shape=shapes.broadcast,
    functions="torch.add operator.add operator.iadd",
    methods="add __add__ __radd__",
    aten="add",
)
SUB = operator(
    "sub",
    Family.ELEMENTWISE,
    params="input other alpha",
    shape=shapes.broadcast,
    functions="torch.sub torch.subtract operator.sub operator.isub",
    methods="sub subtract",
    aten="sub",
)
# other - input
RSUB = operator(
    "rsub",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.rsub",
    methods="__rsub__",
    aten="rsub",
)
MUL = operator(
    "mul",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.mul torch.multiply operator.mul operator.imul",
    methods="mul multiply",
    aten="mul",
)
DIV = operator(
    "div",
    Family.ELEMENTWISE,
    params="input other rounding_mode",
    shape=shapes.divide,
    functions="torch.div torch.divide torch.true_divide operator.truediv operator.itruediv",
    methods="div divide true_divide",
    aten="div true_divide",
)
FLOOR_DIVIDE = operator(
    "floor_divide",
    Family.STOP,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.floor_divide operator.floordiv operator.ifloordiv",
    methods="floor_divide __floordiv__",
    aten="floor_divide",
)
REMAINDER = operator(
    "remainder",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.remainder torch.fmod operator.mod",
    methods="remainder fmod",
    aten="remainder fmod",
)
POW = operator(
    "pow",
    Family.ELEMENTWISE,
    params="input exponent",
    shape=shapes.broadcast,
    functions="torch.pow operator.pow torch.float_power",
    methods="pow float_power",
    aten="pow",
)
ADDCMUL = operator(
    "addcmul",
    Family.ELEMENTWISE,
    params="input tensor1 tensor2",
    shape=shapes.broadcast,
    functions="torch.addcmul",
    methods="addcmul",
    aten="addcmul",
)
ADDCDIV = operator(
    "addcdiv",
    Family.ELEMENTWISE,
    params="input tensor1 tensor2",
    shape=shapes.broadcast,
    functions="torch.addcdiv",
    methods="addcdiv",
    aten="addcdiv",
)
LERP = operator(
    "lerp",
    Family.ELEMENTWISE,
    params="input end weight",
    shape=shapes.broadcast,
    functions="torch.lerp",
    methods="lerp",
    aten="lerp",
)

EXP = _unary("exp", extra="torch.exp_")
EXPM1 = _unary("expm1", extra="torch.special.expm1")
EXP2 = _unary("exp2")
LOG = _unary("log")
LOG2 = _unary("log2")
LOG10 = _unary("log10")
LOG1P = _unary("log1p", extra="torch.special.log1p")
SQRT = _unary("sqrt")
RSQRT = _unary("rsqrt")
SQUARE = _unary("square")
RECIPROCAL = _unary("reciprocal")
NEG = operator(
    "neg",
    Family.ELEMENTWISE,
    shape=shapes.same,
    functions="torch.neg torch.negative operator.neg",
    methods="neg negative",
    aten="neg",
)
ABS = operator(
    "abs",
    Family.ELEMENTWISE,
    shape=shapes.same,
    functions="torch.abs torch.absolute builtins.abs operator.abs",
    methods="abs absolute",
    aten="abs",
)
SIN = operator(
    "sin",
    Family.ELEMENTWISE,
    shape=shapes.same_float,
    functions="torch.sin torch.cos",
    methods="sin cos",
    aten="sin cos",
)
TRIGONOMETRY = operator(
    "trigonometry",
    Family.ELEMENTWISE,
    shape=shapes.same_float,
    functions="torch.tan torch.asin torch.acos torch.atan torch.sinh torch.cosh torch.asinh torch.acosh torch.atanh",
    methods="tan asin acos atan sinh cosh asinh acosh atanh",
    aten="tan asin acos atan sinh cosh asinh acosh atanh",
)
ATAN2 = operator(
    "atan2",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.atan2",
    methods="atan2",
    aten="atan2",
)
ERF = operator(
    "erf",
    Family.ELEMENTWISE,
    shape=shapes.same_float,
    functions="torch.erf torch.special.erf",
    methods="erf",
    aten="erf",
)
CLAMP = operator(
    "clamp",
    Family.ELEMENTWISE,
    params="input min max",
    shape=shapes.same,
    functions="torch.clamp torch.clip",
    methods="clamp clip",
    aten="clamp clip",
)
CLAMP_MIN = operator(
    "clamp_min",
    Family.ELEMENTWISE,
    params="input min",
    shape=shapes.same,
    functions="torch.clamp_min",
    methods="clamp_min",
    aten="clamp_min",
)
CLAMP_MAX = operator(
    "clamp_max",
    Family.ELEMENTWISE,
    params="input max",
    shape=shapes.same,
    functions="torch.clamp_max",
    methods="clamp_max",
    aten="clamp_max",
)
NAN_TO_NUM = operator(
    "nan_to_num",
    Family.ELEMENTWISE,
    shape=shapes.same,
    functions="torch.nan_to_num",
    methods="nan_to_num",
    aten="nan_to_num",
)
MAXIMUM = operator(
    "maximum",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.maximum torch.fmax",
    methods="maximum fmax",
    aten="maximum",
)
MINIMUM = operator(
    "minimum",
    Family.ELEMENTWISE,
    params=_BINARY,
    shape=shapes.broadcast,
    functions="torch.minimum torch.fmin",
    methods="minimum fmin",
    aten="minimum",
)
WHERE = operator(
    "where",
    Family.ELEMENTWISE,
    params="condition input other",
    shape=shapes.broadcast,
    functions="torch.where",
    aten="where",
    signatures={".where": "input condition other"},
    methods="where",
)
MASKED_FILL = operator(
    "masked_fill",
    Family.ELEMENTWISE,
    params="input mask value",
    shape=shapes.same,
    functions="torch.masked_fill",
    methods="masked_fill",
    aten="masked_fill",
)
FILL = operator(
    "fill",
    Family.CREATION,
    params="input value",
    shape=shapes.same,
    methods="fill zero normal uniform",
    aten="fill zero normal uniform",
)

COMPARE = operator(
    "compare",
    Family.COMPARE,
    params=_BINARY,
    shape=shapes.same_bool,
    functions="torch.eq torch.ne torch.lt torch.le torch.gt torch.ge operator.eq operator.ne operator.lt operator.le operator.gt operator.ge",
    methods="eq ne lt le gt ge",
    aten="eq ne lt le gt ge",
)
LOGICAL = operator(
    "logical",
    Family.COMPARE,
    params=_BINARY,
    shape=shapes.same_bool,
    functions="torch.logical_not torch.logical_and torch.logical_or torch.isnan torch.isinf torch.isfinite operator.and_ operator.or_ operator.invert operator.xor",
    methods="logical_not logical_and logical_or isnan isinf isfinite",
    aten="logical_not logical_and logical_or isnan isinf bitwise_not bitwise_and bitwise_or",
)

_DIM = "input dim keepdim"
SUM = operator(
    "sum",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce(),
    functions="torch.sum torch.nansum",
    methods="sum nansum",
    aten="sum",
)
MEAN = operator(
    "mean",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce("float"),
    functions="torch.mean torch.nanmean",
    methods="mean nanmean",
    aten="mean",
)
PROD = operator(
    "prod",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce(),
    functions="torch.prod",
    methods="prod",
    aten="prod",
)
NORM = operator(
    "norm",
    Family.REDUCTION,
    params="input p dim keepdim",
    shape=shapes_moving.reduce("float"),
    functions="torch.norm torch.linalg.norm torch.linalg.vector_norm",
    methods="norm",
    aten="norm linalg_vector_norm linalg_norm",
)
STD = operator(
    "std",
    Family.REDUCTION,
    params="input dim unbiased keepdim",
    shape=shapes_moving.reduce("float"),
    functions="torch.std",
    methods="std",
    aten="std",
)
VAR = operator(
    "var",
    Family.REDUCTION,
    params="input dim unbiased keepdim",
    shape=shapes_moving.reduce("float"),
    functions="torch.var",
    methods="var",
    aten="var",
)
LOGSUMEXP = operator(
    "logsumexp",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce("float"),
    functions="torch.logsumexp torch.special.logsumexp",
    methods="logsumexp",
    aten="logsumexp",
)
MAX = operator(
    "max",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.extremum,
    functions="torch.max",
    methods="max",
    aten="max",
)
MIN = operator(
    "min",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.extremum,
    functions="torch.min",
    methods="min",
    aten="min",
)
AMAX = operator(
    "amax",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce(),
    functions="torch.amax",
    methods="amax",
    aten="amax",
)
AMIN = operator(
    "amin",
    Family.REDUCTION,
    params=_DIM,
    shape=shapes_moving.reduce(),
    functions="torch.amin",
    methods="amin",
    aten="amin",
)
CUMSUM = operator(
    "cumsum",
    Family.ELEMENTWISE,
    params="input dim",
    shape=shapes.same,
    functions="torch.cumsum torch.cumprod",
    methods="cumsum cumprod",
    aten="cumsum cumprod",
)
COSINE_SIMILARITY = operator(
    "cosine_similarity",
    Family.REDUCTION,
    params="input other dim eps",
    shape=shapes.unknown,
    modules="CosineSimilarity",
    functions="F.cosine_similarity torch.cosine_similarity",
)
PAIRWISE_DISTANCE = operator(
    "pairwise_distance",
    Family.REDUCTION,
    params="input other p eps",
    shape=shapes.unknown,
    modules="PairwiseDistance",
    functions="F.pairwise_distance torch.pairwise_distance torch.cdist",
)

CREATE = operator(
    "zeros",
    Family.CREATION,
    params="*size",
    shape=shapes_moving.created(),
    functions="torch.zeros torch.ones torch.empty torch.rand torch.randn",
    aten="zeros ones empty rand randn",
)
CREATE_FULL = operator(
    "full",
    Family.CREATION,
    params="size fill_value",
    shape=shapes_moving.created(),
    functions="torch.full",
    aten="full",
)
CREATE_LIKE = operator(
    "zeros_like",
    Family.CREATION,
    shape=shapes.same,
    functions="torch.zeros_like torch.ones_like torch.empty_like torch.rand_like torch.randn_like torch.full_like",
    aten="zeros_like ones_like empty_like rand_like randn_like full_like",
)
CREATE_NEW = operator(
    "new_zeros",
    Family.CREATION,
    params="input *size",
    shape=shapes_moving.created(),
    methods="new_zeros new_ones new_empty new new_tensor",
    aten="new_zeros new_ones new_empty",
)
CREATE_NEW_FULL = operator(
    "new_full",
    Family.CREATION,
    params="input size fill_value",
    shape=shapes_moving.created(),
    methods="new_full",
    aten="new_full",
)
ARANGE = operator(
    "arange",
    Family.CREATION,
    params="start end step",
    shape=shapes_moving.arange,
    functions="torch.arange",
    aten="arange",
)
LINSPACE = operator(
    "linspace",
    Family.CREATION,
    params="start end steps",
    shape=shapes.unknown,
    functions="torch.linspace torch.tensor torch.as_tensor torch.eye torch.normal torch.meshgrid",
    aten="linspace scalar_tensor eye",
)

SIZE = operator(
    "size",
    Family.PYTHON,
    params="input dim",
    shape=shapes_moving.size,
    methods="size .shape",
    aten="sym_size",
)
RANK = operator("dim", Family.PYTHON, shape=shapes_moving.rank, methods="dim .ndim ndimension")
NUMEL = operator(
    "numel",
    Family.PYTHON,
    shape=shapes_moving.numel,
    functions="torch.numel",
    methods="numel nelement",
    aten="sym_numel",
)
LENGTH = operator(
    "len", Family.PYTHON, shape=shapes_moving.length, functions="builtins.len", methods="__len__"
)
ATTRIBUTE = operator(
    "attribute",
    Family.PYTHON,
    params="input",
    methods=".device .dtype .is_cuda .requires_grad .layout .grad_fn .is_sparse",
)
ASSERT = operator(
    "assert",
    Family.PYTHON,
    params="condition message",
    functions="torch._assert torch._check",
    aten="_assert_tensor_metadata _assert_async _assert_scalar",
)
