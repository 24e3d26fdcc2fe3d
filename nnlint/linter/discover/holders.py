"""Objects that hold options: made from dicts, put over one another."""

from __future__ import annotations

import ast
from typing import Any

from nnlint.linter.discover.classes import ClassInfo
from nnlint.linter.discover.containers import entries, sequence
from nnlint.linter.discover.plain import lift
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    RecordClass,
    Sequence,
    Settings,
    Table,
    Value,
    literal,
)

# Classes, of several packages, whose objects hold what they are given as attributes.
HOLDERS = frozenset(
    [
        "AttrDict",
        "AttributeDict",
        "Box",
        "Bunch",
        "CfgNode",
        "ConfigDict",
        "DotDict",
        "DotMap",
        "EasyDict",
        "FrozenConfigDict",
        "Munch",
        "Namespace",
        "SimpleNamespace",
    ]
)
MAX_NESTING = 6
_DICTS = frozenset(("dict", "OrderedDict", "UserDict"))


def held(value: Value | None, arguments: Arguments | None = None, depth: int = 0) -> Settings:
    """Return an object that holds options: those of a dict, with dicts within it held likewise."""
    given = {**(entries(value) or {}), **(arguments.keywords if arguments is not None else {})}
    return Settings(
        {
            key: held(item, depth=depth + 1)
            if isinstance(item, Table) and depth < MAX_NESTING
            else item
            for key, item in given.items()
        }
    )


def merge(base: Settings, more: dict[str, Value], depth: int = 0) -> None:
    """Put options over others, those within options one by one."""
    for key, value in more.items():
        old = base.values.get(key)
        inner = entries(value)
        if isinstance(old, Settings) and inner is not None and depth < MAX_NESTING:
            merge(old, inner, depth + 1)
        else:
            base.values[key] = value


def lifted(value: Any, depth: int = 0) -> Value:
    """Return the abstract value for what a file holds; what is no plain value is not known."""
    if isinstance(value, dict) and depth <= MAX_NESTING * 2:
        return Table({key: lifted(item, depth + 1) for key, item in value.items()})
    if isinstance(value, list) and depth <= MAX_NESTING * 2:
        return sequence(tuple(lifted(item, depth + 1) for item in value), Sequence((), "list"))
    return lift(value) or NOTHING


def is_dict(info: ClassInfo) -> bool:
    """Tell whether a class of the project is a dict of its own kind, or holds options."""
    named = {base.id for each in info.mro for base in each.node.bases if isinstance(base, ast.Name)}
    bases = named | {dotted.rpartition(".")[2] for dotted in info.ancestors}
    return bool(bases & (_DICTS | HOLDERS))


def record_class(arguments: Arguments) -> Value:
    """Return what `namedtuple(...)` gives."""
    fields = literal(arguments.get(1, "field_names"))
    names = fields.replace(",", " ").split() if isinstance(fields, str) else fields
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return NOTHING
    given = arguments.keywords.get("defaults")
    defaults = given.items if isinstance(given, Sequence) else ()
    last = names[max(len(names) - len(defaults), 0) :]
    return RecordClass(tuple(names), dict(zip(last, defaults, strict=False)))
