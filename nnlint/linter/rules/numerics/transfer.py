"""What each operator makes of the intervals of its operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nnlint.linter.graph import Node, sources
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import arithmetic as ar
from nnlint.linter.operators import linear, loss, moving, normalisation, pooling
from nnlint.linter.operators.base import Family, Operator
from nnlint.linter.rules.numerics import intervals as iv
from nnlint.linter.rules.numerics.intervals import INF, NONE, POSITIVE, UNKNOWN, Interval, Zero

Lookup = Callable[[Any], Interval]
Transfer = Callable[[Node, Lookup], Interval]

_SAME = frozenset({Family.SHAPE, Family.PASS})
_KEPT = frozenset(
    {
        moving.VIEW, moving.VIEW_AS, moving.FLATTEN, moving.RAVEL, moving.UNFLATTEN,
        moving.PERMUTE, moving.TRANSPOSE, moving.REVERSE_DIMS, moving.SWAP_LAST, moving.MOVEDIM,
        moving.SQUEEZE, moving.UNSQUEEZE, moving.EXPAND, moving.EXPAND_AS, moving.REPEAT,
        moving.REPEAT_INTERLEAVE, moving.SPLIT, moving.CHUNK, moving.UNBIND, moving.SELECT,
        moving.SLICE, moving.NARROW, moving.FLIP, moving.INDEX_SELECT, moving.GATHER,
        moving.IDENTITY, moving.CAST, moving.FLOAT, moving.DEVICE_MOVE, moving.DETACH,
        pooling.PIXEL_SHUFFLE, pooling.CHANNEL_SHUFFLE, act.PRELU, act.LEAKY_RELU,
    }
)  # fmt: skip
_PAIRS = frozenset({ar.MAX, ar.MIN, moving.SORT, moving.TOPK})
_POOLS = frozenset(
    {
        pooling.MAX_POOL1D, pooling.MAX_POOL2D, pooling.MAX_POOL3D,
        pooling.AVG_POOL1D, pooling.AVG_POOL2D, pooling.AVG_POOL3D,
        pooling.ADAPTIVE_AVG_POOL1D, pooling.ADAPTIVE_AVG_POOL2D, pooling.ADAPTIVE_AVG_POOL3D,
        pooling.ADAPTIVE_MAX_POOL1D, pooling.ADAPTIVE_MAX_POOL2D, pooling.ADAPTIVE_MAX_POOL3D,
    }
)  # fmt: skip


def transfer(node: Node, of: Lookup) -> Interval:
    """Return the interval of an operation's result, UNKNOWN where nothing is certain."""
    if node.op is None:
        return UNKNOWN
    if node.family(Family.DROPOUT):
        return _dropout(of(node.input))
    if node.op in _KEPT:
        value = of(node.input)
        leaky = node.op in (act.PRELU, act.LEAKY_RELU)
        return UNKNOWN if leaky and not value.nonnegative else value
    if node.op in _POOLS:
        value = iv.average(of(node.input))
        return iv.hull((value, iv.number(0))) if value.lo > 0 or value.hi < 0 else value
    found = _TABLE.get(node.op)
    return UNKNOWN if found is None else found(node, of)


def same_value(first: Any, second: Any) -> bool:
    """Tell whether two arguments are the same node, seen through casts and clones."""
    if not (isinstance(first, Node) and isinstance(second, Node)):
        return False
    return first is second or _bare(first) is _bare(second)


def _bare(node: Node) -> Node:
    while node.family(Family.PASS) and node.input is not None:
        node = node.input
    return node


def _dropout(value: Interval) -> Interval:
    return Interval(
        min(0.0, value.lo * INF if value.lo < 0 else 0.0), INF if value.hi > 0 else 0.0, value.zero
    )


def _getitem(node: Node, of: Lookup) -> Interval:
    source, index = node.input, node.arg("index")
    if source is None or isinstance(index, Node):
        return UNKNOWN
    if source.op in _PAIRS and index != 0:
        return UNKNOWN  # the positions
    return of(source)


def _join(node: Node, of: Lookup) -> Interval:
    return iv.hull(of(part) for part in node.inputs if part.value is None)


def _add(node: Node, of: Lookup) -> Interval:
    return of(node.arg("input")) + of(node.arg("other")) * _alpha(node, of)


def _sub(node: Node, of: Lookup) -> Interval:
    return of(node.arg("input")) + -(of(node.arg("other")) * _alpha(node, of))


def _rsub(node: Node, of: Lookup) -> Interval:
    return of(node.arg("other")) + -of(node.arg("input"))


def _alpha(node: Node, of: Lookup) -> Interval:
    alpha = node.arg("alpha")
    return iv.number(1) if alpha is None else of(alpha)


def _mul(node: Node, of: Lookup) -> Interval:
    first, second = node.arg("input"), node.arg("other")
    return iv.square(of(first)) if same_value(first, second) else of(first) * of(second)


def _div(node: Node, of: Lookup) -> Interval:
    return of(node.arg("input")) / of(node.arg("other"))


