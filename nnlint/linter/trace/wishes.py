"""What a call that failed would have needed: other shapes or kinds of its arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.linter.graph import Node
from nnlint.linter.operators import arithmetic, loss, moving
from nnlint.linter.operators import linear as lin
from nnlint.linter.operators import normalisation as norm
from nnlint.linter.operators.base import Family
from nnlint.linter.trace.arguments import Kind
from nnlint.linter.trace.hints import FEATURES, IMAGE, LENGTH

Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What one argument of a call should be.

    Attributes:
        node: The argument as it was.
        shape: The shape that would fit, None where only the kind matters.
        kind: The kind that would fit, None where it may stay.
        high: Integers must lie below this.
        state: A recurrent layer whose state is wanted.
        fill: The value that every element should have.
    """

    node: Node
    shape: Sizes | None = None
    kind: Kind | None = None
    high: int | None = None
    state: Any = None
    fill: int | None = None


def wishes(node: Node, error: Exception, batch: int) -> Iterator[Wish]:
    """Yield what would have made a call succeed, the likeliest first.

    Args:
        node: The call, with its arguments as they were.
        error: What it raised.
        batch: The batch of the run.
    """
    found = [*_by_call(node, str(error), batch), *_by_pair(node, batch)]
    yield from found
    value = node.args.get("input")
    if not isinstance(value, Node) or value.info.shape is None:
        return
    if all(wish.shape is None for wish in found):
        yield from _by_message(value, str(error), batch)


def needed(node: Node) -> int | None:
    """Return how many values a call needs, in the last dimension or for each sample."""
    weight = node.parameter("weight")
    if node.op is lin.LINEAR and weight is not None:
        return int(weight.shape[-1])
    if node.op is lin.MATMUL and misfit(node) is None:
        other = node.args.get("other")
        shape = other.info.shape if isinstance(other, Node) else None
        return None if not shape else shape[-2] if len(shape) > 1 else shape[0]
    if node.op is moving.VIEW and (sizes := _flat(node.args.get("shape"))):
        fixed = is_fixed(node)
        return math.prod(size for size in sizes[0 if fixed else 1 :] if size > 0)
    found = misfit(node)
    return None if found is None else found[2]


def misfit(node: Node) -> tuple[Node, int, int] | None:
    """Find the one dimension in which a value does not fit one that parameters alone make.

    Returns:
        The value, the dimension, and the size that it should have.
    """
    parts = [n for n in _nodes(list(node.args.values())) if n.info.shape]
    if len(parts) != 2 or not (node.op is lin.MATMUL or node.family(Family.ELEMENTWISE)):
        return None
    last = 2 if node.op is lin.MATMUL else 0  # a product's last two dimensions are no batch
    for value, fixed in (parts, parts[::-1]):
        found, wanted = value.info.shape or (), fixed.info.shape or ()
        wrong = [
            i
            for i, (f, w) in enumerate(zip(found[::-1], wanted[::-1], strict=False), start=1)
            if i > last and f != w and 1 not in (f, w)
        ]
        if len(wrong) == 1 and _is_constant(fixed) and not _is_constant(value):
            return value, len(found) - wrong[0], wanted[-wrong[0]]
    return None


def _is_constant(node: Node) -> bool:
    """Tell whether no input goes into a value."""
    queue, seen = [node], {node}
    while queue:
        current = queue.pop()
        if current.kind == "input":
            return False
        fresh = [source for source in current.inputs if source not in seen]
        seen.update(fresh)
        queue += fresh
    return True


def is_fixed(node: Node) -> bool:
    """Tell whether a view leaves no size open."""
    sizes = _flat(node.args.get("shape"))
    return bool(sizes) and all(size > 0 for size in sizes)


