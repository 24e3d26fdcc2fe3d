"""Values joined to one: side by side, or as a mixture along positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import moving as ops
from nnlint.linter.operators.shapes import axis
from nnlint.linter.signal.arithmetic import blend
from nnlint.linter.signal.base import Call, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import RANDOM, Gradient, Value, even, folded, recast, weighed
from nnlint.linter.signal.parts import cut


def _parts(call: Call, name: str = "input") -> list[tuple[Node | None, Value]]:
    found = call.node.arg(name)
    if not isinstance(found, (tuple, list)):
        content = call.content(name)
        if isinstance(content, tuple):
            node = call.source(name)
            return [(node, value) for value in content]
        raise UnfollowedError("what it joins is not known")
    parts: list[tuple[Node | None, Value]] = []
    for item in found:
        if not isinstance(item, Node):
            raise UnfollowedError("what it joins is not known")
        value = call.values.get(item)
        if not isinstance(value, Value):
            raise UnfollowedError(f"what it joins is not known ({item!r})")
        parts.append((item, value))
    return parts


@follows(ops.CAT)
def cat(call: Call) -> Step:
    """Follow a concatenation: channels side by side; along positions, a mixture."""
    parts = _parts(call)
    tuple_node = call.source("input")
    first = max((v for _, v in parts), key=lambda v: (v.roles.count(".") == 0, not v.constant))
    rank = len(first.shape)
    dim = axis(call.plain("dim", 0), rank)
    if dim is None:
        raise UnfollowedError("its dimension is not known")
    roles = "." * rank if all(v.constant for _, v in parts) else first.roles
    values = [folded(v, roles) for _, v in parts]
    sizes = [v.shape[dim] for v in values]
    shape = (*first.shape[:dim], sum(sizes), *first.shape[dim + 1 :])
    if roles[dim] in RANDOM:
        mean, var = _mixture(values, sizes)
    else:
        mean, var = (_joined([getattr(v, n) for v in values], sizes, dim) for n in ("mean", "var"))
    shared, near = blend(
        [(float(v.var.mean()) * n, v) for v, n in zip(values, sizes, strict=True)], rank
    )
    if roles[dim] in RANDOM:
        profile = even(torch.cat([_positions(v, dim) for v in values], dim))
    else:
        profile = weighed(
            [(float(v.square.mean()) * n, v.profile) for v, n in zip(values, sizes, strict=True)]
        )
    value = Value(shape, roles, mean, var, shared, near, profile)

    def pull(g: Gradient) -> Iterator[Pulled]:
        start = 0
        for place, ((node, original), size) in enumerate(zip(parts, sizes, strict=True)):
            part = cut(g, dim, start, size)
            start += size
            if node is not None:
                slot = Slot(node, place) if tuple_node is not None else Slot(node)
                yield slot, recast(part, original.roles) if "." not in original.roles else part

    return Step(value, pull)


def _positions(x: Value, dim: int) -> torch.Tensor:
    """Return the mean square of each position along a dimension."""
    one = torch.ones((1,) * len(x.shape), dtype=torch.float64) if x.profile is None else x.profile
    sizes = [x.shape[dim] if d == dim else 1 for d in range(len(x.shape))]
    others = [d for d in range(len(x.shape)) if d != dim]
    return float(x.square.mean()) * (one.mean(others, keepdim=True) if others else one).expand(
        sizes
    )


def _mixture(values: Sequence[Value], sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    total = sum(sizes)
    mean = sum((v.mean * n for v, n in zip(values, sizes, strict=True)), torch.zeros(())) / total
    square = (
        sum((v.square * n for v, n in zip(values, sizes, strict=True)), torch.zeros(())) / total
    )
    return mean, (square - mean.square()).clamp(min=0)


def _joined(moments: Sequence[torch.Tensor], sizes: Sequence[int], dim: int) -> torch.Tensor:
    if all(m.numel() == 1 for m in moments) and len({float(m) for m in moments}) == 1:
        return moments[0]
    rank = moments[0].dim()
    wide = [max(m.shape[d] for m in moments) for d in range(rank)]
    full = []
    for m, n in zip(moments, sizes, strict=True):
        want = [n if d == dim else wide[d] for d in range(rank)]
        full.append(m.expand(want))
    return torch.cat(full, dim)


@follows(ops.STACK)
def stack(call: Call) -> Step:
    """Follow a stack along a new dimension, of values that are alike: their average."""
    parts = _parts(call)
    rank = len(parts[0][1].shape)
    dim = axis(call.plain("dim", 0), rank + 1)
    if dim is None:
        raise UnfollowedError("its dimension is not known")
    values = [v for _, v in parts]
    constant = all(v.constant for v in values)
    roles = "." * rank if constant else next(v.roles for v in values if not v.constant)
    values = [folded(v, roles) for v in values]
    letter = "." if constant else ("c" if "p" not in roles else "p")
    count = len(values)
    if letter == "p":
        mean, var = _mixture(values, [1] * count)
        mean, var = mean.unsqueeze(dim), var.unsqueeze(dim)
    else:
        mean = _joined([v.mean.unsqueeze(dim) for v in values], [1] * count, dim)
        var = _joined([v.var.unsqueeze(dim) for v in values], [1] * count, dim)
    shared, near = blend([(float(v.var.mean()), v) for v in values], rank)
    base = values[0].shape
    shape = (*base[:dim], count, *base[dim:])
    value = Value(
        shape,
        roles[:dim] + letter + roles[dim:],
        mean,
        var,
        shared,
        (*near[:dim], 0.0, *near[dim:]),
    )

    def pull(g: Gradient) -> Iterator[Pulled]:
        for place, (node, original) in enumerate(parts):
            if node is None:
                continue
            part = cut(g, dim, place, 1)
            profile = None if part.profile is None else part.profile.squeeze(dim)
            yield (
                Slot(node),
                Gradient(
                    original.shape,
                    part.roles[:dim] + part.roles[dim + 1 :],
                    part.power.squeeze(dim),
                    part.common,
                    part.own,
                    part.near[:dim] + part.near[dim + 1 :],
                    part.centred,
                    profile,
                ),
            )

    return Step(value, pull)
