"""Assignments in the abstract run."""

from __future__ import annotations

import ast
import dataclasses

from nnlint.linter.discover.expressions import Expressions
from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.plain import key_of
from nnlint.linter.discover.targets import UNKNOWN
from nnlint.linter.discover.values import (
    MAX_ITEMS,
    NOTHING,
    Constant,
    Method,
    Output,
    Ref,
    Sequence,
    Settings,
    Table,
    Value,
    options,
)


class Assignments(Expressions):
    """The part of the abstract run that binds values to names, attributes and items."""

    def assign(self, target: ast.expr, value: Value) -> None:
        """Bind a value to a name, attribute, item or pattern of these."""
        if isinstance(target, ast.Name):
            self.bind(target.id, value)
            if isinstance(value, Settings):
                self.named[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.set_attribute(self.evaluate(target.value), target.attr, value)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target, value)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value)

    def _assign_item(self, target: ast.Subscript, value: Value) -> None:
        base = self.evaluate(target.value)
        key = key_of(self.evaluate(target.slice))
        if isinstance(base, Method) and base.name == "__dict__" and isinstance(key, str):
            self.set_attribute(base.base, key, value)
        elif isinstance(base, Ref):
            self.patch(base.dotted, key, value)
        elif isinstance(base, Settings):
            if key is not UNKNOWN:
                self.write(base, key, value)
        elif isinstance(base, Table):
            if key is UNKNOWN:
                self.assign(target.value, dataclasses.replace(base, open=True))
            else:
                self.assign(target.value, Table({**base.items, key: value}, base.kind, base.open))
        elif isinstance(base, Sequence) and isinstance(key, int) and _within(key, base):
            items = list(base.items)
            items[key] = value
            self.assign(target.value, dataclasses.replace(base, items=tuple(items)))

    def _unpack(self, target: ast.Tuple | ast.List, value: Value) -> None:
        count = len(target.elts)
        star = next(
            (at for at, part in enumerate(target.elts) if isinstance(part, ast.Starred)), count
        )
        for at, part in enumerate(target.elts[:MAX_ITEMS]):
            if isinstance(part, ast.Starred):
                self.assign(part.value, NOTHING)
                continue
            key = at if at < star else at - count
            items: list[Value] = []
            for option in options(value):
                if isinstance(option, Sequence) and len(option.items) == 1 and count > 1:
                    items.append(option.items[0])
                elif isinstance(option, Sequence | Output):
                    items.append(self.item(option, Constant(key), part))
                else:
                    items.append(self.elements(option)[0])
            self.assign(part, join_all(items))


def _within(key: int, value: Sequence) -> bool:
    return -len(value.items) <= key < len(value.items)
