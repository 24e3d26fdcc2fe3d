"""Shape rules: the shape of a call's result from the shapes of its arguments.

Written out rather than asked of torch: the first operation on torch's meta device imports two
hundred modules and takes over a second, as long as all the rest of a lint run. A rule returns None
where it cannot tell, and raises `ShapeError` only where torch would certainly raise as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["float", "int", "bool"]
Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """The shape and element kind of a tensor; `shape` is None where unknown."""

    shape: Sizes | None = None
    kind: Kind | None = None


class ShapeError(Exception):
    """Sizes that cannot fit.

    Attributes:
        got: Shape of the value that does not fit.
        expected: What the call needs, in words.
    """

    def __init__(self, message: str, *, got: Sizes | None = None, expected: str = "") -> None:
        super().__init__(message)
        self.got = got
        self.expected = expected


class Unknown:
    """A Python value that the propagation could not compute."""


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Call:
    """The bound arguments of one call, nodes replaced by `Tensor`s and plain values.

    Attributes:
        args: Values by parameter name.
        module: The torch.nn module that is called, if any; its attributes back up `args`.
    """

    args: Mapping[str, Any]
    module: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, the module's attribute of that name, or the default."""
        if name in self.args:
            return self.args[name]
        return getattr(self.module, name, default) if self.module is not None else default

    def tensor(self, name: str = "input") -> Tensor:
        """Return a tensor argument; one of unknown shape where it is something else."""
        found = self.get(name)
        if isinstance(found, Tensor):
            return found
        if hasattr(found, "materialize"):  # a lazy layer's parameter has no shape yet
            return Tensor()
        shape = getattr(found, "shape", None)
        if shape is not None and hasattr(found, "is_floating_point"):
            return Tensor(tuple(shape), "float" if found.is_floating_point() else "int")
        return Tensor()

    def shape(self, name: str = "input") -> Sizes | None:
        """Return the shape of a tensor argument, None where unknown."""
        return self.tensor(name).shape


ShapeRule = Callable[[Call], Any]


def as_ints(value: Any) -> Sizes | None:
    """Return a value as a tuple of integers, None where some part is unknown."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    return tuple(value) if whole else None


def axis(dim: Any, rank: int) -> int | None:
    """Return a dimension counted from the front; None where it is not a valid integer."""
    if not isinstance(dim, int) or isinstance(dim, bool) or not -rank <= dim < max(rank, 1):
        return None
    return dim % rank if rank else 0


def axes(dims: Any, rank: int) -> Sizes | None:
    """Return several dimensions counted from the front; None where one is not valid."""
    found = as_ints(dims)
    if found is None:
        return None
    placed = tuple(axis(d, rank) for d in found)
    return None if None in placed else placed  # type: ignore[return-value] # checked just here


def broadcast_shapes(*shapes: Sizes) -> Sizes:
    """Return the broadcast of shapes; raises ShapeError where they do not fit."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, start=rank - len(shape)):
            if size != 1:
                if result[i] not in (1, size):
                    a, b = shapes[0], shapes[-1]
                    raise ShapeError(
                        f"shapes {list(a)} and {list(b)} do not broadcast",
                        got=a,
                        expected=f"{list(b)}",
                    )
                result[i] = size
    return tuple(result)


# --- rules that many operators share ----------------------------------------------------------


def same(call: Call) -> Any:
    """Give the result the shape and kind of the first argument."""
    return call.tensor(next(iter(call.args), "input"))


def same_float(call: Call) -> Any:
    """Give the result the shape of the first argument, as floats."""
    return Tensor(same(call).shape, "float")


def same_int(call: Call) -> Any:
    """Give the result the shape of the first argument, as integers."""
    return Tensor(same(call).shape, "int")


def cast(call: Call) -> Any:
    """Give the result the kind of the dtype among the arguments, if there is one."""
    tensor = same(call)
    for value in call.args.values():
        name = str(value)
        if name.startswith("torch."):
            if "float" in name:
                return Tensor(tensor.shape, "float")
            if "int" in name or name == "torch.bool":
                return Tensor(tensor.shape, "bool" if name == "torch.bool" else "int")
    return tensor


def same_bool(call: Call) -> Any:
    """Give the result the broadcast shape, as booleans."""
    return Tensor(broadcast(call).shape, "bool")


def broadcast(call: Call) -> Any:
    """Broadcast all tensor arguments; any unknown shape makes the result unknown."""
    tensors = [v for v in call.args.values() if isinstance(v, Tensor)]
    if any(t.shape is None for t in tensors) or not tensors:
        return Tensor()
    if any(v is UNKNOWN for v in call.args.values()):
        return Tensor()
    shape = broadcast_shapes(*(t.shape for t in tensors if t.shape is not None))
    kinds = {t.kind for t in tensors}
    scalars = any(isinstance(v, float) for v in call.args.values())
    kind: Kind | None = (
        "float" if "float" in kinds or scalars else ("int" if "int" in kinds else tensors[0].kind)
    )
    return Tensor(shape, kind)