def _pow(node: Node, of: Lookup) -> Interval:
    base, exponent = of(node.arg("input")), of(node.arg("exponent"))
    if not exponent.is_number:
        return POSITIVE if base.nonnegative and base.nonzero else UNKNOWN
    power = exponent.lo
    if power == 2:
        return iv.square(base)
    if power > 0 and power % 2 == 0:
        return Interval(0, INF, base.zero | Zero.PRODUCT, nonzero=base.nonzero)
    if power < 0:
        return POSITIVE if base.nonnegative else UNKNOWN
    if base.nonnegative:
        grown = iv.monotonic(lambda bound: bound**power, base, nonzero=base.nonzero)
        zero = base.zero | Zero.PRODUCT if power > 1 and base.zero else base.zero
        return Interval(grown.lo, grown.hi, zero, nonzero=base.nonzero)
    return Interval(0, INF) if 0 < power < 1 else UNKNOWN


def _sqrt(node: Node, of: Lookup) -> Interval:
    value = of(node.input)
    low, high = math.sqrt(max(value.lo, 0)), math.sqrt(max(value.hi, 0))
    return Interval(low, high, value.zero, nonzero=value.nonzero)


def _reciprocal(node: Node, of: Lookup) -> Interval:
    return POSITIVE if node.op is ar.RSQRT or of(node.input).nonnegative else UNKNOWN


def _exp(node: Node, of: Lookup) -> Interval:
    function = math.exp if node.op is ar.EXP else math.exp2
    return iv.monotonic(function, of(node.input), nonzero=True)


def _log(node: Node, of: Lookup) -> Interval:
    base = {ar.LOG2: math.log2, ar.LOG10: math.log10, ar.LOG1P: math.log1p}.get(node.op, math.log)  # type: ignore[arg-type]
    least = -1 if node.op is ar.LOG1P else 0
    return iv.monotonic(
        lambda bound: base(bound) if bound > least else -INF, of(node.input), nonzero=False
    )


def _clamp(node: Node, of: Lookup) -> Interval:
    low, high = node.arg("min"), node.arg("max")
    least = iv.number(-INF) if low is None else of(low)
    most = iv.number(INF) if high is None else of(high)
    if not (least.is_number and most.is_number):
        return UNKNOWN
    return iv.clamp(of(node.input), least.lo, most.lo)


def _extremum(node: Node, of: Lookup) -> Interval:
    """torch.max of one tensor (along a dimension), or of two like torch.maximum."""
    if len(node.inputs) > 1 or node.op in (ar.MAXIMUM, ar.MINIMUM):
        return _of_two(node, of)
    return iv.average(of(node.input))


def _of_two(node: Node, of: Lookup) -> Interval:
    first = of(node.arg("input"))
    second = of(node.arg("other", node.arg("dim")))
    if node.op in (ar.MINIMUM, ar.MIN):
        return Interval(min(first.lo, second.lo), min(first.hi, second.hi))
    for value, limit in ((first, second), (second, first)):
        if limit.is_number:
            return iv.clamp(value, limit.lo, INF)
    return Interval(max(first.lo, second.lo), max(first.hi, second.hi))


def _choice(node: Node, of: Lookup) -> Interval:
    """Where and masked_fill: a guard against 0 as a rule, so no reason for 0 is kept."""
    if node.op is ar.WHERE:
        parts = [of(node.arg("input")), of(node.arg("other"))]
    else:
        parts = [of(node.arg("input")), of(node.arg("value"))]
    found = iv.hull(parts)
    return Interval(found.lo, found.hi, nonzero=found.nonzero)


def _compare(node: Node, of: Lookup) -> Interval:
    """A padding mask compares the model's own input with a number: all of it may be padding."""
    sides = [node.arg("input"), node.arg("other")]
    plain = any(of(side).is_number for side in sides)
    given = any(
        isinstance(side, Node) and all(s.kind == "input" for s in sources(side, _SAME))
        for side in sides
    )
    return Interval(0, 1, Zero.MASK if plain and given else NONE)


def _logical(node: Node, of: Lookup) -> Interval:
    return Interval(0, 1, of(node.input).zero & Zero.MASK)


def _norm(node: Node, of: Lookup) -> Interval:
    value = of(node.input)
    return Interval(0, INF, value.zero, nonzero=value.nonzero)


def _product(node: Node, of: Lookup) -> Interval:
    value = of(node.input)
    return Interval(0, INF, value.zero, nonzero=value.nonzero) if value.nonnegative else UNKNOWN


def _cumulated(node: Node, of: Lookup) -> Interval:
    return Interval(0, INF) if of(node.input).nonnegative else UNKNOWN


def _matmul(node: Node, of: Lookup) -> Interval:
    first, second = of(node.arg("input")), of(node.arg("other"))
    if not (first.nonnegative and second.nonnegative):
        return UNKNOWN
    zero = first.zero | second.zero
    both = first.nonzero and second.nonzero
    return Interval(0, INF, zero | Zero.PRODUCT if zero else NONE, nonzero=both)


