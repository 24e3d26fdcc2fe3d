"""Attention: scaled dot products, the module of torch, and softmax between two products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from nnlint.linter.graph import Node, data_inputs
from nnlint.linter.operators import activation, arithmetic, dropout, moving
from nnlint.linter.operators import linear as ops
from nnlint.linter.signal.base import Call, Matrix, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.linear import linear_map
from nnlint.linter.signal.moments import Gradient, Value, folded, neighbours, numbers


def sharpness(var: float, count: int, *, causal: bool = False) -> float:
    """Return the expected sum of squares of softmax weights over Gaussian scores.

    1 / n for equal scores and 1 for a single large one; by the quantiles of n scores. With a
    causal mask the mean over rows of 1 to n scores.
    """
    if count < 1:
        return 1.0
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    weights = torch.softmax(torch.special.ndtri(places) * math.sqrt(max(min(var, 1e6), 0.0)), 0)
    result = float(weights.square().sum())
    if causal and count > 1:
        result = min(result * (math.log(count) + 0.577), 1.0)
    return result


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention of one kind of heads, in whatever layout; see `attend`."""

    query: Value
    key: Value
    value: Value
    scale: float
    width: int
    queries: int
    keys: int
    causal: bool = False

    @property
    def scores(self) -> float:
        """Variance of the scores of a query along the keys."""
        q, k = self.query.square.mean(), self.key.var.mean() * (1 - self.key.shared)
        return float(q * k) * self.width * self.scale**2

    @property
    def sum_of_squares(self) -> float:
        """Sum of the squares of a query's weights."""
        return sharpness(self.scores, self.keys, causal=self.causal)

    def forward(self, shape: tuple[int, ...]) -> Value:
        """Return the result: what values share stays, the rest is averaged over the keys."""
        v = self.value
        s, u = self.sum_of_squares, v.shared
        kept = u + (1 - u) * s
        even = u + (1 - u) / max(self.keys, 1)
        return Value(
            shape, v.roles, v.mean, v.var * kept, min(even / kept, 1.0) if kept > 0 else 0.0
        )

    def of_scores(self, g: Gradient) -> float:
        """Return the mean square of the gradient of the scores."""
        v = self.value
        inner = float(g.power.mean()) * self.width * float(v.var.mean()) * (1 - v.shared)
        return self.sum_of_squares / self.keys * inner

    def backward(self, g: Gradient) -> tuple[Gradient, Gradient, Gradient]:
        """Return the gradients of query, key and value, by layouts of these.

        With a = softmax(q k), y_i = sum_j a_ij v_j and ds_ij = a_ij (g_i v_j - mean_j):
        dv_j = sum_i a_ij g_i, dq_i = sum_j ds_ij k_j, dk_j = sum_i ds_ij q_i. ds sums to zero along
        the keys, so only what differs from key to key counts in dq and dk, and dk sums to zero.
        """
        q, k, v = self.query, self.key, self.value
        s = self.sum_of_squares
        n, m = self.queries, self.keys
        coherent = g.common + g.own
        even = coherent * (n / m) ** 2 + g.rest * n / m**2
        uneven = max(s - 1 / m, 0.0) / m * n
        total = even + uneven
        common = g.common * (n / m) ** 2 / total if total > 0 else 0.0
        own = max(even / total - common, 0.0) if total > 0 else 0.0
        dv = Gradient(v.shape, v.roles, _fit(g.power * total, v), common, own)
        ds = self.of_scores(g) * self.scale**2
        dq = m * ds * float(k.var.mean()) * (1 - k.shared)
        q_mean = float(q.mean.square().mean()) + q.shared * float(q.var.mean())
        q_all = float(q.square.mean())
        dk = ds * (n * n * coherent * q_mean + n * (coherent * (q_all - q_mean) + g.rest * q_all))
        profile = g.profile if g.profile is None or g.profile.dim() == len(q.shape) else None
        return (
            Gradient(q.shape, q.roles, numbers(dq, len(q.shape)), 0.0, coherent, profile=profile),
            Gradient(k.shape, k.roles, numbers(dk, len(k.shape)), 0.0, 0.0, centred=1.0),
            dv,
        )


def _fit(power: torch.Tensor, v: Value) -> torch.Tensor:
    """Return powers for a value whose layout is that of the result."""
    rank = len(v.shape)
    if power.dim() != rank or any(
        p not in (1, s) for p, s in zip(power.shape, v.shape, strict=True)
    ):
        return numbers(float(power.mean()), rank)
    return power


