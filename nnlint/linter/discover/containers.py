"""Tuples, lists and dicts of the file."""

from __future__ import annotations

import ast
import dataclasses

from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.plain import key_of
from nnlint.linter.discover.targets import UNKNOWN
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
    Settings,
    Table,
    Value,
    literal,
)

LIST_CHANGES = frozenset(
    ("add", "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort")
)
TABLE_CHANGES = frozenset(("clear", "pop", "setdefault", "update"))
_CODE = (Bound, ClassRef, Function, Made, Partial, Ref)
_MAX_CHOICES = 128
_MAX_SUMS = 8
_TABLE_VIEWS = frozenset(("items", "keys", "values"))


def sequence(
    items: tuple[Value, ...], like: Sequence | None = None, *, is_open: bool = False
) -> Sequence:
    """Return a sequence of these items, no longer than may be, of the kind of another."""
    is_open = is_open or (like is not None and like.open) or len(items) > MAX_ITEMS
    return Sequence(items[:MAX_ITEMS], like.kind if like is not None else "tuple", is_open)


def entries(value: Value | None) -> dict[str, Value] | None:
    """Return the items of a dict or of options by name, or None for anything else."""
    if isinstance(value, Table):
        return {str(key): item for key, item in value.items.items()}
    if isinstance(value, Settings):
        return {str(key): item for key, item in value.values.items()}
    return None


def table_method(base: Table, name: str, arguments: Arguments) -> Value:
    """Return what a method of a dict gives."""
    if name in _TABLE_VIEWS:
        views: dict[str, list[Value]] = {
            "items": [Sequence((Constant(key), value)) for key, value in base.items.items()],
            "keys": [Constant(key) for key in base.items],
            "values": list(base.items.values()),
        }
        return sequence(tuple(views[name]), Sequence((), "list", base.open))
    if name in ("get", "pop", "setdefault"):
        default = arguments.get(1, "default")
        if default is None:
            default = NOTHING if base.open or name == "pop" else Constant(None)
        return chosen(base, arguments.get(0, "key") or NOTHING, default)
    return base if name == "copy" else NOTHING


def chosen(base: Table, key: Value, default: Value = NOTHING) -> Value:
    """Return the item of a dict: the one that is known, or any where the user has the choice."""
    known = key_of(key)
    told = known is not UNKNOWN
    if told and not (isinstance(key, Constant) and key.usual):
        return base.items.get(known, default)
    usual = base.items.get(known) if told else None
    values = [value for value in (usual, *base.items.values()) if value is not None]
    code = [value for value in values if isinstance(value, _CODE)]
    if len(code) > 1:
        return Either(tuple(dict.fromkeys(code))[:_MAX_CHOICES])
    return join_all(values) if usual is None else usual


def changed_list(base: Sequence, name: str, arguments: Arguments) -> Sequence:
    """Return a list after a method that changes it."""
    added = arguments.positional[-1:]
    items = list(base.items)
    if name == "extend" and added:
        given = added[0]
        more = given.items if isinstance(given, Sequence) else (given,)
        vague = not isinstance(given, Sequence) or given.open
        return sequence((*items, *more), base, is_open=vague)
    if name == "clear":
        return Sequence((), base.kind)
    if name in ("append", "add"):
        return sequence((*items, *added), base)
    at = literal(arguments.positional[0]) if arguments.positional else UNKNOWN
    if name == "insert" and isinstance(at, int):
        items.insert(at, *added)
        return sequence(tuple(items), base)
    if name == "insert":
        return sequence((*items, *added), base, is_open=True)
    if name == "pop" and items and not base.open:
        at = -1 if not arguments.positional else at
        if isinstance(at, int) and -len(items) <= at < len(items):
            items.pop(at)
            return sequence(tuple(items), base)
    if name == "reverse":
        return sequence(tuple(reversed(items)), base)
    return sequence(base.items, base, is_open=True)


def changed_table(base: Table, name: str, arguments: Arguments) -> Table:
    """Return a dict after a method that changes it."""
    if name == "clear":
        return Table({}, base.kind)
    first = arguments.positional[0] if arguments.positional else None
    if name == "update":
        more = first.items if isinstance(first, Table) else entries(first) or {}
        vague = base.open or arguments.open or (first is not None and entries(first) is None)
        return Table({**base.items, **more, **arguments.keywords}, base.kind, vague)
    key = key_of(first)
    if key is UNKNOWN:
        return dataclasses.replace(base, open=True)
    if name == "setdefault":
        return Table(
            {key: arguments.get(1, "default") or NOTHING, **base.items}, base.kind, base.open
        )
    return Table(
        {one: item for one, item in base.items.items() if one != key}, base.kind, base.open
    )


def combined(left: Value, right: Value, op: ast.operator) -> Value | None:
    """Return the sum, union or repetition of lists, tuples and dicts, or None for anything else."""
    if isinstance(left, Either) and len(left.options) <= _MAX_SUMS:
        sums = [combined(option, right, op) for option in left.options]
        known = [one for one in sums if one is not None]
        return join_all(known) if known else None
    if isinstance(op, ast.BitOr) and isinstance(left, Table) and isinstance(right, Table):
        return Table({**left.items, **right.items}, left.kind, left.open or right.open)
    if isinstance(left, Sequence) and isinstance(right, Sequence):
        return sequence((*left.items, *right.items), left, is_open=right.open)
    if isinstance(op, ast.Mult):
        for many, times in ((left, right), (right, left)):
            if isinstance(many, Sequence):
                count = literal(times)
                if not isinstance(count, int):
                    return sequence(many.items, many, is_open=True)
                if len(many.items) * count > MAX_ITEMS:
                    return sequence(many.items, many, is_open=True)
                return sequence(many.items * count, many)
    return None


def sliced(items: tuple[Value, ...], key: slice) -> tuple[Value, ...]:
    """Return a slice of items, or all of them where the slice is not literal."""
    bounds = (key.start, key.stop, key.step)
    if key.step == 0 or not all(bound is None or isinstance(bound, int) for bound in bounds):
        return items
    return items[key]