def divide(call: Call) -> Any:
    """Broadcast; the result of a true division is floating."""
    return Tensor(broadcast(call).shape, "float")


def scalar(call: Call) -> Any:  # noqa: ARG001 - the type of all shape rules
    """Give a 0-dimensional float."""
    return Tensor((), "float")


def loss(call: Call) -> Any:
    """Give a scalar, or the unreduced input shape for reduction="none"."""
    if call.get("reduction") in ("none", 0):
        return Tensor(None, "float")
    return Tensor((), "float")


def unknown(call: Call) -> Any:  # noqa: ARG001 - the type of all shape rules
    """Give a tensor of unknown shape."""
    return Tensor()


# --- linear maps ------------------------------------------------------------------------------


def linear(call: Call) -> Any:
    """(*, in) with weight (out, in) -> (*, out)."""
    shape, weight = call.shape(), call.shape("weight")
    if shape is None or weight is None or len(weight) != 2:
        return Tensor(None, "float")
    if not shape or shape[-1] != weight[1]:
        raise ShapeError(
            f"the input has {shape[-1] if shape else 0} features, the layer takes {weight[1]}",
            got=shape,
            expected=f"{weight[1]} features in the last dimension",
        )
    return Tensor((*shape[:-1], weight[0]), "float")


def per_dimension(value: Any, rank: int, default: int) -> Sizes | None:
    """Return a setting such as a stride for each of `rank` dimensions."""
    if value is None:
        return (default,) * rank
    found = as_ints(value)
    if found is None:
        return None
    return found * rank if len(found) == 1 else found


def _spatial_rank(weight: Sizes | None) -> int | None:
    return None if weight is None else len(weight) - 2


def conv(call: Call) -> Any:
    """(N, C_in, *) with weight (C_out, C_in / groups, *) -> (N, C_out, *)."""
    shape, weight = call.shape(), call.shape("weight")
    rank = _spatial_rank(weight)
    if shape is None or weight is None or rank is None or rank < 1:
        return Tensor(None, "float")
    check_rank(shape, rank)
    groups = call.get("groups", 1)
    if not isinstance(groups, int):
        return Tensor(None, "float")
    channels = weight[1] * groups
    _check_channels(shape, rank, channels)
    stride = per_dimension(call.get("stride"), rank, 1)
    dilation = per_dimension(call.get("dilation"), rank, 1)
    padding = call.get("padding")
    lead = (*shape[: len(shape) - rank - 1], weight[0])
    if isinstance(padding, str):
        if padding == "same":
            return Tensor((*lead, *shape[-rank:]), "float")
        padding = 0
    pad = per_dimension(padding, rank, 0)
    if stride is None or dilation is None or pad is None:
        return Tensor(None, "float")
    space = tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(shape[-rank:], pad, dilation, weight[2:], stride, strict=True)
    )
    return Tensor((*lead, *positive(space, shape)), "float")


def conv_transpose(call: Call) -> Any:
    """(N, C_in, *) with weight (C_in, C_out / groups, *) -> (N, C_out, *)."""
    shape, weight = call.shape(), call.shape("weight")
    rank = _spatial_rank(weight)
    if shape is None or weight is None or rank is None or rank < 1:
        return Tensor(None, "float")
    check_rank(shape, rank)
    _check_channels(shape, rank, weight[0])
    parts = [
        per_dimension(call.get(name), rank, default)
        for name, default in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1))
    ]
    groups = call.get("groups", 1)
    if "output_size" in call.args or any(p is None for p in parts) or not isinstance(groups, int):
        return Tensor(None, "float")
    stride, padding, extra, dilation = (p for p in parts if p is not None)
    space = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, s, p, e, d, k in zip(
            shape[-rank:], stride, padding, extra, dilation, weight[2:], strict=True
        )
    )
    lead = (*shape[: len(shape) - rank - 1], weight[1] * groups)
    return Tensor((*lead, *positive(space, shape)), "float")


def check_rank(shape: Sizes, rank: int) -> None:
    """Raise ShapeError where an input has not the dimensions that a layer takes."""
    if len(shape) not in (rank + 1, rank + 2):
        raise ShapeError(
            f"the input has {len(shape)} dimensions, a {rank}d layer takes {rank + 2} (or {rank + 1} unbatched)",
            got=shape,
            expected=f"{rank + 2} dimensions",
        )


def _check_channels(shape: Sizes, rank: int, channels: int) -> None:
    found = shape[len(shape) - rank - 1]
    if found != channels:
        raise ShapeError(
            f"the input has {found} channels, the layer takes {channels}",
            got=shape,
            expected=f"{channels} channels in dimension {len(shape) - rank - 1}",
        )


def positive(space: Sizes, shape: Sizes) -> Sizes:
    """Return output sizes; raises ShapeError where one of them is not positive."""
    if any(size < 1 for size in space):
        raise ShapeError(
            f"the input of shape {list(shape)} is too small: the output size would be {list(space)}",
            got=shape,
            expected="a larger input",
        )
    return space