@follows(ops.ATTENTION)
def scaled_dot_product(call: Call) -> Step:
    """Follow scaled dot product attention (Vaswani and others 2017), near its uniform start.

    See `Heads.backward`. Masks other than the causal one are taken as open.
    """
    q, k, v = (call.value(name) for name in ("query", "key", "value"))
    roles = tuple(x.roles[:-2] + "pc" for x in (q, k, v))
    q, k, v = (folded(x, r) for x, r in zip((q, k, v), roles, strict=True))
    scale = call.node.args.get("scale")
    width = q.shape[-1]
    factor = float(scale) if isinstance(scale, (int, float)) else width**-0.5
    causal = call.node.args.get("is_causal") is True
    heads = Heads(q, k, v, factor, width, q.shape[-2], k.shape[-2], causal)
    shape = (*q.shape[:-1], v.shape[-1])

    def pull(g: Gradient) -> Iterator[Pulled]:
        for name, found in zip(("query", "key", "value"), heads.backward(g), strict=True):
            yield from call.back(name, found)
        if (mask := call.source("attn_mask")) is not None:
            yield from _to_bias(call, heads, g, mask, prod(shape[:-1]) * k.shape[-2])

    return Step(heads.forward(shape), pull)


@follows(ops.MULTIHEAD_ATTENTION)
def multihead(call: Call) -> Step:
    """Follow nn.MultiheadAttention: three projections, attention, and the output's projection."""
    module: Any = call.node.module
    if module is None or not hasattr(module, "in_proj_weight"):
        raise UnfollowedError("its projections are not known")
    first = bool(getattr(module, "batch_first", False))
    xs = [call.value(name) for name in ("query", "key", "value")]
    rank = len(xs[0].shape)
    roles = ("s" if rank == 3 else "") + "pc" if first or rank == 2 else "psc"
    xs = [folded(x, roles) for x in xs]
    width = module.embed_dim
    weights = _projections(module)
    bias = module.in_proj_bias
    biases = [None] * 3 if bias is None else list(bias.detach().chunk(3))
    maps = [
        linear_map(x, Matrix(w.detach()), None if b is None else Matrix(b), call.batch)
        for x, w, b in zip(xs, weights, biases, strict=True)
    ]
    length = -2 if first or rank == 2 else 0
    head = module.head_dim
    causal = call.node.args.get("is_causal") is True
    q, k, v = (m.value for m in maps)
    heads = Heads(q, k, v, head**-0.5, head, q.shape[length], k.shape[length], causal)
    mixed = heads.forward((*q.shape[:-1], width))
    out_bias = module.out_proj.bias
    out = linear_map(
        mixed,
        Matrix(module.out_proj.weight),
        None if out_bias is None else Matrix(out_bias),
        call.batch,
    )
    single = module.in_proj_weight is not None
    parameters = [module.in_proj_weight] * 3 if single else weights
    share = 3 if single else 1

    def pull(gradients: tuple[Gradient | None, ...] | Gradient) -> Iterator[Pulled]:
        g = gradients[0] if isinstance(gradients, tuple) else gradients
        if g is None:
            return
        inner, found = out.pull(g)
        yield from found
        for name, part, each, parameter in zip(
            ("query", "key", "value"), heads.backward(inner), maps, parameters, strict=True
        ):
            back, inside = each.pull(part)
            for place, (_, power) in enumerate(inside):
                assert isinstance(power, float)
                if place == 0:
                    yield parameter, power / share
                elif bias is not None:
                    yield bias, power / 3
            yield from call.back(name, back)

    weights_shape = (q.shape[0], q.shape[length], k.shape[length])
    attention = Value(weights_shape, "spp", numbers(1 / max(heads.keys, 1), 3), numbers(0.0, 3))
    return Step((out.value, attention), pull)


def _projections(module: Any) -> list[torch.Tensor]:
    if module.in_proj_weight is not None:
        return list(module.in_proj_weight.chunk(3))
    return [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]


@follows(activation.SOFTMAX)
def softmax(call: Call) -> Step:
    """Follow softmax over Gaussian scores: weights of mean 1 / n, and of mean square by quantiles.

    dx = p (g - sum p g): with p near 1 / n what all n have in common is taken out.
    """
    x = call.value()
    rank = len(x.shape)
    dim = call.plain("dim", -1)
    if not isinstance(dim, int):
        raise UnfollowedError("its dimension is not known")
    dim %= rank
    n = x.shape[dim]
    varying = float(x.var.mean()) * (1 - x.shared if x.roles[dim] == "p" else 1.0)
    if x.mean.shape[dim] > 1:
        varying += float(x.mean.var(dim, unbiased=False).mean())
    s = sharpness(varying, n)
    mean = (
        torch.softmax(
            x.mean.expand([n if d == dim else size for d, size in enumerate(x.mean.shape)]), dim
        )
        if x.mean.shape[dim] > 1
        else numbers(1 / n, rank)
    )
    var = max(s / n - float(mean.square().mean()), 0.0)
    roles = x.roles
    value = folded(Value(x.shape, roles, mean, numbers(var, rank)), roles)

    def pull(g: Gradient) -> Iterator[Pulled]:
        coherent = g.common + g.own if g.roles[dim] == "p" else 0.0
        power = float(g.power.mean()) * s / n * (1 - coherent) * (1 - s)
        back = replace(g, power=numbers(power, rank), profile=None)
        yield from call.back("input", back)

    return Step(value, pull)