def _by_call(node: Node, text: str, batch: int) -> Iterator[Wish]:
    value = node.args.get("input")
    if not isinstance(value, Node) or value.info.shape is None:
        return
    yield from _kinds(node, value, text)
    weight = node.parameter("weight")
    if node.op in lin.CONVOLUTIONS or node.op in lin.TRANSPOSED_CONVOLUTIONS:
        if weight is not None:
            yield from _convolution(node, value, tuple(weight.shape), batch)
    elif node.op is lin.LINEAR and weight is not None:
        yield from _features(value, int(weight.shape[-1]), batch)
    elif node.family(Family.NORM) and node.module is not None:
        yield from _normalised(node, value, batch)
    elif node.family(Family.RECURRENT) and node.module is not None:
        yield from _recurrent(node, value, batch)
    elif node.op is moving.VIEW:
        yield from _elements(node, value, batch)
    elif node.op is moving.GETITEM:
        yield from _indexed(node, value, text)
    elif node.op is moving.SPLIT:
        yield from _split(node, value)
    elif node.op is moving.PERMUTE:
        yield from _ranked(value, len(_flat(node.args.get("dims"))), batch)
    elif node.family(Family.LOSS):
        yield from _target(node, value)
    elif node.family(Family.POOL):
        yield from _pooled(node, value, batch)


def _by_pair(node: Node, batch: int) -> Iterator[Wish]:
    """Calls whose arguments must fit each other."""
    if node.name == "_pack_padded_sequence":
        yield from _packed(node)
    elif node.family(Family.RECURRENT) and isinstance(node.args.get("input"), tuple):
        for part in node.inputs[:1]:
            if part.input is not None and part.input.name == "_pack_padded_sequence":
                yield from _packed(part.input)
    yield from _attended(node, batch)
    if node.op is lin.MATMUL or node.op is lin.ADDMM:
        yield from _multiplied(node, batch)
    elif node.op in (moving.CAT, moving.STACK):
        yield from _joined(node, node.args.get("input"))
    elif node.family(Family.ELEMENTWISE, Family.COMPARE):
        yield from _broadcast(node)


def _kinds(node: Node, value: Node, text: str) -> Iterator[Wish]:
    if node.op in (lin.EMBEDDING, lin.EMBEDDING_BAG):
        weight = node.parameter("weight")
        high = int(weight.shape[0]) if weight is not None else None
        shape = value.info.shape
        if value.info.kind != "int" and shape is not None and len(shape) > 2:
            yield Wish(value, shape[:2], "int", high)
        yield Wish(value, None, "int", high)
        if "out of range" in text:
            # Something was added to the indices, or they count from another number.
            yield Wish(value, None, "int", 2)
            yield Wish(value, None, "int", 1)
        if node.op is lin.EMBEDDING_BAG and shape is not None:
            yield Wish(value, (shape[0], LENGTH), "int", high)
    elif re.search(r"Long|indices|index|integer|Int\b", text) and value.info.kind == "float":
        for argument in node.inputs:
            if argument.info.kind == "float":
                yield Wish(argument, None, "int")
    if value.info.kind != "float" and re.search(
        r"Float|float|same dtype|not implemented for|Long", text
    ):
        yield Wish(value, None, "float")


def _convolution(node: Node, value: Node, weight: Sizes, batch: int) -> Iterator[Wish]:
    shape = value.info.shape or ()
    rank = len(weight) - 2
    groups = node.arg("groups", 1)
    transposed = node.op in lin.TRANSPOSED_CONVOLUTIONS
    channels = weight[0] if transposed else weight[1] * (groups if isinstance(groups, int) else 1)
    if len(shape) != rank + 2:
        space = {1: (LENGTH * 2,), 2: (IMAGE, IMAGE), 3: (16, IMAGE, IMAGE)}.get(rank, ())
        yield Wish(value, (shape[0] if shape else batch, channels, *space), "float")
    elif shape[1] != channels:
        yield Wish(value, (shape[0], channels, *shape[2:]))
        if rank == 1 and shape[2] == channels:
            yield Wish(value, (shape[0], channels, shape[1]))
    else:
        yield from _larger(value, batch)