def matmul(call: Call) -> Any:
    """Follow torch.matmul: (*, n, m) x (*, m, p) -> (*, n, p), with its 1-d cases."""
    a, b = call.shape(), call.shape("other")
    if a is None or b is None or not a or not b:
        return Tensor(None, "float")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise ShapeError(
            f"cannot multiply {list(a)} with {list(b)}: {a[-1]} and {inner} differ",
            got=a,
            expected=f"{inner} in the last dimension",
        )
    if len(a) == 1 and len(b) == 1:
        return Tensor((), "float")
    lead = broadcast_shapes(a[:-2], b[:-2])
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return Tensor((*lead, *rows, *columns), "float")


def addmm(call: Call) -> Any:
    """(n, m) x (m, p) plus a term -> (n, p)."""
    return matmul(Call({"input": call.get("mat1"), "other": call.get("mat2")}))


def einsum(call: Call) -> Any:
    """Read the output shape off a plain einsum equation."""
    equation, operands = call.get("equation"), call.get("operands")
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return Tensor(None, "float")
    if (
        isinstance(operands, (list, tuple))
        and len(operands) == 1
        and isinstance(operands[0], (list, tuple))
    ):
        operands = operands[0]
    left, _, right = equation.replace(" ", "").partition("->")
    if not isinstance(operands, (list, tuple)):
        operands = (operands,)
    terms = left.split(",")
    if len(terms) != len(operands):
        return Tensor(None, "float")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        if (
            not isinstance(operand, Tensor)
            or operand.shape is None
            or len(operand.shape) != len(term)
        ):
            return Tensor(None, "float")
        for letter, size in zip(term, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size and 1 not in (sizes[letter], size):
                raise ShapeError(
                    f"einsum {equation!r}: {letter} is {sizes[letter]} and {size}",
                    got=operand.shape,
                )
    return Tensor(tuple(sizes[letter] for letter in right), "float")


def embedding(call: Call) -> Any:
    """(*) integers with weight (V, D) -> (*, D)."""
    shape, weight = call.shape(), call.shape("weight")
    if shape is None or weight is None:
        return Tensor(None, "float")
    return Tensor((*shape, weight[-1]), "float")


def attention(call: Call) -> Any:
    """(*, L, E), (*, S, E), (*, S, Ev) -> (*, L, Ev)."""
    query, value = call.shape("query"), call.shape("value")
    if query is None or value is None:
        return Tensor(None, "float")
    return Tensor((*query[:-1], value[-1]), "float")


def multihead_attention(call: Call) -> Any:
    """Return the attended query and weights of unknown shape."""
    return (Tensor(call.shape("query"), "float"), Tensor(None, "float"))


def recurrent(call: Call) -> Any:
    """Return the output sequence and a state of unknown shape."""
    shape, module = call.shape(), call.module
    if shape is None or module is None or len(shape) not in (2, 3):
        return (Tensor(None, "float"), UNKNOWN)
    if shape[-1] != module.input_size:
        raise ShapeError(
            f"the input has {shape[-1]} features, the layer takes {module.input_size}",
            got=shape,
            expected=f"{module.input_size} features in the last dimension",
        )
    directions = 2 if module.bidirectional else 1
    hidden = getattr(module, "proj_size", 0) or module.hidden_size
    batch = () if len(shape) == 2 else (shape[0] if module.batch_first else shape[1],)
    state = Tensor((module.num_layers * directions, *batch, hidden), "float")
    cell = Tensor((module.num_layers * directions, *batch, module.hidden_size), "float")
    output = Tensor((*shape[:-1], hidden * directions), "float")
    return (
        output,
        (state, cell) if hasattr(module, "proj_size") and module.mode == "LSTM" else state,
    )


# --- normalisation ----------------------------------------------------------------------------


def batch_norm(call: Call) -> Any:
    """Keep the shape; check the channels of dimension 1 and the rank that the module takes."""
    shape = call.shape()
    features = getattr(call.module, "num_features", None)
    if shape is None:
        return Tensor(None, "float")
    name = type(call.module).__name__
    ranks = {"BatchNorm1d": (2, 3), "BatchNorm2d": (4,), "BatchNorm3d": (5,)}.get(name)
    if ranks and len(shape) not in ranks:
        raise ShapeError(
            f"the input has {len(shape)} dimensions, {name} takes {' or '.join(map(str, ranks))}",
            got=shape,
            expected=f"{ranks[0]} dimensions",
        )
    if features is not None and len(shape) > 1 and shape[1] != features:
        raise ShapeError(
            f"the input has {shape[1]} channels, the layer takes {features}",
            got=shape,
            expected=f"{features} channels in dimension 1",
        )
    return Tensor(shape, "float")


def layer_norm(call: Call) -> Any:
    """Keep the shape; check the trailing dimensions."""
    shape, normalized = call.shape(), as_ints(call.get("normalized_shape"))
    if shape is not None and normalized is not None and shape[-len(normalized) :] != normalized:
        raise ShapeError(
            f"the input ends in {list(shape[-len(normalized) :])}, the layer takes {list(normalized)}",
            got=shape,
            expected=f"{list(normalized)} at the end",
        )
    return Tensor(shape, "float")
