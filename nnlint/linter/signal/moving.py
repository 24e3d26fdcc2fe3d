"""Operators that move, join, split or select values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import dropout, moving as ops, pooling
from nnlint.linter.operators.shapes import as_ints, axis
from nnlint.linter.signal.arithmetic import blend
from nnlint.linter.signal.base import Call, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.layout import near_of, reshaped, roles_of
from nnlint.linter.signal.moments import RANDOM, Gradient, Shape, Value, even, folded, numbers, recast, summed, weighed


@follows(
    ops.IDENTITY,
    ops.CAST,
    ops.FLOAT,
    ops.DEVICE_MOVE,
    ops.FLIP,
    pooling.CHANNEL_SHUFFLE,
    dropout.ALPHA_DROPOUT,
    dropout.FEATURE_ALPHA_DROPOUT,
)
def unchanged(call: Call) -> Step:
    """Follow what leaves moments as they are: casts, copies, flips, rolls; channels swap places."""
    found = call.content()

    def pull(g: Any) -> Iterator[Pulled]:
        if isinstance(g, Gradient):
            yield from call.back("input", g)

    return Step(found, pull)


@follows(dropout.DROPOUT, dropout.DROPOUT1D, dropout.DROPOUT2D, dropout.DROPOUT3D, dropout.FEATURE_DROPOUT)
def drop(call: Call) -> Step:
    """Follow dropout in training: E x^2 / (1 - p) forward, the same backward (Srivastava 2014)."""
    x, p = call.value(), call.plain("p", 0.5)
    on = call.plain("training", True)
    if not isinstance(p, (int, float)) or not 0 <= p < 1 or not on:
        p = 0.0
    if p == 0:
        return unchanged(call)
    keep = 1 - p
    var = x.var / keep + x.mean.square() * (1 / keep - 1)
    total = float(var.mean())
    share = float(x.var.mean()) / total if total > 0 else 0.0
    value = replace(x, var=var, shared=x.shared * share, near=tuple(c * share for c in x.near))

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", replace(g, power=g.power / keep, common=g.common * keep, own=g.own * keep, centred=g.centred * keep))

    return Step(value, pull)


def reshape(x: Value, shape: Shape, batch: tuple[int, ...] | None) -> Value:
    """Return the moments of a reshaped value."""
    if x.constant:
        return Value(shape, "." * len(shape), reshaped(x.mean, x.shape, shape), numbers(0.0, len(shape)))
    roles = roles_of(x.roles, x.shape, shape, batch)
    value = Value(shape, roles, reshaped(x.mean, x.shape, shape), reshaped(x.var, x.shape, shape), x.shared, near_of(x.near, x.shape, shape), None if x.profile is None else reshaped(x.profile, x.shape, shape))
    return folded(value, roles)


def shape_back(g: Gradient, x: Value) -> Gradient:
    """Return the gradient before a reshape."""
    roles = x.roles
    power = reshaped(g.power, g.shape, x.shape)
    common, own, fixed = g.common, g.own, g.fixed
    channels = sum(s for s, r in zip(g.shape, g.roles, strict=True) if r == "c")
    if channels > sum(s for s, r in zip(x.shape, roles, strict=True) if r == "c") and "p" in roles and "p" not in g.roles:
        # Positions that were channels: their gradients come through weights of their own.
        common, own, fixed = 0.0, 0.0, fixed + common
    profile = None if g.profile is None else reshaped(g.profile, g.shape, x.shape)
    return recast(Gradient(x.shape, "?" * len(roles), power, common, own, near_of(g.near, g.shape, x.shape), g.centred, profile, fixed), roles)


@follows(ops.VIEW, ops.VIEW_AS, ops.FLATTEN, ops.RAVEL, ops.UNFLATTEN, ops.SQUEEZE, ops.UNSQUEEZE)
def view(call: Call) -> Step:
    """Follow a reshape: moments go with their channels."""
    x = call.value()
    shape = call.shape
    value = reshape(x, shape, call.node.info.batch)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", shape_back(g, x))

    return Step(value, pull)


def _order(call: Call, rank: int) -> list[int]:
    op = call.node.op
    order = list(range(rank))
    if op is ops.PERMUTE:
        dims = call.plain("dims")
        if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], (tuple, list)):
            dims = dims[0]
        found = as_ints(dims)
        if found is None or len(found) != rank:
            raise UnfollowedError("its order is not known")
        return [d % rank for d in found]
    if op is ops.TRANSPOSE:
        a, b = (axis(call.plain(n), rank) for n in ("dim0", "dim1"))
    elif op is ops.SWAP_LAST:
        a, b = rank - 2, rank - 1
    elif op is ops.REVERSE_DIMS:
        return order[::-1]
    else:
        a, b = axis(call.plain("source"), rank), axis(call.plain("destination"), rank)
        if a is not None and b is not None:
            order.insert(b, order.pop(a))
            return order
    if a is None or b is None:
        raise UnfollowedError("its order is not known")
    order[a], order[b] = order[b], order[a]
    return order


@follows(ops.PERMUTE, ops.TRANSPOSE, ops.SWAP_LAST, ops.REVERSE_DIMS, ops.MOVEDIM)
def permute(call: Call) -> Step:
    """Follow a change of the order of dimensions."""
    x = call.value()
    order = _order(call, len(x.shape))
    value = Value(
        tuple(x.shape[d] for d in order),
        "".join(x.roles[d] for d in order),
        x.mean.permute(order),
        x.var.permute(order),
        x.shared,
        tuple(x.near[d] for d in order),
        None if x.profile is None else x.profile.permute(order),
    )
    back = [order.index(d) for d in range(len(order))]

    def pull(g: Gradient) -> Iterator[Pulled]:
        turned = Gradient(
            x.shape,
            "".join(g.roles[d] for d in back),
            g.power.permute(back),
            g.common,
            g.own,
            tuple(g.near[d] for d in back),
            g.centred,
            None if g.profile is None else g.profile.permute(back),
            g.fixed,
        )
        yield from call.back("input", recast(turned, x.roles))

    return Step(value, pull)


@follows(ops.EXPAND, ops.EXPAND_AS, ops.REPEAT)
def expand(call: Call) -> Step:
    """Follow a repetition: of a parameter for each sample, of a value along new positions."""
    x = call.value()
    shape = call.shape
    rank = len(shape)
    extra = rank - len(x.shape)
    batch = call.node.info.batch or ()
    lead = (1,) * extra
    old = lead + x.shape
    roles = "".join(
        "s" if d in batch and old[d] != shape[d] else r for d, r in enumerate("p" * extra + x.roles)
    )
    mean, var = x.mean.reshape(*lead, *x.mean.shape), x.var.reshape(*lead, *x.var.shape)
    if call.node.op is ops.REPEAT:
        wide = [max(n, 1) if mean.shape[d] > 1 and shape[d] != old[d] else 1 for d, n in enumerate(_ratios(shape, old))]
        mean = mean.repeat(wide) if mean.numel() > 1 else mean
    value = folded(Value(shape, roles, mean, var, 1.0 if not x.constant else 0.0, (0.0,) * extra + x.near), roles)
    if x.shared and not any(roles[d] == "p" and old[d] != shape[d] for d in range(rank)):
        value = replace(value, shared=x.shared)

    def pull(g: Gradient) -> Iterator[Pulled]:
        dims = [d for d in range(rank) if old[d] == 1 and shape[d] > 1]
        random = [d for d in dims if g.roles[d] in RANDOM]
        power = summed(g, call.batch, random) if random else g.power
        for d in dims:
            if d not in random:
                power = power.sum(d, keepdim=True) if power.shape[d] > 1 else power * shape[d]
        power = power[(0,) * extra] if extra else power
        yield from call.back("input", Gradient(x.shape, g.roles[extra:], power, g.common, 0.0, g.near[extra:]))

    return Step(value, pull)


def _ratios(shape: Shape, old: Shape) -> list[int]:
    return [s // max(o, 1) for s, o in zip(shape, old, strict=True)]


def _parts(call: Call, name: str = "input") -> list[tuple[Node | None, Value]]:
    found = call.node.arg(name)
    if not isinstance(found, (tuple, list)):
        content = call.content(name)
        if isinstance(content, tuple):
            node = call.source(name)
            return [(node, value) for value in content]
        raise UnfollowedError("what it joins is not known")
    parts = []
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
    if all(v.constant for _, v in parts):
        roles = "." * rank
    else:
        roles = first.roles
    values = [folded(v, roles) for _, v in parts]
    sizes = [v.shape[dim] for v in values]
    shape = (*first.shape[:dim], sum(sizes), *first.shape[dim + 1 :])
    if roles[dim] in RANDOM:
        mean, var = _mixture(values, sizes)
    else:
        mean, var = (_joined([getattr(v, n) for v in values], sizes, dim) for n in ("mean", "var"))
    shared, near = blend([(float(v.var.mean()) * n, v) for v, n in zip(values, sizes, strict=True)], rank)
    if roles[dim] in RANDOM:
        profile = even(torch.cat([_positions(v, dim) for v in values], dim))
    else:
        profile = weighed([(float(v.square.mean()) * n, v.profile) for v, n in zip(values, sizes, strict=True)])
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
    return float(x.square.mean()) * (one.mean(others, keepdim=True) if others else one).expand(sizes)


def _mixture(values: Sequence[Value], sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    total = sum(sizes)
    mean = sum((v.mean * n for v, n in zip(values, sizes, strict=True)), torch.zeros(())) / total
    square = sum((v.square * n for v, n in zip(values, sizes, strict=True)), torch.zeros(())) / total
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


def cut(g: Gradient, dim: int, start: int, size: int) -> Gradient:
    """Return the gradient of a slice of a value."""
    shape = (*g.shape[:dim], size, *g.shape[dim + 1 :])
    power = g.power.narrow(dim, start, size) if g.power.shape[dim] > 1 else g.power
    profile = g.profile
    if profile is not None and profile.shape[dim] > 1:
        profile = profile.narrow(dim, start, size)
        scale = float(profile.mean())
        power = power * scale
        profile = profile / scale if scale > 0 else None
    centred = g.centred if g.roles[dim] not in RANDOM else 0.0
    return replace(g, shape=shape, power=power, profile=profile, centred=centred)


def pasted(g: Gradient, x: Value, dim: int, places: torch.Tensor) -> Gradient:
    """Return the gradient of a value of which only some places along a dimension are used."""
    size = x.shape[dim]
    used = places.numel() / max(size, 1)
    if g.roles[dim] in RANDOM:
        profile = torch.zeros([size if d == dim else 1 for d in range(len(x.shape))], dtype=torch.float64)
        before = g.profile
        source: Any = 1.0
        if before is not None:
            grid = [size if d == dim else before.shape[d] for d in range(len(x.shape))]
            profile = torch.zeros(grid, dtype=torch.float64)
            source = before
        profile.index_copy_(dim, places, torch.as_tensor(source, dtype=torch.float64).expand([places.numel() if d == dim else profile.shape[d] for d in range(profile.dim())]).contiguous())
        profile = profile / used if used > 0 else profile
        return replace(
            g, shape=x.shape, power=g.power * used, common=g.common * used, own=g.own * used if g.shape[dim] > 1 else 0.0, centred=0.0, profile=profile if used < 1 else g.profile
        )
    wide = [places.numel() if d == dim else s for d, s in enumerate(g.power.shape)]
    power = torch.zeros([size if d == dim else s for d, s in enumerate(g.power.shape)], dtype=torch.float64)
    power.index_add_(dim, places, g.power.expand(wide).contiguous())
    return replace(g, shape=x.shape, power=power)


def picked(x: Value, dim: int, places: torch.Tensor) -> Value:
    """Return a value at some places along a dimension."""

    def take(moments: torch.Tensor) -> torch.Tensor:
        return moments.index_select(dim, places) if moments.shape[dim] > 1 else moments

    shape = (*x.shape[:dim], places.numel(), *x.shape[dim + 1 :])
    mean, var, profile = take(x.mean), take(x.var), x.profile
    if profile is not None and profile.shape[dim] > 1:
        profile = take(profile)
        scale = profile.mean()
        mean, var, profile = mean * scale.sqrt(), var * scale, even(profile)
    return replace(x, shape=shape, mean=mean, var=var, profile=profile)


Undo = Callable[[Gradient], Gradient]


def _indexed(x: Value, index: Any, info: Any) -> tuple[Value, Undo]:
    """Follow x[index] for slices, integers, None, an ellipsis, and constant index tensors."""
    items = list(index) if isinstance(index, tuple) else [index]
    given = sum(1 for i in items if i is not None and i is not Ellipsis)
    if Ellipsis in [i for i in items if not isinstance(i, (torch.Tensor, Node))]:
        at = next(k for k, i in enumerate(items) if i is Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(x.shape) - given)
    items += [slice(None)] * (len(x.shape) - sum(1 for i in items if i is not None))
    undo: list[Undo] = []
    dim, dropped, added = 0, [], []
    value = x
    out = 0
    for item in items:
        if item is None:
            added.append(out)
            out += 1
            continue
        size = value.shape[dim]
        if isinstance(item, slice):
            places = torch.arange(size)[_plain_slice(item)] if item != slice(None) else None
            out += 1
        elif isinstance(item, int) and not isinstance(item, bool):
            places = torch.tensor([item % size if size else 0])
            dropped.append(dim)
        elif isinstance(item, torch.Tensor) and item.dtype == torch.int64 and item.dim() == 1:
            places = item
            out += 1
        else:
            raise UnfollowedError("its index is only known when the model runs")
        if places is not None:
            before, along = value, dim
            value = picked(before, along, places)
            undo.append(lambda g, b=before, a=along, p=places: pasted(g, b, a, p))
        dim += 1
    middle = value
    kept = [d for d in range(len(middle.shape)) if d not in dropped]
    shape = [middle.shape[d] for d in kept]
    for place in added:
        shape.insert(place, 1)

    def arranged(moments: torch.Tensor) -> torch.Tensor:
        sizes = [moments.shape[d] for d in kept]
        for place in added:
            sizes.insert(place, 1)
        return moments.reshape(sizes)

    roles = [middle.roles[d] for d in kept]
    near = [middle.near[d] for d in kept]
    for place in added:
        roles.insert(place, "." if x.constant else "p")
        near.insert(place, 0.0)
    del info
    profile = None if middle.profile is None else arranged(middle.profile)
    result = Value(tuple(shape), "".join(roles), arranged(middle.mean), arranged(middle.var), middle.shared, tuple(near), profile)

    def back(g: Gradient) -> Gradient:
        sizes = [1] * len(middle.shape)
        kept_sizes = [s for d, s in enumerate(g.power.shape) if d not in added]
        for d, s in zip(kept, kept_sizes, strict=True):
            sizes[d] = s
        profile = g.profile
        if profile is not None:
            psizes = [1] * len(middle.shape)
            for d, s in zip(kept, [s for d, s in enumerate(profile.shape) if d not in added], strict=True):
                psizes[d] = s
            profile = profile.reshape(psizes)
        gnear = [0.0] * len(middle.shape)
        for d, c in zip(kept, [c for d, c in enumerate(g.near) if d not in added], strict=True):
            gnear[d] = c
        g = Gradient(middle.shape, middle.roles, g.power.reshape(sizes), g.common, g.own, tuple(gnear), g.centred, profile, g.fixed)
        for step in reversed(undo):
            g = step(g)
        return g

    return result, back


def _plain_slice(item: slice) -> slice:
    def number(part: Any) -> int | None:
        if isinstance(part, Node):
            part = part.value
            if not isinstance(part, int):
                raise UnfollowedError("its index is only known when the model runs")
        return part

    return slice(number(item.start), number(item.stop), number(item.step))


def _plain_index(call: Call, index: Any) -> Any:
    def one(item: Any) -> Any:
        if isinstance(item, Node):
            if item.value is not None:
                return item.value
            if item.tensor is not None:
                return item.tensor
            raise UnfollowedError("its index is only known when the model runs")
        return item

    del call
    if isinstance(index, (tuple, list)):
        return tuple(one(i) for i in index)
    return one(index)


@follows(ops.GETITEM)
def getitem(call: Call) -> Step:
    """Follow x[...]: one of several results, or a part of a value."""
    content = call.content()
    index = _plain_index(call, call.node.args.get("index"))
    source = call.source()
    if isinstance(content, tuple):
        if not isinstance(index, int) or not -len(content) <= index < len(content):
            raise UnfollowedError("its index is not known")
        place = index % len(content)

        def pull_one(g: Gradient) -> Iterator[Pulled]:
            if source is not None:
                yield Slot(source, place), g

        return Step(content[place], pull_one)
    if isinstance(index, torch.Tensor) and content.constant and index.dtype == torch.int64:
        return _table(call, content, index)
    value, undo = _indexed(content, index, call.node.info)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", undo(g))

    return Step(value, pull)


def _table(call: Call, table: Value, index: torch.Tensor) -> Step:
    """Follow rows of a parameter at constant places, such as relative positions."""
    mean = table.mean.expand(table.shape)[index]
    shape = tuple(mean.shape)

    def pull(g: Gradient) -> Iterator[Pulled]:
        times = index.numel() / max(table.shape[0], 1)
        power = torch.full((1,) * len(table.shape), g.total * times, dtype=torch.float64)
        yield from call.back("input", Gradient(table.shape, table.roles, power))

    return Step(Value(shape, "." * len(shape), mean, numbers(0.0, len(shape))), pull)


@follows(ops.SELECT, ops.NARROW, ops.SLICE, ops.INDEX_SELECT)
def selected(call: Call) -> Step:
    """Follow the functions and methods that take a part along one dimension."""
    x = call.value()
    dim = axis(call.plain("dim", 0), len(x.shape))
    if dim is None:
        raise UnfollowedError("its dimension is not known")
    op = call.node.op
    index: Any
    if op is ops.SELECT:
        index = call.plain("index")
    elif op is ops.NARROW:
        start = call.plain("start")
        index = slice(start, start + call.plain("length"))
    elif op is ops.SLICE:
        index = slice(call.plain("start"), call.plain("end"), call.plain("step"))
    else:
        index = _plain_index(call, call.node.args.get("index"))
    value, undo = _indexed(x, (*[slice(None)] * dim, index), call.node.info)

    def pull(g: Gradient) -> Iterator[Pulled]:
        yield from call.back("input", undo(g))

    return Step(value, pull)


@follows(ops.SPLIT, ops.CHUNK, ops.UNBIND)
def split(call: Call) -> Step:
    """Follow a split into parts along one dimension; each part sends its gradient to its place."""
    x = call.value()
    rank = len(x.shape)
    dim = axis(call.plain("dim", 0), rank)
    if dim is None:
        raise UnfollowedError("its dimension is not known")
    size, op = x.shape[dim], call.node.op
    if op is ops.UNBIND:
        sizes = [1] * size
    elif op is ops.CHUNK:
        per = -(-size // call.plain("chunks"))
        sizes = [min(per, size - at) for at in range(0, size, per)]
    else:
        given = call.plain("split_size")
        found = as_ints(given)
        if found is None:
            raise UnfollowedError("its sizes are not known")
        sizes = list(found) if isinstance(given, (tuple, list)) else [min(found[0], size - at) for at in range(0, size, found[0])]
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    whole = (slice(None),) * dim
    parts = [
        _indexed(x, (*whole, start if op is ops.UNBIND else slice(start, start + n)), None)
        for start, n in zip(starts, sizes, strict=True)
    ]

    def pull(gradients: Sequence[Gradient | None]) -> Iterator[Pulled]:
        for g, (_, undo) in zip(gradients, parts, strict=True):
            if g is not None:
                yield from call.back("input", undo(g))

    return Step(tuple(value for value, _ in parts), pull)


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
    value = Value(shape, roles[:dim] + letter + roles[dim:], mean, var, shared, (*near[:dim], 0.0, *near[dim:]))

    def pull(g: Gradient) -> Iterator[Pulled]:
        for place, (node, original) in enumerate(parts):
            if node is None:
                continue
            part = cut(g, dim, place, 1)
            profile = None if part.profile is None else part.profile.squeeze(dim)
            yield (
                Slot(node),
                Gradient(original.shape, part.roles[:dim] + part.roles[dim + 1 :], part.power.squeeze(dim), part.common, part.own, part.near[:dim] + part.near[dim + 1 :], part.centred, profile),
            )

    return Step(value, pull)


@follows(pooling.PAD)
def pad(call: Call) -> Step:
    """Follow padding with zeros: a mixture with zeros."""
    x = call.value()
    shape = call.shape
    inside = 1.0
    for a, b in zip(x.shape, shape, strict=True):
        inside *= min(a / b, 1.0)
    ratio = 1.0
    for a, b in zip(x.shape, shape, strict=True):
        ratio *= b / a
    mode = call.plain("mode", "constant")
    channels = any(a != b and r not in RANDOM for a, b, r in zip(x.shape, shape, x.roles, strict=True))
    if channels:
        raise UnfollowedError("it pads channels")
    if mode != "constant":
        value = replace(x, shape=shape)
    else:
        mean = x.mean * inside
        value = replace(x, shape=shape, mean=mean, var=(x.square * inside - mean.square()).clamp(min=0))

    def pull(g: Gradient) -> Iterator[Pulled]:
        scale = 1.0 if mode == "constant" else ratio
        yield from call.back("input", replace(g, shape=x.shape, power=g.power * scale, centred=g.centred * inside, profile=None))

    return Step(value, pull)


@follows(pooling.PIXEL_SHUFFLE)
def pixel_shuffle(call: Call) -> Step:
    """Follow a pixel shuffle: channels become positions."""
    x = call.value()
    shape = call.shape
    r2 = x.shape[1] // shape[1]

    def coarse(moments: torch.Tensor) -> torch.Tensor:
        return moments.reshape(1, -1, r2, 1, 1).mean(2) if moments.numel() > 1 else moments

    mean = coarse(x.mean)
    square = coarse(x.square)
    value = Value(shape, "scpp", mean, (square - mean.square()).clamp(min=0), x.shared / r2, x.near)

    def pull(g: Gradient) -> Iterator[Pulled]:
        power = g.power.repeat_interleave(r2, 1) if g.power.numel() > 1 else g.power
        yield from call.back("input", replace(g, shape=x.shape, power=power, profile=None))

    return Step(value, pull)
