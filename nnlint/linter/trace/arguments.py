"""What forward is called with, as plain descriptions from which real values are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Literal

import torch

from nnlint.linter.operators.shapes import UNKNOWN, Tensor

Kind = Literal["float", "int", "bool"]


class Value:
    """Base of all descriptions."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Drawn(Value):
    """A tensor.

    Attributes:
        shape: Its sizes.
        kind: Of its elements.
        high: Integers lie below this.
        batch: The dimensions that grow with the batch.
        fill: The value of every element, None to draw them.
        guessed: Whether nothing speaks for the shape, neither a name nor a layer.
        rising: Whether each value of the last dimension is above the one before, as the corners of
            a box are.
    """

    shape: tuple[int, ...]
    kind: Kind = "float"
    high: int = 2
    batch: tuple[int, ...] = (0,)
    fill: int | None = None
    guessed: bool = field(default=False, repr=False, compare=False)
    rising: bool = False


@dataclass(frozen=True, slots=True)
class Fixed(Value):
    """A plain Python value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Several(Value):
    """A list or tuple of values.

    Attributes:
        samples: Whether each item is a sample, so that there are more in a larger batch.
    """

    kind: Literal["list", "tuple"]
    items: tuple[Value, ...]
    samples: bool = False


@dataclass(frozen=True, slots=True)
class Keyed(Value):
    """A dict, or with `attributes` an object, of values.

    Attributes:
        items: In the order in which they were asked for.
    """

    items: tuple[tuple[Any, Value], ...]
    attributes: bool = False

    def with_item(self, key: Any, value: Value) -> Keyed:
        """Return the same with one more or another item."""
        kept = tuple((k, v) for k, v in self.items if k != key)
        return replace(self, items=(*kept, (key, value)))


State = Mapping[str, Value]


def make(state: State) -> dict[str, Any]:
    """Make real values, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    return {name: _make(value, generator) for name, value in state.items()}


def _make(value: Value, generator: torch.Generator) -> Any:
    match value:
        case Drawn(shape, kind, high, _, fill, rising=rising):
            if fill is not None:
                dtype = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[kind]
                return torch.full(shape, fill, dtype=dtype)
            if kind == "float":
                found = torch.rand(shape, generator=generator)
                return found.cumsum(-1) if rising else found
            found = torch.randint(0, max(high, 1), shape, generator=generator)
            return found.bool() if kind == "bool" else found
        case Fixed(plain):
            return plain
        case Several("list", items):
            return [_make(item, generator) for item in items]
        case Several(_, items):
            return tuple(_make(item, generator) for item in items)
        case Keyed(items, attributes):
            made = {key: _make(item, generator) for key, item in items}
            return SimpleNamespace(**made) if attributes else made
    raise AssertionError(value)


def rebatched(state: State, factor: int) -> dict[str, Value]:
    """Return the same arguments for a larger batch."""
    return {name: _rebatched(value, factor) for name, value in state.items()}


def _rebatched(value: Value, factor: int) -> Value:
    match value:
        case Drawn(shape, batch=batch):
            sizes = tuple(s * factor if i in batch else s for i, s in enumerate(shape))
            return replace(value, shape=sizes)
        case Several(items=items, samples=samples):
            items = items * factor if samples else items
            return replace(value, items=tuple(_rebatched(item, factor) for item in items))
        case Keyed(items=items):
            return replace(value, items=tuple((k, _rebatched(v, factor)) for k, v in items))
    return value


def shapes_of(state: State) -> dict[str, Any]:
    """Return the arguments as shape rules take them."""
    return {name: _shape_of(value) for name, value in state.items()}


def _shape_of(value: Value) -> Any:
    match value:
        case Drawn(shape, kind, guessed=guessed):
            return Tensor(None if guessed else shape, kind)
        case Fixed(plain):
            return plain
        case Several("list", items):
            return [_shape_of(item) for item in items]
        case Several(_, items):
            return tuple(_shape_of(item) for item in items)
    return UNKNOWN


Path = tuple[Any, ...]


def leaves(value: Value, path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Yield the tensors and plain values in a description, with the way to each."""
    match value:
        case Several(items=items):
            for i, item in enumerate(items):
                yield from leaves(item, (*path, i))
        case Keyed(items=items):
            for key, item in items:
                yield from leaves(item, (*path, key))
        case _:
            yield path, value


def put(state: State, path: Path, value: Value) -> dict[str, Value]:
    """Return the arguments with another value at a path, which starts with the name."""
    name, *rest = path
    return {**state, name: _put(state[name], tuple(rest), value)}


def _put(whole: Value, path: Path, value: Value) -> Value:
    if not path:
        return value
    key, *rest = path
    match whole:
        case Several(items=items):
            changed = [_put(v, tuple(rest), value) if i == key else v for i, v in enumerate(items)]
            return replace(whole, items=tuple(changed))
        case Keyed(items=items):
            inner = dict(items)[key]
            return whole.with_item(key, _put(inner, tuple(rest), value))
    return value


def at(state: State, path: Path) -> Value:
    """Return the value at a path."""
    value = state[path[0]]
    for key in path[1:]:
        match value:
            case Several(items=items):
                value = items[key]
            case Keyed(items=items):
                value = dict(items)[key]
    return value


def tensors(state: State, made: Mapping[str, Any]) -> Iterator[tuple[Path, torch.Tensor]]:
    """Yield the real tensors of made arguments, with the way to each."""
    for name, value in state.items():
        for path, leaf in leaves(value, (name,)):
            if isinstance(leaf, Drawn):
                found: Any = made[name]
                for key in path[1:]:
                    found = (
                        getattr(found, key) if isinstance(found, SimpleNamespace) else found[key]
                    )
                yield path, found
