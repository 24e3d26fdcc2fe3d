"""Between abstract values and the plain Python values that some of them stand for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from nnlint.linter.discover import sinks
from nnlint.linter.discover.joining import join, join_all
from nnlint.linter.discover.targets import UNKNOWN
from nnlint.linter.discover.values import (
    NOTHING,
    Bound,
    ClassRef,
    Constant,
    Either,
    Function,
    Made,
    Opaque,
    Partial,
    Ref,
    Sequence,
    Settings,
    Table,
    Value,
    literal,
    options,
)

_MAX_COMBINATIONS = 16
_MAX_VALUES = 1_000
_PLAIN = (Constant, Sequence, Table)
_SCALARS = (type(None), type(...), bool, int, float, complex, str, bytes)
_KINDS: dict[str, type] = {"list": list, "tuple": tuple, "set": set}


def plain(value: Value) -> Any:
    """Return the Python value that a value certainly is, or UNKNOWN."""
    return value.value if isinstance(value, Constant) else _plain(value, [_MAX_VALUES])


def _plain(value: Value, left: list[int]) -> Any:
    """Return a Python value of no more than so many parts; a list may hold another many times."""
    left[0] -= 1
    if left[0] < 0:
        return UNKNOWN
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Sequence):
        kind = _KINDS.get(value.kind)
        items: list[Any] = []
        for item in value.items if kind is not None and not value.open else ():
            items.append(_plain(item, left))
            if items[-1] is UNKNOWN:
                return UNKNOWN
        try:
            return UNKNOWN if kind is None or value.open else kind(items)
        except TypeError:  # A set of what has no hash.
            return UNKNOWN
    if isinstance(value, Table) and value.kind == "dict" and not value.open:
        table: dict[Any, Any] = {}
        for key, item in value.items.items():
            table[key] = _plain(item, left)
            if table[key] is UNKNOWN:
                return UNKNOWN
        return table
    return UNKNOWN


def lift(value: Any) -> Value | None:
    """Return the abstract value for a Python value, or None where there is none."""
    if isinstance(value, (*_SCALARS, slice, range, PurePosixPath)):
        return Constant(value)
    if isinstance(value, dict):
        return _lift_table(value)
    kind = next((name for name, each in _KINDS.items() if type(value) is each), None)
    if isinstance(value, set):
        # In an order that does not change from run to run.
        value = sorted(value, key=lambda item: (type(item).__name__, repr(item)))
    if kind is None:
        return None
    items = [lift(item) for item in value]
    known = tuple(item for item in items if item is not None)
    return Sequence(known, kind) if len(known) == len(items) else None  # type: ignore[arg-type] # a key of _KINDS


def _lift_table(value: dict[Any, Any]) -> Table | None:
    table = {key: lift(item) for key, item in value.items()}
    known = {key: item for key, item in table.items() if item is not None}
    return Table(known) if len(known) == len(table) else None


def fold(function: Callable[..., Any], *values: Value) -> Value | None:
    """Apply a function to each combination of alternatives; None where none gives a known value.

    The first alternatives together come first, and what cannot be computed is left out.
    """
    choices: list[tuple[Value, ...]] = []
    for value in values:
        # Most of what is computed with is not plain; this is told cheaply.
        known = tuple(one for one in options(value) if isinstance(one, _PLAIN))
        if not known:
            return None
        choices.append(known)
    results: list[Value] = []
    usual = any(isinstance(one, Constant) and one.usual for many in choices for one in many)
    for combination in itertools.islice(itertools.product(*choices), _MAX_COMBINATIONS):
        arguments = [plain(value) for value in combination]
        if any(argument is UNKNOWN for argument in arguments):
            continue
        result = function(*arguments)
        lifted = None if result is UNKNOWN else lift(result)
        if lifted is not None:
            results.append(as_usual(lifted) if usual else lifted)
    return join_all(results) if results else None


def as_usual(value: Value) -> Value:
    """Return a value as a default: whoever runs the program may give another one."""
    if isinstance(value, Constant):
        return Constant(value.value, usual=True)
    if isinstance(value, Either):
        return Either(tuple(map(as_usual, value.options)))
    return value


def key_of(value: Value | None) -> Any:
    """Return the literal that may be a key of a dict, or UNKNOWN."""
    key = UNKNOWN if value is None else literal(value)
    simple = all(isinstance(part, _SCALARS) for part in (key if isinstance(key, tuple) else (key,)))
    return key if simple else UNKNOWN


def truth(value: Value) -> bool | None:
    """Return the truth of a value as a condition, or None where it is not known."""
    known = {_truth(option) for option in options(value)}
    return known.pop() if len(known) == 1 else None


def _truth(value: Value) -> bool | None:
    if isinstance(value, Constant):
        return bool(value.value)
    if isinstance(value, Sequence | Table):
        return True if value.items and not value.open else (None if value.open else False)
    return True if is_code(value) else None


def decided(first: Value, second: Value, *, uncertain: bool = True) -> Value:
    """Return what a condition chooses.

    Where it certainly chooses `first`, the other is kept as the less likely one: a switch in a
    file may be turned. Of numbers there is nothing to say against the one that is decided.
    """
    return first if not uncertain and numeric(first) else join(first, second)


def forgetful(value: Value) -> Value:
    """Return what is left of an unknown value after something was done to it."""
    if not isinstance(value, Opaque):
        return NOTHING
    return value if type(value) is Opaque else Opaque(value.ops, value.params)


def is_object(value: Value) -> bool:
    """Tell whether a value is certainly not None."""
    return is_code(value) or isinstance(value, Sequence | Table | Settings)


def is_code(value: Value) -> bool:
    """Tell whether a value is certainly a class, a function or an object made from one."""
    if isinstance(value, Ref):
        return value.dotted.startswith("torch.nn.")
    return isinstance(value, Bound | ClassRef | Function | Made | Partial)


def is_usual(value: Value) -> bool:
    """Tell whether a value is a default that may be another one in the next run."""
    return any(isinstance(one, Constant) and one.usual for one in options(value))


def holds_layers(value: Value) -> bool:
    """Tell whether a value is a list of layers, none of them a loss or a model of the project."""
    return isinstance(value, Sequence) and all(
        isinstance(item, Made) and item.info is None and item.dotted not in sinks.LOSS_CLASSES
        for item in value.items
    )


def numeric(value: Value) -> bool:
    """Tell whether a value is made of numbers alone."""
    stack = [value]
    for _ in range(_MAX_VALUES):
        if not stack:
            return True
        one = stack.pop()
        if isinstance(one, Either):
            stack.extend(one.options)
        elif isinstance(one, Sequence):
            stack.extend(one.items)
        elif not isinstance(one, Constant) or not isinstance(one.value, bool | int | float):
            return False
    return False