@follows(activation.LOG_SOFTMAX)
def log_softmax(call: Call) -> Step:
    """Follow log-softmax: x less its logsumexp; dx = g - p sum(g)."""
    x = call.value()
    rank = len(x.shape)
    dim = call.plain("dim", -1)
    if not isinstance(dim, int):
        raise UnfollowedError("its dimension is not known")
    dim %= rank
    n = x.shape[dim]
    spread = float(x.var.mean())
    middle = (
        float(
            torch.logsumexp(
                x.mean.expand([n if d == dim else size for d, size in enumerate(x.mean.shape)]), dim
            ).mean()
        )
        + spread / 2
    )
    value = replace(x, mean=x.mean - middle)
    s = sharpness(spread, n)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", replace(g, power=g.power * max(1 + s - 2 / n, 0.0)))

    return Step(value, pull)


@follows(ops.MATMUL)
def matmul(call: Call) -> Step:
    """Follow a matrix product: with a parameter, of queries and keys, of attention and values.

    Where the first factor is a softmax over scores q k, all of it is one attention, and the
    gradient goes to q, k and v directly.
    """
    first, second = call.source("input"), call.source("other")
    x, y = call.value("input"), call.value("other")
    if len(x.shape) < 2 or len(y.shape) < 2:
        raise UnfollowedError("a product of vectors")
    if first is not None and second is not None:
        scores = _scores(first)
        if scores is not None:
            return _attention(call, scores, x, y, second)
    if y.constant and len(y.shape) == 2 and not x.constant:
        weight = Matrix(y.mean.expand(y.shape).t(), None)
        return _by_parameter(call, linear_map(x, weight, None, call.batch), y)
    return _product(call, x, y)


def _by_parameter(call: Call, found: object, y: Value) -> Step:
    from nnlint.linter.signal.linear import Map

    assert isinstance(found, Map)

    def pull(g: Gradient) -> Iterator[Pulled]:
        back, parameters = found.pull(g)
        yield from call.back("input", back)
        for _, power in parameters[:1]:
            assert isinstance(power, float)
            yield from call.back("other", Gradient(y.shape, y.roles, numbers(power, 2)))

    return Step(found.value, pull)


@dataclass(frozen=True, slots=True)
class Scores:
    """The product of queries and keys behind attention weights."""

    query: Node
    key: Node
    scale: float
    biases: tuple[Node, ...] = ()


_KEEPS = frozenset(
    {
        dropout.DROPOUT,
        moving.IDENTITY,
        moving.CAST,
        moving.FLOAT,
        arithmetic.MASKED_FILL,
        moving.VIEW,
        moving.UNSQUEEZE,
        moving.SQUEEZE,
    }
)


def _scores(node: Node) -> Scores | None:
    """Walk back from attention weights to the product of queries and keys."""
    softmax_seen = False
    scale = 1.0
    biases: list[Node] = []
    for _ in range(24):
        if node.op is activation.SOFTMAX:
            softmax_seen = True
        elif softmax_seen and node.op is ops.MATMUL:
            q, k = node.args.get("input"), node.args.get("other")
            return (
                Scores(q, k, scale, tuple(biases))
                if isinstance(q, Node) and isinstance(k, Node)
                else None
            )
        elif softmax_seen and node.op in {arithmetic.MUL, arithmetic.DIV}:
            other = node.arg("other")
            if not isinstance(other, (int, float)):
                return None
            scale = scale * other if node.op is arithmetic.MUL else scale / other
        elif softmax_seen and node.op is arithmetic.ADD:
            other = node.args.get("other")
            biases += [other] if isinstance(other, Node) else []
        elif node.op not in _KEEPS:
            return None
        inputs = data_inputs(node)
        if not inputs:
            return None
        node = inputs[0]
    return None


