"""Modules of the project in the abstract run: their bodies, members and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from nnlint.linter.discover.choices import Choices
from nnlint.linter.discover.classes import ClassInfo
from nnlint.linter.discover.containers import chosen
from nnlint.linter.discover.machine import Frame
from nnlint.linter.discover.unit import Unit
from nnlint.linter.discover.values import (
    NOTHING,
    ClassRef,
    Constant,
    Either,
    Function,
    Ref,
    Sequence,
    Table,
    Value,
    literal,
)

_IMPORT_BUDGET = 2_000
_MAX_HOPS = 12
_MAX_MEMBERS = 128


@dataclass(frozen=True, slots=True, eq=False)
class Space(Value):
    """A module of the project, once a run."""

    unit: Unit


class Modules(Choices):
    """The part of the abstract run that knows the files of the project."""

    def space(self, unit: Unit) -> Value:
        """Return the value that stands for a module."""
        return self.spaces.setdefault(unit, Space(unit))

    def home(self, info: ClassInfo) -> int:
        """Return the global scope that the methods of a class see."""
        scope = self.scopes.get(info.source)
        return self.enter(self.project.unit_of(info.source)) if scope is None else scope

    def enter(self, unit: Unit) -> int:
        """Return the global scope of a module, whose body is run the first time."""
        scope = self.scopes.get(unit.source)
        if scope is not None:
            return scope
        scope = self.number()
        self.scopes[unit.source] = scope
        self.units[scope] = unit
        if self.import_budget > 0:
            self._run_body(unit, scope)
        return scope

    def _run_body(self, unit: Unit, scope: int) -> None:
        outer = self.frame, self.importing, self.budget, self.trail, self.active
        counts = self.no_grad, self.doubt, self.inside_model, self.activity
        allowed = min(_IMPORT_BUDGET + unit.names.size, self.import_budget)
        self.frame = Frame((scope,), unit.source.tree)
        self.importing, self.budget, self.trail, self.active = False, allowed, [], []
        self.no_grad = self.doubt = self.inside_model = 0
        with self.state.settled():
            self.execute(unit.source.tree.body)
        self.import_budget -= allowed - self.budget
        self.frame, self.importing, self.budget, self.trail, self.active = outer
        self.no_grad, self.doubt, self.inside_model, self.activity = counts

    def imported(self, unit: Unit, name: str) -> Value | None:
        """Return what a file imports under a name."""
        dotted = unit.names.bindings.get(name)
        if dotted is not None:
            return self.resolve(unit, dotted)
        for other in self.project.starred(unit):
            listed = self._listed(other)
            value = self.member(other, name) if listed is None or name in listed else None
            if value is not None:
                return value
        dotted = unit.names.lookup(name)
        return None if dotted is None else Ref(dotted)

    def resolve(self, unit: Unit, dotted: str) -> Value:
        """Return what a dotted name stands for where a file imports it."""
        key = (unit, dotted)
        if key in self.resolving:
            return NOTHING
        found = self.project.within(unit, dotted)
        if found is None:
            return Ref(dotted)
        self.resolving.add(key)
        value: Value | None = self.space(found[0])
        for name in found[1]:
            value = self.attribute(value, name, _NOWHERE) if value is not None else None
        self.resolving.discard(key)
        return NOTHING if value is None else value

    def member(self, unit: Unit, name: str) -> Value | None:
        """Return what a module of the project has under a name, None where it has none."""
        scope = self.enter(unit)
        value = self.state.get((scope, name))
        if value is not None:
            return value
        # The module is being run, or its body was not run to the end.
        if name in unit.classes:
            return ClassRef(unit.classes[name])
        if name in unit.functions:
            return Function(unit.functions[name], (scope,), source=unit.source)
        if (unit, name) in self.resolving:
            return None
        self.resolving.add((unit, name))
        value = self.imported(unit, name)
        self.resolving.discard((unit, name))
        if value is None:
            inner = self.project.submodule(unit, name)
            value = None if inner is None else self.space(inner)
        return value

    def members(self, unit: Unit, hops: int = 0) -> dict[str, Value]:
        """Return the public classes, functions and variables of a module."""
        found: dict[str, Value] = {}
        for name in self._public(unit, hops):
            value = self.member(unit, name)
            if value is not None and not isinstance(value, Ref | Space):
                found.setdefault(name, value)
            if len(found) >= _MAX_MEMBERS:
                break
        return found

    def _public(self, unit: Unit, hops: int) -> Iterator[str]:
        listed = self._listed(unit) if hops else None
        if listed is not None:
            yield from listed
            return
        scope = self.enter(unit)
        bound = [name for owner, name in self.state.values if owner == scope]
        for name in dict.fromkeys((*unit.classes, *unit.functions, *bound, *unit.names.bindings)):
            if not name.startswith("_"):
                yield name
        if hops < _MAX_HOPS:
            for other in self.project.starred(unit):
                yield from self._public(other, hops + 1)

    def _listed(self, unit: Unit) -> tuple[str, ...] | None:
        """Return the names that a module lists in `__all__`, None where it does not."""
        value = self.state.get((self.enter(unit), "__all__"))
        if not isinstance(value, Sequence):
            return None
        names = tuple(literal(item) for item in value.items)
        return tuple(name for name in names if isinstance(name, str)) or None

    def namespace(self, unit: Unit) -> Table:
        """Return the dict of a module."""
        return Table(dict(self.members(unit)))

    def patch(self, dotted: str, name: object, value: Value) -> None:
        """Put a value into an installed module, under a name that may not be known."""
        items = self.patches.setdefault(dotted.removesuffix(".__dict__"), {})
        items[name if isinstance(name, str) else f"<{len(items)}>"] = value

    def patched(self, dotted: str, key: Value) -> Value | None:
        """Return what was put into an installed module, None where nothing was."""
        items = self.patches.get(dotted.removesuffix(".__dict__"))
        if items is None:
            return None
        known = literal(key)
        told = isinstance(known, str) and not (isinstance(key, Constant) and key.usual)
        if told and known in items:
            return items[str(known)]
        maybe = [value for name, value in items.items() if not told or name.startswith("<")]
        return chosen(Table(dict(enumerate(maybe))), NOTHING) if maybe else None

    def import_module(self, node: ast.expr, given: object) -> Value:
        """Return the module that is imported by a name made at run time.

        Args:
            node: The call.
            given: The name where it is known.
        """
        unit = self.here
        if isinstance(given, str) and given:
            found = self.project.within(unit, given)
            return self.space(found[0]) if found is not None and not found[1] else Ref(given)
        prefix = _prefix(node.args[0]) if isinstance(node, ast.Call) and node.args else ""
        if not prefix.rstrip("."):
            return NOTHING
        found = self.project.within(unit, prefix.rstrip("."))
        if found is None or found[1]:
            return NOTHING
        inner = self.project.siblings(found[0])
        return Either(tuple(self.space(each) for each in inner)) if inner else NOTHING


_NOWHERE = ast.Name("_", ast.Load(), lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)


def _prefix(node: ast.expr) -> str:
    """Return the literal beginning of a text that is put together."""
    while isinstance(node, ast.BinOp):
        node = node.left
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
    ):
        node = node.func.value
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.split("{")[0].split("%")[0]
    return ""
