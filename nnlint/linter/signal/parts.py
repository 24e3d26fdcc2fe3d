"""Parts of values: what is taken out of a value by an index, a slice or a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import moving as ops
from nnlint.linter.operators.shapes import as_ints, axis
from nnlint.linter.signal.base import Call, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import RANDOM, Gradient, Value, even, numbers


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
        profile = torch.zeros(
            [size if d == dim else 1 for d in range(len(x.shape))], dtype=torch.float64
        )
        before = g.profile
        source: Any = 1.0
        if before is not None:
            grid = [size if d == dim else before.shape[d] for d in range(len(x.shape))]
            profile = torch.zeros(grid, dtype=torch.float64)
            source = before
        profile.index_copy_(
            dim,
            places,
            torch.as_tensor(source, dtype=torch.float64)
            .expand(
                [places.numel() if d == dim else profile.shape[d] for d in range(profile.dim())]
            )
            .contiguous(),
        )
        profile = profile / used if used > 0 else profile
        return replace(
            g,
            shape=x.shape,
            power=g.power * used,
            common=g.common * used,
            own=g.own * used if g.shape[dim] > 1 else 0.0,
            centred=0.0,
            profile=profile if used < 1 else g.profile,
        )
    wide = [places.numel() if d == dim else s for d, s in enumerate(g.power.shape)]
    power = torch.zeros(
        [size if d == dim else s for d, s in enumerate(g.power.shape)], dtype=torch.float64
    )
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


def _pasted_at(g: Gradient, *, x: Value, dim: int, places: torch.Tensor) -> Gradient:
    return pasted(g, x, dim, places)


Undo = Callable[[Gradient], Gradient]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Dimensions that are left out of a value, and new ones of size 1 that are put in.

    Attributes:
        kept: Those of before that stay.
        added: Places of the new ones among those of after.
        rank: Number of dimensions before.
    """

    kept: Sequence[int]
    added: Sequence[int]
    rank: int

    def after(self, items: Sequence[Any], fill: Any) -> list[Any]:
        """Arrange what there is for each dimension."""
        result = [items[d] for d in self.kept]
        for place in self.added:
            result.insert(place, fill)
        return result

    def before(self, items: Sequence[Any], fill: Any) -> list[Any]:
        """Take an arrangement back."""
        result = [fill] * self.rank
        left = [item for d, item in enumerate(items) if d not in self.added]
        for d, item in zip(self.kept, left, strict=True):
            result[d] = item
        return result

    def value(self, x: Value) -> Value:
        """Arrange the dimensions of a value."""

        def shaped(moments: torch.Tensor) -> torch.Tensor:
            return moments.reshape(self.after(moments.shape, 1))

        return Value(
            tuple(self.after(x.shape, 1)),
            "".join(self.after(x.roles, "." if x.constant else "p")),
            shaped(x.mean),
            shaped(x.var),
            x.shared,
            tuple(self.after(x.near, 0.0)),
            None if x.profile is None else shaped(x.profile),
        )

    def gradient(self, g: Gradient, x: Value) -> Gradient:
        """Return the gradient of a value from that of the arranged one."""

        def shaped(moments: torch.Tensor) -> torch.Tensor:
            return moments.reshape(self.before(moments.shape, 1))

        return replace(
            g,
            shape=x.shape,
            roles=x.roles,
            power=shaped(g.power),
            near=tuple(self.before(g.near, 0.0)),
            profile=None if g.profile is None else shaped(g.profile),
        )


def _items(index: Any, rank: int) -> list[Any]:
    """Return an index with an item for each dimension: the ellipsis and what is left out filled."""
    items = list(index) if isinstance(index, tuple) else [index]
    given = sum(1 for item in items if item is not None and item is not Ellipsis)
    full: list[Any] = []
    for item in items:
        full += [slice(None)] * (rank - given) if item is Ellipsis else [item]
    return full + [slice(None)] * (rank - sum(1 for item in full if item is not None))


def _indexed(x: Value, index: Any) -> tuple[Value, Undo]:
    """Follow x[index] for slices, integers, None, an ellipsis, and constant index tensors."""
    undo: list[Undo] = []
    kept: list[int] = []
    added: list[int] = []
    middle, dim = x, 0
    for item in _items(index, len(x.shape)):
        if item is None:
            added.append(len(kept) + len(added))
            continue
        if not isinstance(item, int):
            kept.append(dim)
        places = _places(item, middle.shape[dim])
        if places is not None:
            undo.append(partial(_pasted_at, x=middle, dim=dim, places=places))
            middle = picked(middle, dim, places)
        dim += 1
    arrangement = Arrangement(kept, added, len(x.shape))

    def back(g: Gradient) -> Gradient:
        g = arrangement.gradient(g, middle)
        for step in reversed(undo):
            g = step(g)
        return g

    return arrangement.value(middle), back


def _places(item: Any, size: int) -> torch.Tensor | None:
    """Return the places along a dimension that an index stands for, None for all."""
    if isinstance(item, slice):
        return None if item == slice(None) else torch.arange(size)[_plain_slice(item)]
    if isinstance(item, int) and not isinstance(item, bool):
        return torch.tensor([item % size if size else 0])
    if isinstance(item, torch.Tensor) and item.dtype == torch.int64 and item.dim() == 1:
        return item
    raise UnfollowedError("its index is only known when the model runs")


def _plain_slice(item: slice) -> slice:
    def number(part: Any) -> int | None:
        if isinstance(part, Node):
            part = part.value
        if part is not None and not isinstance(part, int):
            raise UnfollowedError("its index is only known when the model runs")
        return part

    return slice(number(item.start), number(item.stop), number(item.step))


def _plain_index(index: Any) -> Any:
    def one(item: Any) -> Any:
        if isinstance(item, Node):
            if item.value is not None:
                return item.value
            if item.tensor is not None:
                return item.tensor
            raise UnfollowedError("its index is only known when the model runs")
        return item

    if isinstance(index, (tuple, list)):
        return tuple(one(i) for i in index)
    return one(index)


@follows(ops.GETITEM)
def getitem(call: Call) -> Step:
    """Follow x[...]: one of several results, or a part of a value."""
    content = call.content()
    index = _plain_index(call.node.args.get("index"))
    source = call.source()
    if isinstance(content, tuple):
        if not isinstance(index, int) or not -len(content) <= index < len(content):
            raise UnfollowedError("its index is not known")
        place = index % len(content)

        def pull_one(g: Any) -> Iterator[Pulled]:
            if source is not None:
                yield Slot(source, place), g

        return Step(content[place], pull_one)
    if isinstance(index, torch.Tensor) and content.constant and index.dtype == torch.int64:
        return _table(call, content, index)
    value, undo = _indexed(content, index)

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
        index = _plain_index(call.node.args.get("index"))
    value, undo = _indexed(x, (*[slice(None)] * dim, index))

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
        sizes = (
            list(found)
            if isinstance(given, (tuple, list))
            else [min(found[0], size - at) for at in range(0, size, found[0])]
        )
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    whole = (slice(None),) * dim
    parts = [
        _indexed(x, (*whole, start if op is ops.UNBIND else slice(start, start + n)))
        for start, n in zip(starts, sizes, strict=True)
    ]

    def pull(gradients: Sequence[Gradient | None]) -> Iterator[Pulled]:
        for g, (_, undo) in zip(gradients, parts, strict=True):
            if g is not None:
                yield from call.back("input", undo(g))

    return Step(tuple(value for value, _ in parts), pull)
