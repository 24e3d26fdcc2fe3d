"""Tuples, lists and dicts of the file."""

from __future__ import annotations

from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.values import (
    MAX_ITEMS,
    NOTHING,
    Arguments,
    Bound,
    ClassRef,
    Constant,
    Either,
    Function,
    Made,
    Partial,
    Ref,
    Sequence,
    Table,
    Value,
    literal,
)

_CODE = (Bound, ClassRef, Function, Made, Partial, Ref)
_MAX_CHOICES = 128


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
        key = arguments.get(0, "key") or NOTHING
        return chosen(base, key, arguments.get(1, "default") or NOTHING)
    return base if name == "copy" else NOTHING


def chosen(base: Table, key: Value, default: Value = NOTHING) -> Value:
    """Return the item of a dict: the one that is known, or any where the user has the choice."""
    known = literal(key)
    told = isinstance(known, str | int | None)
    if told and not (isinstance(key, Constant) and key.usual):
        return base.items.get(known, default)
    usual = base.items.get(known) if told else None
    values = [value for value in (usual, *base.items.values()) if value is not None]
    code = [value for value in values if isinstance(value, _CODE)]
    if len(code) > 1:
        return Either(tuple(dict.fromkeys(code))[:_MAX_CHOICES])
    return join_all(values) if usual is None else usual


def sliced(items: tuple[Value, ...], key: slice) -> tuple[Value, ...]:
    """Return a slice of items, or all of them where the slice is not literal."""
    bounds = (key.start, key.stop, key.step)
    if key.step == 0 or not all(bound is None or isinstance(bound, int) for bound in bounds):
        return items
    return items[key]