def _larger(value: Node, batch: int) -> Iterator[Wish]:
    shape = value.info.shape or ()
    for factor in (2, 4, 8):
        yield Wish(value, tuple(s if i < 2 else s * factor for i, s in enumerate(shape)))
    if shape and shape[0] == 1 == batch:
        yield Wish(value, (2, *shape[1:]))


def _features(value: Node, features: int, batch: int) -> Iterator[Wish]:
    shape = value.info.shape or (batch, 1)
    if shape[-1:] != (features,):
        yield Wish(value, (*shape[:-1], features) if shape else (batch, features), "float")


def _normalised(node: Node, value: Node, batch: int) -> Iterator[Wish]:
    shape, module = value.info.shape or (), node.module
    if node.op is norm.LAYER_NORM:
        sizes = tuple(getattr(module, "normalized_shape", ()))
        yield Wish(value, (*shape[: max(1, len(shape) - len(sizes))], *sizes), "float")
        return
    channels = getattr(module, "num_features", getattr(module, "num_channels", None))
    name = type(module).__name__
    ranks = {"1d": (2, 3), "2d": (4,), "3d": (5,)}.get(name[-2:], ())
    if ranks and len(shape) not in ranks:
        yield from _ranked(value, ranks[0], batch)
    elif isinstance(channels, int) and len(shape) > 1 and shape[1] != channels:
        yield Wish(value, (shape[0], channels, *shape[2:]))
    else:
        yield from _larger(value, batch)


def _recurrent(node: Node, value: Node, batch: int) -> Iterator[Wish]:
    module: Any = node.module
    shape = value.info.shape or ()
    features = module.input_size
    wanted = 2 if node.op is lin.RNN_CELL else 3
    state = node.args.get("hx")
    if len(shape) == wanted and shape[-1] == features:
        if wanted == 3 and not module.batch_first and shape[0] == batch != shape[1]:
            yield Wish(value, (shape[1], batch, features))
        for given in _nodes(state):
            yield Wish(given, state=module)
        return
    if wanted == 2:
        yield Wish(value, (batch, features), "float")
    elif module.batch_first:
        yield Wish(value, (batch, LENGTH, features), "float")
    else:
        yield Wish(value, (LENGTH, batch, features), "float")
        yield Wish(value, (batch, LENGTH, features), "float")
    if len(shape) > 1:
        yield Wish(value, (*shape[:-1], features), "float")


def _packed(node: Node) -> Iterator[Wish]:
    """A packed sequence has one length for each sample, none of them zero or too long."""
    value, *rest = _nodes(list(node.args.values()))
    shape = value.info.shape or ()
    if not rest or len(shape) < 2:
        return
    lengths, first = rest[0], any(v is True for v in node.args.values())
    time, batch = shape[:2][::-1] if first else shape[:2]
    if (lengths.info.shape or (0,))[0] == time != batch:
        yield Wish(value, (shape[1], shape[0], *shape[2:]))
    yield Wish(lengths, (batch,), "int", fill=time)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _nodes(item)


def _attended(node: Node, batch: int) -> Iterator[Wish]:
    if not node.family(Family.ATTENTION) or node.module is None:
        return
    layers = (node.module, *node.module.modules())
    width = next((w for m in layers if isinstance(w := getattr(m, "embed_dim", None), int)), None)
    first = any(getattr(m, "batch_first", False) is True for m in layers)
    if width is None:
        return
    shape = (batch, LENGTH, width) if first else (LENGTH, batch, width)
    for argument in dict.fromkeys(_nodes(list(node.args.values()))):
        found = argument.info.shape
        if argument.info.kind != "bool" and found is not None and found[-1:] != (width,):
            yield Wish(argument, (*found[:-1], width) if len(found) == 3 else shape, "float")