def _tanh(node: Node, of: Lookup) -> Interval:
    value = of(node.input)
    return Interval(0, 1, value.zero) if value.nonnegative else Interval(-1, 1)


def _hardtanh(node: Node, of: Lookup) -> Interval:
    low, high = node.arg("min_val", -1.0), node.arg("max_val", 1.0)
    return iv.clamp(of(node.input), float(low), float(high))


def _elu(node: Node, of: Lookup) -> Interval:
    alpha = of(node.arg("alpha", 1.0))
    return Interval(-abs(alpha.lo), INF) if alpha.is_number else UNKNOWN


def _created(node: Node, of: Lookup) -> Interval:
    del of
    name = getattr(node.target, "__name__", str(node.target))
    exact = {"ones": 1.0, "zeros": 0.0, "ones_like": 1.0, "zeros_like": 0.0}
    if name in exact:
        return iv.number(exact[name])
    return Interval(0, 1) if name in ("rand", "rand_like") else UNKNOWN


def _embedding(node: Node, of: Lookup) -> Interval:
    """The row of the padding index starts as zeros and is never trained."""
    del of
    row, weight = node.arg("padding_idx"), node.parameter("weight")
    if not isinstance(row, int) or weight is None or weight.device.type == "meta":
        return UNKNOWN
    return UNKNOWN if bool(weight[row].any()) else Interval(zero=Zero.GATED)


def _always(value: Interval) -> Transfer:
    return lambda node, of: value  # noqa: ARG005 - the signature of a transfer


def _on_input(function: Callable[[Interval], Interval]) -> Transfer:
    return lambda node, of: function(of(node.input))


_TABLE: dict[Operator, Transfer] = {
    moving.GETITEM: _getitem,
    moving.CAT: _join,
    moving.STACK: _join,
    ar.ADD: _add,
    ar.SUB: _sub,
    ar.RSUB: _rsub,
    ar.MUL: _mul,
    ar.DIV: _div,
    ar.POW: _pow,
    ar.SQUARE: _on_input(iv.square),
    ar.SQRT: _sqrt,
    ar.RSQRT: _reciprocal,
    ar.RECIPROCAL: _reciprocal,
    ar.EXP: _exp,
    ar.EXP2: _exp,
    ar.LOG: _log,
    ar.LOG2: _log,
    ar.LOG10: _log,
    ar.LOG1P: _log,
    ar.NEG: _on_input(lambda value: -value),
    ar.ABS: _on_input(iv.absolute),
    ar.SIN: _always(Interval(-1, 1)),
    ar.CLAMP: _clamp,
    ar.CLAMP_MIN: _clamp,
    ar.CLAMP_MAX: _clamp,
    ar.MAXIMUM: _extremum,
    ar.MINIMUM: _extremum,
    ar.MAX: _extremum,
    ar.MIN: _extremum,
    ar.AMAX: _extremum,
    ar.AMIN: _extremum,
    ar.WHERE: _choice,
    ar.MASKED_FILL: _choice,
    ar.COMPARE: _compare,
    ar.LOGICAL: _logical,
    ar.SUM: _on_input(iv.total),
    ar.MEAN: _on_input(iv.average),
    ar.PROD: _product,
    ar.CUMSUM: _cumulated,
    ar.NORM: _norm,
    ar.STD: _always(Interval(0, INF, Zero.SPREAD)),
    ar.VAR: _always(Interval(0, INF, Zero.SPREAD)),
    ar.COSINE_SIMILARITY: _always(Interval(-1, 1)),
    ar.PAIRWISE_DISTANCE: _always(Interval(0, INF)),
    ar.CREATE: _created,
    ar.CREATE_LIKE: _created,
    normalisation.NORMALIZE: _always(Interval(-1, 1)),
    linear.MATMUL: _matmul,
    linear.EMBEDDING: _embedding,
    act.RELU: _on_input(lambda value: iv.clamp(value, 0, INF)),
    act.RELU6: _on_input(lambda value: iv.clamp(value, 0, 6)),
    act.SIGMOID: _always(Interval(0, 1, nonzero=True)),
    act.HARDSIGMOID: _always(Interval(0, 1, Zero.GATED)),
    act.TANH: _tanh,
    act.HARDTANH: _hardtanh,
    act.SOFTPLUS: _always(POSITIVE),
    act.LOGSIGMOID: _always(-POSITIVE),
    act.ELU: _elu,
    act.SOFTMAX: _always(Interval(0, 1, nonzero=True)),
    act.SOFTMIN: _always(Interval(0, 1, nonzero=True)),
    act.LOG_SOFTMAX: _always(Interval(-INF, 0)),
    act.GUMBEL_SOFTMAX: _always(Interval(0, 1)),
    loss.MSE: _always(Interval(0, INF, Zero.PRODUCT)),
    loss.CROSS_ENTROPY: _always(Interval(0, INF)),
}
