"""Branches in the abstract run: tests that are decided, and tests that the live model decides."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nnlint.linter.discover.conditions import MODEL, negated
from nnlint.linter.discover.machine import Guards, Machine
from nnlint.linter.discover.names import chain
from nnlint.linter.discover.values import (
    Bound,
    ClassRef,
    Either,
    Function,
    Guard,
    Made,
    Output,
    Partial,
    Value,
    options,
)

_ASKING = (ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.List)
_OBJECTS = (Bound, ClassRef, Function, Made, Partial)


class Choices(Machine):
    """The part of the abstract run that knows what a test says."""

    def decide(self, test: ast.expr) -> bool | None:
        """Return the result of a test where it asks whether a known object is there.

        Plain values are not looked at: a flag may be set otherwise in the next run.
        """
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            verdict = self.decide(test.operand)
            return None if verdict is None else not verdict
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            right = test.comparators[0]
            nothing = isinstance(right, ast.Constant) and right.value is None
            if nothing and self._is_object(test.left, Output):
                if isinstance(test.ops[0], ast.Is | ast.Eq):
                    return False
                if isinstance(test.ops[0], ast.IsNot | ast.NotEq):
                    return True
            return None
        return True if self._is_object(test) else None

    def _is_object(self, node: ast.expr, *also: type[Value]) -> bool:
        if not chain(node):
            return False
        value = self.evaluate(node)
        return all(isinstance(option, (*_OBJECTS, *also)) for option in options(value))

    def guards_of(self, test: ast.expr) -> Guards:
        """Return what a test says of the models whose own attributes it asks for."""
        if test not in self.askable:
            self.askable[test] = _is_askable(test)
        if not self.askable[test]:
            return ()
        asked: dict[int, Made] = {}
        written = self._written(test, asked)
        if written is None or not asked:
            return ()
        condition = ast.unparse(written)
        return tuple(Guard(made.root, condition) for made in asked.values())

    def _written(self, node: ast.expr, asked: dict[int, Made]) -> ast.expr | None:
        """Rewrite a test so that it speaks of the model; None where it asks for anything else."""
        match node:
            case ast.Constant():
                return node
            case ast.Attribute():
                return self._own_attribute(node, asked)
            case ast.UnaryOp(ast.Not() | ast.USub(), operand):
                inner = [operand]
            case ast.BoolOp(values=values):
                inner = values
            case ast.Tuple(elts) | ast.List(elts):
                inner = elts
            case ast.Compare(left, _, comparators):
                inner = [left, *comparators]
            case _:
                return None
        done = [self._written(each, asked) for each in inner]
        rewritten = [each for each in done if each is not None]
        if len(rewritten) < len(inner):
            return None
        match node:
            case ast.UnaryOp(op):
                return ast.UnaryOp(op, rewritten[0])
            case ast.BoolOp(op):
                return ast.BoolOp(op, rewritten)
            case ast.Compare(ops=ops):
                return ast.Compare(rewritten[0], ops, rewritten[1:])
            case _:
                return ast.Tuple(rewritten, ast.Load())

    def _own_attribute(self, node: ast.Attribute, asked: dict[int, Made]) -> ast.expr | None:
        """Rewrite `self.model.classes` to `model.classes`, where `self.model` is a model."""
        names: list[str] = []
        at: ast.expr = node
        found: tuple[list[str], list[Made]] | None = None
        while isinstance(at, ast.Attribute):
            names.insert(0, at.attr)
            at = at.value
            if not chain(at):
                return None
            models = _models(self.evaluate(at))
            # `model.module` is the model itself: the one nearest to the attribute counts.
            if models and (found is None or models[0].root is not found[1][0].root):
                found = list(names), models
        if found is None:
            return None
        for made in found[1]:
            asked[id(made.root)] = made
        if len({made.root for made in asked.values()}) > len(found[1]):
            return None
        rewritten: ast.expr = ast.Name(MODEL, ast.Load())
        for name in found[0]:
            rewritten = ast.Attribute(rewritten, name, ast.Load())
        return rewritten

    @contextmanager
    def guarded(self, guards: Guards, *, chosen: bool = False) -> Iterator[None]:
        """Run what only happens where the guards hold.

        Args:
            guards: The guards.
            chosen: Whether they also choose between losses, for the models that they speak of.
        """
        self.guards.append(guards)
        if chosen and guards:
            self.choices.append(guards)
        try:
            yield
        finally:
            self.guards.pop()
            if chosen and guards:
                self.choices.pop()


def _is_askable(test: ast.expr) -> bool:
    """Tell whether a test is made of attributes, literals and comparisons, so worth a look."""
    asks = False
    stack = [test]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Attribute):
            asks = True
            if not chain(node):
                return False
        elif isinstance(node, _ASKING):
            stack.extend(each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr))
        elif not isinstance(node, ast.Constant):
            return False
    return asks


def opposite(guards: Guards) -> Guards:
    """Return the guards of the other branch."""
    return tuple(Guard(each.made, negated(each.condition)) for each in guards)


def marked(value: Value, parts: Sequence[tuple[Value, Guards]]) -> Value:
    """Return a value that is one of some parts, with what must hold for each of them."""
    if (
        isinstance(value, Either)
        and len(value.options) == len(parts)
        and all(guards for _, guards in parts)
        and all(option is part for option, (part, _) in zip(value.options, parts, strict=True))
    ):
        return Either(value.options, tuple(guards for _, guards in parts))
    return value


def _models(value: Value) -> list[Made]:
    found = [each for each in options(value) if isinstance(each, Made)]
    if len(found) < len(options(value)):
        return []
    return found if all(each.info is not None and each.info.module for each in found) else []
