"""Shape rules of the operators that move, join, split, select and reduce values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnlint.linter.operators.shapes import (
    UNKNOWN,
    Call,
    ShapeError,
    ShapeRule,
    Sizes,
    Tensor,
    Unknown,
    as_ints,
    axes,
    axis,
    broadcast_shapes,
)


def _sizes(call: Call, name: str) -> Sizes | None:
    """Read sizes passed either as one sequence or as several integers."""
    value = call.get(name)
    if isinstance(value, (tuple, list)) and len(value) == 1 and isinstance(value[0], (tuple, list)):
        value = value[0]
    return as_ints(value)


def view(call: Call) -> Any:
    """Rearrange all elements into new sizes, one of which may be -1."""
    tensor, sizes = call.tensor(), _sizes(call, "shape")
    if sizes is None:
        return Tensor(None, tensor.kind)
    return Tensor(fill_in(tensor.shape, sizes), tensor.kind)


def fill_in(shape: Sizes | None, sizes: Sizes) -> Sizes | None:
    """Replace a -1 among sizes by what the number of elements demands.

    Raises:
        ShapeError: The elements cannot be arranged so.
    """
    if shape is None:
        return sizes if -1 not in sizes else None
    total, known = math.prod(shape), math.prod(s for s in sizes if s != -1)
    fits = total % known == 0 if -1 in sizes and known else total == known
    if not fits:
        raise ShapeError(
            f"cannot arrange {list(shape)} ({total} elements) as {list(sizes)}",
            got=shape,
            expected=f"a multiple of {known} elements" if -1 in sizes else f"{known} elements",
        )
    return tuple(total // known if s == -1 and known else s for s in sizes)


def flatten(call: Call) -> Any:
    """Join the dimensions from start_dim to end_dim."""
    tensor = call.tensor()
    if tensor.shape is None:
        return tensor
    rank = len(tensor.shape)
    start = axis(call.get("start_dim", 0), rank)
    end = axis(call.get("end_dim", -1), rank)
    if start is None or end is None:
        return Tensor(None, tensor.kind)
    joined = math.prod(tensor.shape[start : end + 1])
    return Tensor((*tensor.shape[:start], joined, *tensor.shape[end + 1 :]), tensor.kind)


def unflatten(call: Call) -> Any:
    """Split one dimension into several."""
    tensor, sizes = call.tensor(), as_ints(call.get("sizes", call.get("unflattened_size")))
    if tensor.shape is None or sizes is None:
        return Tensor(None, tensor.kind)
    place = axis(call.get("dim"), len(tensor.shape))
    if place is None:
        return Tensor(None, tensor.kind)
    parts = fill_in((tensor.shape[place],), sizes)
    return Tensor((*tensor.shape[:place], *(parts or ()), *tensor.shape[place + 1 :]), tensor.kind)


def permute(call: Call) -> Any:
    """Reorder all dimensions."""
    tensor = call.tensor()
    if tensor.shape is None:
        return tensor
    order = _sizes(call, "dims")
    placed = None if order is None else axes(order, len(tensor.shape))
    if placed is None or len(placed) != len(tensor.shape):
        return Tensor(None, tensor.kind)
    return Tensor(tuple(tensor.shape[d] for d in placed), tensor.kind)


def transpose(call: Call) -> Any:
    """Swap two dimensions."""
    tensor = call.tensor()
    if tensor.shape is None:
        return tensor
    rank = len(tensor.shape)
    a, b = axis(call.get("dim0"), rank), axis(call.get("dim1"), rank)
    if a is None or b is None:
        return Tensor(None, tensor.kind)
    sizes = list(tensor.shape)
    sizes[a], sizes[b] = sizes[b], sizes[a]
    return Tensor(tuple(sizes), tensor.kind)


def reverse_dims(call: Call) -> Any:
    """Reverse the dimensions (x.T and x.t())."""
    tensor = call.tensor()
    return Tensor(None if tensor.shape is None else tensor.shape[::-1], tensor.kind)


def swap_last(call: Call) -> Any:
    """Swap the last two dimensions (x.mT)."""
    return transpose(Call({"input": call.tensor(), "dim0": -1, "dim1": -2}))


def squeeze(call: Call) -> Any:
    """Drop dimensions of size 1."""
    tensor, dim = call.tensor(), call.get("dim")
    if tensor.shape is None:
        return tensor
    rank = len(tensor.shape)
    chosen = tuple(range(rank)) if dim is None else axes(dim, rank)
    if chosen is None:
        return Tensor(None, tensor.kind)
    kept = tuple(s for i, s in enumerate(tensor.shape) if s != 1 or i not in chosen)
    return Tensor(kept, tensor.kind)


def unsqueeze(call: Call) -> Any:
    """Insert a dimension of size 1."""
    tensor = call.tensor()
    place = None if tensor.shape is None else axis(call.get("dim"), len(tensor.shape) + 1)
    if tensor.shape is None or place is None:
        return Tensor(None, tensor.kind)
    return Tensor((*tensor.shape[:place], 1, *tensor.shape[place:]), tensor.kind)


def expand(call: Call) -> Any:
    """Broadcast to given sizes, -1 keeping one."""
    tensor, sizes = call.tensor(), _sizes(call, "sizes")
    if tensor.shape is None or sizes is None or len(sizes) < len(tensor.shape):
        return Tensor(None, tensor.kind)
    old = (1,) * (len(sizes) - len(tensor.shape)) + tensor.shape
    return Tensor(tuple(o if s == -1 else s for o, s in zip(old, sizes, strict=True)), tensor.kind)


def expand_as(call: Call) -> Any:
    """Take the shape of the other tensor."""
    return Tensor(call.shape("other"), call.tensor().kind)


def view_as(call: Call) -> Any:
    """Rearrange into the shape of the other tensor."""
    return Tensor(call.shape("other"), call.tensor().kind)


def repeat(call: Call) -> Any:
    """Multiply each dimension."""
    tensor, counts = call.tensor(), _sizes(call, "repeats")
    if tensor.shape is None or counts is None or len(counts) < len(tensor.shape):
        return Tensor(None, tensor.kind)
    old = (1,) * (len(counts) - len(tensor.shape)) + tensor.shape
    return Tensor(tuple(o * c for o, c in zip(old, counts, strict=True)), tensor.kind)


def _tensors(value: Any) -> list[Tensor] | None:
    if not isinstance(value, (list, tuple)) or not value:
        return None
    return [v if isinstance(v, Tensor) else Tensor() for v in value]


def cat(call: Call) -> Any:
    """Join tensors along a dimension."""
    parts = _tensors(call.get("input"))
    if parts is None or any(p.shape is None for p in parts):
        return Tensor(None, parts[0].kind if parts else None)
    shapes = [p.shape for p in parts if p.shape is not None and p.shape != (0,)]
    if not shapes:
        return Tensor(None, parts[0].kind)
    place = axis(call.get("dim", 0), len(shapes[0]))
    if place is None or any(len(s) != len(shapes[0]) for s in shapes):
        return Tensor(None, parts[0].kind)
    for shape in shapes[1:]:
        if any(a != b for i, (a, b) in enumerate(zip(shapes[0], shape, strict=True)) if i != place):
            raise ShapeError(
                f"cannot concatenate {list(shapes[0])} and {list(shape)} along dimension {place}",
                got=shape,
                expected=f"the sizes of {list(shapes[0])} outside dimension {place}",
            )
    joined = sum(s[place] for s in shapes)
    return Tensor((*shapes[0][:place], joined, *shapes[0][place + 1 :]), parts[0].kind)


def stack(call: Call) -> Any:
    """Join tensors along a new dimension."""
    parts = _tensors(call.get("input"))
    if parts is None or parts[0].shape is None:
        return Tensor()
    place = axis(call.get("dim", 0), len(parts[0].shape) + 1)
    if place is None:
        return Tensor(None, parts[0].kind)
    shape = parts[0].shape
    return Tensor((*shape[:place], len(parts), *shape[place:]), parts[0].kind)


def split(call: Call) -> Any:
    """Cut a dimension into pieces of a size or of given sizes."""
    tensor, size = call.tensor(), call.get("split_size")
    place = None if tensor.shape is None else axis(call.get("dim", 0), len(tensor.shape))
    sizes = as_ints(size)
    if tensor.shape is None or place is None or sizes is None or not all(s > 0 for s in sizes):
        return UNKNOWN
    total = tensor.shape[place]
    if isinstance(size, int):
        sizes = tuple(min(size, total - i) for i in range(0, total, size))
    elif sum(sizes) != total:
        raise ShapeError(
            f"cannot split {total} into {list(sizes)}", got=tensor.shape, expected=f"{sum(sizes)}"
        )
    shape = tensor.shape
    return tuple(Tensor((*shape[:place], s, *shape[place + 1 :]), tensor.kind) for s in sizes)


def chunk(call: Call) -> Any:
    """Cut a dimension into a number of pieces."""
    tensor, count = call.tensor(), call.get("chunks")
    place = None if tensor.shape is None else axis(call.get("dim", 0), len(tensor.shape))
    if tensor.shape is None or place is None or not isinstance(count, int) or count < 1:
        return UNKNOWN
    size = max(-(-tensor.shape[place] // count), 1)
    return split(Call({"input": tensor, "split_size": size, "dim": place}))


def unbind(call: Call) -> Any:
    """Take a dimension apart."""
    tensor = call.tensor()
    place = None if tensor.shape is None else axis(call.get("dim", 0), len(tensor.shape))
    if tensor.shape is None or place is None:
        return UNKNOWN
    rest = Tensor((*tensor.shape[:place], *tensor.shape[place + 1 :]), tensor.kind)
    return (rest,) * tensor.shape[place]


def select(call: Call) -> Any:
    """Drop one dimension."""
    tensor = call.tensor()
    place = None if tensor.shape is None else axis(call.get("dim"), len(tensor.shape))
    if tensor.shape is None or place is None:
        return Tensor(None, tensor.kind)
    return Tensor((*tensor.shape[:place], *tensor.shape[place + 1 :]), tensor.kind)


def narrow(call: Call) -> Any:
    """Cut one dimension to a length."""
    tensor, length = call.tensor(), call.get("length")
    place = None if tensor.shape is None else axis(call.get("dim"), len(tensor.shape))
    if tensor.shape is None or place is None or not isinstance(length, int):
        return Tensor(None, tensor.kind)
    return Tensor((*tensor.shape[:place], length, *tensor.shape[place + 1 :]), tensor.kind)


def slice_(call: Call) -> Any:
    """Follow aten.slice(input, dim, start, end, step)."""
    tensor = call.tensor()
    place = None if tensor.shape is None else axis(call.get("dim", 0), len(tensor.shape))
    start, end, step = call.get("start"), call.get("end"), call.get("step", 1)
    if tensor.shape is None or place is None or not isinstance(step, int):
        return Tensor(None, tensor.kind)
    if not all(v is None or isinstance(v, int) for v in (start, end)):
        return Tensor(None, tensor.kind)
    length = len(range(*slice(start, end, step).indices(tensor.shape[place])))
    return Tensor((*tensor.shape[:place], length, *tensor.shape[place + 1 :]), tensor.kind)


def getitem(call: Call) -> Any:
    """Index a tensor or a Python container."""
    container, index = call.get("input"), call.get("index")
    if not isinstance(container, Tensor):
        if isinstance(container, Unknown) or isinstance(index, (Unknown, Tensor)):
            return UNKNOWN
        try:
            return container[index]
        except (TypeError, KeyError, IndexError):
            return UNKNOWN
    if container.shape is None:
        return Tensor(None, container.kind)
    return Tensor(_index(container.shape, index), container.kind)


def _index(shape: Sizes, index: Any) -> Sizes | None:
    parts: Sequence[Any] = index if isinstance(index, tuple) else (index,)
    consumed = sum(p is not None and p is not Ellipsis for p in parts)
    result: list[int] = []
    position, gathered, gathered_at = 0, [], -1
    for part in parts:
        if part is None:
            result.append(1)
        elif part is Ellipsis:
            skip = len(shape) - consumed
            result.extend(shape[position : position + skip])
            position += skip
        elif position >= len(shape):
            return None
        elif isinstance(part, slice):
            if not all(v is None or isinstance(v, int) for v in (part.start, part.stop, part.step)):
                return None
            result.append(len(range(*part.indices(shape[position]))))
            position += 1
        elif isinstance(part, bool):
            return None
        elif isinstance(part, int):
            position += 1
        elif isinstance(part, Tensor) and part.shape is not None and part.kind == "int":
            gathered_at = len(result) if gathered_at < 0 else gathered_at
            gathered.append(part.shape)
            position += 1
        else:
            return None
    result.extend(shape[position:])
    if gathered:
        result[gathered_at:gathered_at] = broadcast_shapes(*gathered)
    return tuple(result)


def reduce(kind: str = "") -> ShapeRule:
    """Return the rule of a reduction over `dim` (all dimensions where it is None)."""

    def rule(call: Call) -> Any:
        tensor, dim = call.tensor(), call.get("dim")
        result_kind: Any = kind or tensor.kind
        keep = bool(call.get("keepdim", False))
        if dim is None or dim in ((), []):
            if tensor.shape is not None and keep:
                return Tensor((1,) * len(tensor.shape), result_kind)
            return Tensor((), result_kind)
        chosen = None if tensor.shape is None else axes(dim, len(tensor.shape))
        if tensor.shape is None or chosen is None:
            return Tensor(None, result_kind)
        if keep:
            shape = tuple(1 if i in chosen else s for i, s in enumerate(tensor.shape))
        else:
            shape = tuple(s for i, s in enumerate(tensor.shape) if i not in chosen)
        return Tensor(shape, result_kind)

    return rule


def extremum(call: Call) -> Any:
    """Follow torch.max and torch.min: a scalar, a pair along `dim`, or an elementwise one."""
    other = call.get("dim")
    if isinstance(other, Tensor):
        a, b = call.shape(), other.shape
        known = a is not None and b is not None
        return Tensor(
            broadcast_shapes(a, b) if known and a is not None and b is not None else None,
            call.tensor().kind,
        )
    values = reduce()(call)
    return values if other is None else (values, Tensor(values.shape, "int"))


def topk(call: Call) -> Any:
    """Keep `k` values along a dimension, with their indices."""
    tensor, k = call.tensor(), call.get("k")
    place = None if tensor.shape is None else axis(call.get("dim", -1), len(tensor.shape))
    if tensor.shape is None or place is None or not isinstance(k, int):
        return (Tensor(None, tensor.kind), Tensor(None, "int"))
    shape = (*tensor.shape[:place], k, *tensor.shape[place + 1 :])
    return (Tensor(shape, tensor.kind), Tensor(shape, "int"))


def pair_with_indices(call: Call) -> Any:
    """Keep the shape, with indices beside (sort)."""
    return (call.tensor(), Tensor(call.shape(), "int"))


def gather(call: Call) -> Any:
    """Take the shape of the index."""
    return Tensor(call.shape("index"), call.tensor().kind)


def index_select(call: Call) -> Any:
    """Replace one dimension by the length of the index."""
    tensor, index = call.tensor(), call.shape("index")
    place = None if tensor.shape is None else axis(call.get("dim"), len(tensor.shape))
    if tensor.shape is None or place is None or index is None:
        return Tensor(None, tensor.kind)
    count = index[0] if index else 1
    return Tensor((*tensor.shape[:place], count, *tensor.shape[place + 1 :]), tensor.kind)


def size(call: Call) -> Any:
    """Return the sizes as Python integers, or one of them."""
    shape, dim = call.shape(), call.get("dim")
    if shape is None:
        return UNKNOWN
    if dim is None:
        return shape
    place = axis(dim, len(shape))
    return UNKNOWN if place is None else shape[place]


def rank(call: Call) -> Any:
    """Return the number of dimensions."""
    shape = call.shape()
    return UNKNOWN if shape is None else len(shape)


def numel(call: Call) -> Any:
    """Return the number of elements."""
    shape = call.shape()
    return UNKNOWN if shape is None else math.prod(shape)


def length(call: Call) -> Any:
    """Follow len()."""
    value = call.get("input")
    if isinstance(value, Tensor):
        return value.shape[0] if value.shape else UNKNOWN
    return len(value) if isinstance(value, (tuple, list, dict)) else UNKNOWN


def created(kind: str = "float") -> ShapeRule:
    """Return the rule of a factory that takes sizes."""

    def rule(call: Call) -> Any:
        return Tensor(_sizes(call, "size"), kind)  # type: ignore[arg-type] # literals below

    return rule


def arange(call: Call) -> Any:
    """Follow torch.arange for integers."""
    start, end, step = call.get("start"), call.get("end"), call.get("step", 1)
    if end is None:
        start, end = 0, start
    if all(isinstance(v, int) for v in (start, end, step)) and step:
        return Tensor((max(len(range(start, end, step)), 0),), "int")
    return Tensor(None, "int")


def movedim(call: Call) -> Any:
    """Move one dimension to another place."""
    tensor = call.tensor()
    if tensor.shape is None:
        return tensor
    source = axis(call.get("source"), len(tensor.shape))
    target = axis(call.get("destination"), len(tensor.shape))
    if source is None or target is None:
        return Tensor(None, tensor.kind)
    sizes = list(tensor.shape)
    sizes.insert(target, sizes.pop(source))
    return Tensor(tuple(sizes), tensor.kind)
