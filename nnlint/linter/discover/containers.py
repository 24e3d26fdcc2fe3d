"""Tuples, lists and dicts of the file."""

from __future__ import annotations

from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.values import (
    MAX_ITEMS,
    NOTHING,
    Arguments,
    Constant,
    Sequence,
    Table,
    Value,
    literal,
)


def table_method(base: Table, name: str, arguments: Arguments) -> Value:
    """Return what a method of a dict gives."""
    if name == "items":
        pairs = [Sequence((Constant(key), value)) for key, value in base.items.items()]
        return Sequence(tuple(pairs[:MAX_ITEMS]))
    if name == "values":
        return Sequence(tuple(base.items.values())[:MAX_ITEMS])
    if name == "keys":
        return Sequence(tuple(Constant(key) for key in base.items)[:MAX_ITEMS])
    if name in ("get", "pop", "setdefault"):
        key = literal(arguments.get(0, "key"))
        if isinstance(key, str | int):
            return base.items.get(key, arguments.get(1, "default") or NOTHING)
        return join_all(list(base.items.values()))
    return base if name == "copy" else NOTHING


def sliced(items: tuple[Value, ...], key: slice) -> tuple[Value, ...]:
    """Return a slice of items, or all of them where the slice is not literal."""
    bounds = (key.start, key.stop, key.step)
    if key.step == 0 or not all(bound is None or isinstance(bound, int) for bound in bounds):
        return items
    return items[key]