def _flat(value: Any) -> Sizes:
    if isinstance(value, (tuple, list)) and len(value) == 1 and isinstance(value[0], (tuple, list)):
        value = value[0]
    if isinstance(value, int):
        return (value,)
    return tuple(v for v in value if isinstance(v, int)) if isinstance(value, (tuple, list)) else ()


def _elements(node: Node, value: Node, batch: int) -> Iterator[Wish]:
    """The sizes that a view spells out tell what it was meant for."""
    sizes, shape = _flat(node.args.get("shape")), value.info.shape or ()
    if len(sizes) < 2 or not shape:
        return
    if all(size > 0 for size in sizes[1:]):
        yield Wish(value, (sizes[0] if sizes[0] > 0 else batch, *sizes[1:]))
    if len(shape) <= 2:
        yield Wish(value, (*shape[:1], math.prod(size for size in sizes[1:] if size > 0)))


def _indexed(node: Node, value: Node, text: str) -> Iterator[Wish]:
    shape, index = value.info.shape or (), node.args.get("index")
    if "too many indices" in text and isinstance(index, tuple):
        used = sum(i is not None and i is not Ellipsis for i in index)
        yield from _ranked(value, used, shape[0] if shape else 1)
    for argument in _nodes(index):
        if argument.info.kind == "float":
            yield Wish(argument, None, "int")
        elif argument.info.kind == "bool" and argument.info.shape:
            # A mask has the sizes of what it is a mask for.
            mask = argument.info.shape
            yield Wish(argument, (*shape[: len(mask)], *mask[len(shape) :]))
    if "out of bounds" in text:
        places = index if isinstance(index, tuple) else (index,)
        needed = list(shape)
        for i, place in enumerate(places[: len(shape)]):
            if isinstance(place, int) and not -needed[i] <= place < needed[i]:
                needed[i] = place + 1 if place >= 0 else -place
        if tuple(needed) != shape:
            yield Wish(value, tuple(needed))
        for argument in _nodes(index):
            yield Wish(argument, None, "int", 2)


def _split(node: Node, value: Node) -> Iterator[Wish]:
    sizes, shape = _flat(node.args.get("split_size")), list(value.info.shape or ())
    dim = node.arg("dim", 0)
    if len(sizes) > 1 and isinstance(dim, int) and -len(shape) <= dim < len(shape):
        shape[dim] = sum(sizes)
        yield Wish(value, tuple(shape))


def _ranked(value: Node, rank: int, batch: int) -> Iterator[Wish]:
    """More dimensions between the batch and the features, or fewer."""
    shape = value.info.shape or (batch,)
    if rank < 1 or rank == len(shape):
        return
    if rank < len(shape):
        yield Wish(value, (*shape[: rank - 1], shape[-1]))
        yield Wish(value, shape[:rank])
    elif rank == 4 and len(shape) < 4:
        channels = shape[1] if len(shape) > 1 else 3
        yield Wish(value, (shape[0], 3, IMAGE, IMAGE))
        yield Wish(value, (shape[0], channels, IMAGE, IMAGE))
    else:
        extra = (LENGTH,) * (rank - len(shape))
        yield Wish(value, (*shape[:1], *extra, *(shape[1:] or ())))
        yield Wish(value, (*shape, *extra))


def _target(node: Node, value: Node) -> Iterator[Wish]:
    target, shape = node.args.get("target"), value.info.shape or ()
    if not isinstance(target, Node):
        return
    if node.op in (loss.CROSS_ENTROPY, loss.NLL_LOSS):
        high = shape[1] if len(shape) > 1 else 2
        yield Wish(target, (*shape[:1], *shape[2:]), "int", high)
        if len(shape) == 1:
            yield Wish(value, (*shape, FEATURES), "float")
    else:
        yield Wish(target, shape, "float")


def _pooled(node: Node, value: Node, batch: int) -> Iterator[Wish]:
    name = type(node.module).__name__ if node.module is not None else node.name
    rank = next((r for r in (1, 2, 3) if f"{r}d" in name), 2)
    if len(value.info.shape or ()) not in (rank + 1, rank + 2):
        yield from _ranked(value, rank + 2, batch)
    else:
        yield from _larger(value, batch)


