"""Objects that hold options, in the abstract run."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

from nnlint.linter.discover import folding
from nnlint.linter.discover.calls import Calls
from nnlint.linter.discover.classes import ClassInfo
from nnlint.linter.discover.containers import entries, sliced, table_method
from nnlint.linter.discover.holders import MAX_NESTING, held, is_dict, merge
from nnlint.linter.discover.joining import join, join_all
from nnlint.linter.discover.machine import Frame
from nnlint.linter.discover.plain import fold, forgetful, key_of
from nnlint.linter.discover.targets import UNKNOWN
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    ClassRef,
    Constant,
    Either,
    Made,
    Method,
    Outcome,
    RecordClass,
    Ref,
    Sequence,
    Settings,
    Table,
    Value,
    Wanted,
    is_none,
    literal,
    options,
)

_COPIES = frozenset(("clone", "copy"))
_DICTS = frozenset(("_asdict", "as_dict", "asdict", "dict", "model_dump", "to_dict", "toDict"))
_MERGES = frozenset(("merge", "merge_from_other_cfg", "merge_with", "update"))
_READS = frozenset(("get", "items", "keys", "pop", "setdefault", "values"))
_OWN = (ClassRef, Constant, Made, Outcome, Ref, Sequence, Settings, Wanted)
_MAX_ALTERNATIVES = 8
NOWHERE = ast.Name("_", ast.Load(), lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)


class Holding(Calls):
    """The part of the abstract run that knows objects which hold options."""

    def call(self, callee: Value, arguments: Arguments, node: ast.expr, hint: str = "") -> Value:
        """Call a value; `hint` is the last identifier of the called expression."""
        if isinstance(callee, RecordClass):
            given = dict(zip(callee.fields, arguments.positional, strict=False))
            return Settings({**callee.defaults, **given, **arguments.keywords}, callee.fields)
        return super().call(callee, arguments, node, hint)

    def call_method(self, base: Value, name: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call a method of a value."""
        if isinstance(base, Settings):
            return self.settings_method(base, name, arguments, node)
        if isinstance(base, Constant | Either):
            known = _plain_method(base, name, arguments)
            if known is not None:
                return known
        if isinstance(base, Method) and base.name == "__dict__" and name == "update":
            for key, value in self._given(arguments).items():
                self.set_attribute(base.base, key, value)
            return NOTHING
        return super().call_method(base, name, arguments, node)

    @staticmethod
    def _given(arguments: Arguments) -> dict[str, Value]:
        more = entries(arguments.positional[0]) if arguments.positional else None
        return {**(more or {}), **arguments.keywords}

    def settings_method(
        self, base: Settings, name: str, arguments: Arguments, node: ast.expr
    ) -> Value:
        """Call a method of an object that holds options."""
        if name in base.values:
            return self.call(base.values[name], arguments, node, name)
        if name in _COPIES:
            return Settings(dict(base.values), base.fields)
        if name in _DICTS:
            return self.table(base)
        if name in _MERGES:
            merge(base, self._given(arguments))
            return NOTHING
        if name == "setdefault" and (key := key_of(arguments.get(0, "key"))) is not UNKNOWN:
            base.values.setdefault(key, arguments.get(1, "default") or Constant(None))
        if name in _READS:
            return table_method(Table(base.values), name, arguments)
        if name == "_replace":
            return Settings({**base.values, **arguments.keywords}, base.fields)
        return NOTHING

    def attribute(self, base: Value, name: str, node: ast.expr) -> Value:
        """Read an attribute of a value."""
        if not isinstance(base, _OWN):
            return super().attribute(base, name, node)
        if isinstance(base, Settings):
            if name == "__dict__":
                return self.table(base)
            return base.values[name] if name in base.values else Wanted(name=name)
        if isinstance(base, Ref) and base.dotted.endswith(".FLAGS"):
            return self.attribute(self.flags, name, node)
        if isinstance(base, Outcome | Wanted):
            return super().attribute(forgetful(base), name, node)
        if isinstance(base, Constant):
            known = fold(lambda one: folding.attribute(one, name), base)
            if known is not None:
                return known
        if isinstance(base, Made) and name == "__dict__":
            return Method(base, name)
        value = super().attribute(base, name, node)
        if isinstance(base, ClassRef | Made) and (value is NOTHING or isinstance(value, Method)):
            return self._held_attribute(base, name) or value
        return value

    def _held_attribute(self, base: ClassRef | Made, name: str) -> Value | None:
        """Return the options in a class within a class, or in the dict that an object is."""
        info = base.info
        if info is None:
            return None
        for each in info.mro:
            for statement in each.node.body:
                if isinstance(statement, ast.ClassDef) and statement.name == name:
                    return self._class_options(statement, each)
        if isinstance(base, Made) and is_dict(info):
            value = self._given(base.arguments).get(name)
            return held(value) if isinstance(value, Table) else value
        return None

    def _class_options(self, node: ast.ClassDef, owner: ClassInfo, depth: int = 0) -> Settings:
        found = Settings()
        for statement in node.body:
            if isinstance(statement, ast.ClassDef) and depth < MAX_NESTING:
                found.values[statement.name] = self._class_options(statement, owner, depth + 1)
            elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                for target in _targets(statement):
                    if isinstance(target, ast.Name):
                        found.values[target.id] = self.evaluate_global(statement.value, owner)
        return found

    def evaluate_global(self, node: ast.expr, owner: ClassInfo) -> Value:
        """Evaluate an expression of a class body, which sees what comes before it there."""
        names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        seen = [
            name
            for each in reversed(owner.mro)
            for name, value in each.attributes.items()
            if name in names and value is not node and value not in self.class_bodies
        ]
        if not seen:
            return super().evaluate_global(node, owner)
        scope = self.number()
        self.class_bodies.append(node)
        for name in dict.fromkeys(seen):
            inner = next(each for each in owner.mro if name in each.attributes)
            self.state.set((scope, name), self.evaluate_global(inner.attributes[name], inner))
        self.class_bodies.pop()
        caller, self.frame = self.frame, Frame((scope, self.home(owner)), owner.source.tree)
        value = self.evaluate(node)
        self.frame = caller
        return value

    def set_attribute(self, base: Value, name: str, value: Value) -> None:
        """Assign an attribute."""
        for one in options(base):
            if isinstance(one, Settings):
                self.write(one, name, value)
            elif isinstance(one, Made) and name == "__dict__":
                for key, item in (entries(value) or {}).items():
                    super().set_attribute(one, key, item)
        super().set_attribute(base, name, value)

    def write(self, base: Settings, key: Any, value: Value) -> None:
        """Set an option; in a branch that may not run, the old one stays the likelier one."""
        old = base.values.get(key)
        surely = not self.state.journals or (bool(self.conditions) and all(self.conditions))
        if old is None or is_none(old) or isinstance(old, Wanted) or surely:
            base.values[key] = value
        elif len(options(old)) < _MAX_ALTERNATIVES:
            base.values[key] = join(old, value)

    def item(self, base: Value, key: Value, node: ast.expr) -> Value:
        """Read an item of a value."""
        if not isinstance(base, _OWN):
            return super().item(base, key, node)
        if isinstance(base, Settings):
            known = key_of(key)
            if isinstance(known, int) and base.fields and known < len(base.fields):
                known = base.fields[known]
            if known is UNKNOWN:
                return join_all(list(base.values.values()))
            return base.values[known] if known in base.values else Wanted(name=str(known))
        if isinstance(base, Constant):
            return fold(folding.item, base, key) or NOTHING
        if isinstance(base, Sequence) and isinstance(literal(key), slice):
            return dataclasses.replace(base, items=sliced(base.items, literal(key)))
        if isinstance(base, Outcome | Wanted):
            base = forgetful(base)
        if isinstance(base, Made) and base.info is not None and is_dict(base.info):
            name = literal(key)
            if isinstance(name, str):
                return self._held_attribute(base, name) or NOTHING
        return super().item(base, key, node)

    def table(self, value: Value) -> Value:
        """Return the options or fields of an object as a dict."""
        if isinstance(value, Table):
            return value
        if isinstance(value, Settings):
            return Table(dict(value.values))
        if isinstance(value, Made) and value.info is not None and not value.info.module:
            names: dict[str, None] = {}
            for each in reversed(value.info.mro):
                names.update(dict.fromkeys(each.fields or each.attributes))
            self.start(value)
            stored = (name for number, name in self.state.values if number == value.number)
            names.update(dict.fromkeys(stored))
            return Table({name: self.attribute(value, name, NOWHERE) for name in names})
        return NOTHING


def _plain_method(base: Value, name: str, arguments: Arguments) -> Value | None:
    if arguments.open or not all(isinstance(one, Constant) for one in options(base)):
        return None
    count, names = len(arguments.positional), tuple(arguments.keywords)

    def apply(one: Any, *given: Any) -> Any:
        named = dict(zip(names, given[count:], strict=True))
        return folding.method(one, name, given[:count], named)

    return fold(apply, base, *arguments.values)


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]