def _attention(call: Call, scores: Scores, a: Value, v: Value, source: Node) -> Step:
    q, k = call.values.get(scores.query), call.values.get(scores.key)
    if not isinstance(q, Value) or not isinstance(k, Value):
        raise UnfollowedError("its scores are not known")
    keys = a.shape[-1]
    v = folded(v, v.roles[:-2] + "pc")
    q = folded(q, q.roles[:-2] + "pc")
    k = folded(k, k.roles[:-2] + "cp")
    heads = Heads(q, k, v, scores.scale, q.shape[-1], a.shape[-2], keys)

    def pull(g: Gradient) -> Iterator[Pulled]:
        dq, dk, dv = heads.backward(g)
        yield Slot(scores.query), dq
        yield Slot(scores.key), dk
        yield Slot(source), dv
        for bias in scores.biases:
            yield from _to_bias(call, heads, g, bias, prod(a.shape))

    return Step(heads.forward(call.shape), pull)


def _to_bias(call: Call, heads: Heads, g: Gradient, bias: Node, count: int) -> Iterator[Pulled]:
    """Yield the gradient of what is added to the scores: that of the scores, summed over repeats."""
    value = call.values.get(bias)
    if isinstance(value, Value) and value.constant and value.shape:
        repeats = count / max(prod(value.shape), 1)
        power = heads.of_scores(g) * repeats
        yield Slot(bias), Gradient(value.shape, value.roles, numbers(power, len(value.shape)))


def _product(call: Call, x: Value, y: Value) -> Step:
    """Follow a product of two values, with a sum over channels or over positions."""
    inner = x.shape[-1]
    over_positions = "p" in (x.roles[-1], y.roles[-2]) or "s" in (x.roles[-1], y.roles[-2])
    rank = max(len(x.shape), len(y.shape))
    mx, vx, my, vy = (float(t.mean()) for t in (x.mean.square(), x.var, y.mean.square(), y.var))
    k = (
        min(
            neighbours((*x.near[:-1], x.near[-1]), None, x.shape, x.roles, [len(x.shape) - 1]),
            inner,
        )
        if over_positions
        else 1.0
    )
    ux, uy = (x.shared, y.shared) if over_positions else (0.0, 0.0)
    together = (mx + ux * vx) * (my + uy * vy)
    full = (mx + vx) * (my + vy)
    mean_all = float(x.mean.mean()) * float(y.mean.mean()) * inner
    var = max(
        inner * k * (full - together)
        + (inner**2 * (together - mx * my) if over_positions else 0.0),
        0.0,
    )
    if not over_positions:
        var = inner * (vx * vy + vx * my + vy * mx)
    # Rows with nearly the same weights give nearly the same sums.
    alike = mx * (inner * k * vy * (1 - uy) + inner**2 * uy * vy) if over_positions else 0.0
    roles = call.node.info.batch or (0,)
    letters = "".join(
        "s" if d in roles else ("p" if x.roles[-2] == "p" and d == rank - 2 else "c")
        for d in range(rank - 1)
    )
    last = "p" if y.roles[-1] == "p" else "c"
    shared = min(alike / var, 1.0) if var > 0 else 0.0
    value = Value(call.shape, letters + last, numbers(mean_all, rank), numbers(var, rank), shared)

    def pull(g: Gradient) -> Iterator[Pulled]:
        power = float(g.power.mean())
        rows, columns = call.shape[-2], call.shape[-1]
        if call.source("input") is not None:
            own = (my + uy * vy) / (my + vy) if over_positions and my + vy > 0 else 0.0
            found = Gradient(
                x.shape, x.roles, numbers(power * columns * (my + vy), len(x.shape)), 0.0, own
            )
            yield from call.back("input", found)
        if call.source("other") is not None:
            coherent = (g.common + g.own) if over_positions else 0.0
            together = rows**2 * coherent * mx
            apart = rows * (coherent * vx + (1 - coherent) * (mx + vx))
            own = (
                (together + rows * (1 - coherent) * mx) / (together + apart)
                if over_positions and together + apart > 0
                else 0.0
            )
            found = Gradient(
                y.shape, y.roles, numbers(power * (together + apart), len(y.shape)), 0.0, own
            )
            yield from call.back("other", found)

    return Step(value, pull)


@follows(ops.ADDMM)
def addmm(call: Call) -> Step:
    """Follow input + mat1 @ mat2 with a parameter as the second matrix."""
    x, y = call.value("mat1"), call.value("mat2")
    if not y.constant:
        raise UnfollowedError("its matrix is no parameter")
    bias = call.matrix("input")
    found = linear_map(x, Matrix(y.mean.expand(y.shape).t()), bias, call.batch)

    def pull(g: Gradient) -> Iterator[Pulled]:
        back, parameters = found.pull(g)
        yield from call.back("mat1", back)
        for place, (target, power) in enumerate(parameters):
            if place == 0:
                assert isinstance(power, float)
                yield from call.back("mat2", Gradient(y.shape, y.roles, numbers(power, 2)))
            else:
                yield target, power  # type: ignore[misc] # a pair as it came

    return Step(found.value, pull)