def _multiplied(node: Node, batch: int) -> Iterator[Wish]:
    a, b = (
        list(_nodes(list(node.args.values())))[-2:] or (None, None) if _two(node) else (None, None)
    )
    if a is None or b is None or a.info.shape is None or b.info.shape is None:
        return
    left, right = a.info.shape, b.info.shape
    rank = {"bmm": 3, "baddbmm": 3, "mm": 2, "addmm": 2}.get(node.name)
    for value, shape in ((a, left), (b, right)):
        if rank is not None and len(shape) != rank:
            yield from _ranked(value, rank, batch)
    if not left or not right:
        return
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        yield Wish(a, (*left[:-1], inner))
        changed = (*right[:-2], left[-1], right[-1]) if len(right) > 1 else (left[-1],)
        yield Wish(b, changed)
    elif len(left) > 2 and len(right) > 2 and left[:-2] != right[:-2]:
        yield Wish(b, (*left[:-2], *right[-2:]))
        yield Wish(a, (*right[:-2], *left[-2:]))


def _two(node: Node) -> bool:
    return len(list(_nodes(list(node.args.values())))) > 1


def _joined(node: Node, value: Any) -> Iterator[Wish]:
    dim = node.arg("dim", 0)
    for part, found, shape in _unlike([n for n in _nodes(value) if n.info.shape is not None]):
        inside = isinstance(dim, int) and -len(shape) <= dim < len(shape)
        if len(found) != len(shape) or not inside:
            yield Wish(part, shape)
            continue
        place = dim % len(shape)
        fitted = (*shape[:place], found[place], *shape[place + 1 :])
        if fitted != found:
            yield Wish(part, fitted)


def _unlike(parts: Sequence[Node]) -> Iterator[tuple[Node, tuple[int, ...], tuple[int, ...]]]:
    """Yield each value with its shape and that of another one that it may have to be like."""
    for wanted in parts:
        shape = wanted.info.shape or ()
        for part in parts:
            found = part.info.shape or ()
            if part is not wanted and found != shape:
                yield part, found, shape


def _broadcast(node: Node) -> Iterator[Wish]:
    parts = [n for n in _nodes(list(node.args.values())) if n.info.shape is not None]
    if node.op is arithmetic.MASKED_FILL:
        for mask in parts[1:2]:
            yield Wish(mask, parts[0].info.shape, "bool")
            yield Wish(mask, None, "bool")
    for part, found, shape in _unlike(parts):
        if len(found) == len(shape):
            fitted = tuple(
                w if f != w and 1 not in (f, w) else f for f, w in zip(found, shape, strict=True)
            )
            if fitted != found:
                yield Wish(part, fitted)
        elif len(found) > len(shape):
            # Sizes are compared from the last one on.
            yield Wish(part, (*found[: len(found) - len(shape)], *shape))
        yield Wish(part, shape)


_DIMENSION = re.compile(r"expected to be in range of \[-(\d+), \d+\], but got (-?\d+)")
_SMALL = re.compile(
    "too small|should be less than|greater than (actual|zero)|more than 1 value"
    "|must match (except|the size)|should not be zero"
)
_EXPECTED = re.compile(r"[Ee]xpected (\d)D|(\d)D (?:or \dD )?(?:\([^)]*\) )?tensor")


def _by_message(value: Node, text: str, batch: int) -> Iterator[Wish]:
    """Follow what torch says of dimensions, whichever call it was."""
    if found := _DIMENSION.search(text):
        dim = int(found[2])
        yield from _ranked(value, dim + 1 if dim >= 0 else -dim, batch)
    elif found := _EXPECTED.search(text):
        yield from _ranked(value, int(found[1] or found[2]), batch)
    elif _SMALL.search(text):
        yield from _larger(value, batch)
