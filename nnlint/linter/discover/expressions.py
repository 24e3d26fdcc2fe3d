"""Expressions in the abstract run."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, ClassVar

from nnlint.linter.discover.externals import Externals
from nnlint.linter.discover.joining import join, join_all
from nnlint.linter.discover.machine import MAX_DEPTH
from nnlint.linter.discover.targets import UNKNOWN, Step
from nnlint.linter.discover.values import (
    MAX_ITEMS,
    NOTHING,
    Arguments,
    Constant,
    Function,
    Opaque,
    Output,
    Sequence,
    Table,
    Value,
    is_none,
    literal,
    outputs_in,
)

_LIST_GROWS = frozenset(("append", "add", "insert", "extend"))

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.MatMult: "matmul",
    ast.Div: "truediv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.FloorDiv: "floordiv",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
}


class Expressions(Externals):
    """The part of the abstract run that evaluates."""

    def evaluate(self, node: ast.expr | None) -> Value:
        """Return what an expression stands for; nothing where it is nested too deep."""
        if node is None or self.depth >= MAX_DEPTH:
            return NOTHING
        self.budget -= 1
        handler = self._handlers.get(type(node))
        self.depth += 1
        try:
            return handler(self, node) if handler is not None else self._other(node)
        finally:
            self.depth -= 1

    def _other(self, node: ast.expr) -> Value:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child)
        return NOTHING

    def _constant(self, node: ast.Constant) -> Value:
        return Constant(node.value)

    def _name(self, node: ast.Name) -> Value:
        return self.lookup(node.id)

    def _attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.evaluate(node.value), node.attr, node)

    def _subscript(self, node: ast.Subscript) -> Value:
        base = self.evaluate(node.value)
        return self.item(base, self.evaluate(node.slice), node)

    def _slice(self, node: ast.Slice) -> Value:
        bounds = [
            literal(self.evaluate(bound)) if bound is not None else None
            for bound in (node.lower, node.upper, node.step)
        ]
        return NOTHING if UNKNOWN in bounds else Constant(slice(*bounds))

    def _sequence(self, node: ast.Tuple | ast.List | ast.Set) -> Value:
        items: list[Value] = []
        for element in node.elts:
            value = self.evaluate(element)
            if isinstance(element, ast.Starred):
                items.extend(value.items if isinstance(value, Sequence) else (value,))
            else:
                items.append(value)
        return Sequence(tuple(items[:MAX_ITEMS]))

    def _dict(self, node: ast.Dict) -> Value:
        items: dict[object, Value] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            given = self.evaluate(value)
            known = literal(self.evaluate(key)) if key is not None else UNKNOWN
            if key is None and isinstance(given, Table):
                items.update(given.items)
            elif isinstance(known, str | int):
                items[known] = given
        return Table(items)

    def _call(self, node: ast.Call) -> Value:
        function = node.func
        if isinstance(function, ast.Attribute):
            base = self.evaluate(function.value)
            arguments = self._arguments(node)
            if isinstance(base, Sequence) and function.attr in _LIST_GROWS:
                return self._grow(base, function, arguments)
            if isinstance(base, Table) and function.attr == "update":
                return self._update(base, function, arguments)
            return self.call_method(base, function.attr, arguments, node)
        callee = self.evaluate(function)
        hint = function.id if isinstance(function, ast.Name) else ""
        return self.call(callee, self._arguments(node), node, hint)

    def _grow(self, base: Sequence, function: ast.Attribute, arguments: Arguments) -> Value:
        added = arguments.positional[-1:]
        if function.attr == "extend" and added:
            given = added[0]
            added = given.items if isinstance(given, Sequence) else (given,)
        self.assign(function.value, Sequence((*base.items, *added)[:MAX_ITEMS]))
        return NOTHING

    def _update(self, base: Table, function: ast.Attribute, arguments: Arguments) -> Value:
        given = arguments.positional[0] if arguments.positional else None
        more = given.items if isinstance(given, Table) else {}
        self.assign(function.value, Table({**base.items, **more, **arguments.keywords}))
        return NOTHING

    def _arguments(self, node: ast.Call) -> Arguments:
        positional: list[Value] = []
        keywords: dict[str, Value] = {}
        hidden = False
        for argument in node.args:
            value = self.evaluate(argument)
            if not isinstance(argument, ast.Starred):
                positional.append(value)
            elif isinstance(value, Sequence):
                positional.extend(value.items)
            else:
                # What follows an unknown number of arguments has no known position.
                hidden = True
                break
        for keyword in node.keywords:
            value = self.evaluate(keyword.value)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, Table):
                keywords.update((str(key), item) for key, item in value.items.items())
            else:
                hidden = True
        return Arguments(tuple(positional[:MAX_ITEMS]), keywords, hidden)

    def _binary(self, node: ast.BinOp) -> Value:
        return self.operate(self.evaluate(node.left), self.evaluate(node.right), node.op, node)

    def operate(self, left: Value, right: Value, op: ast.operator, node: ast.expr) -> Value:
        """Return the result of a binary operator."""
        received = outputs_in((left, right))
        if received is not None:
            other = (right,) if outputs_in((left,)) else (left,)
            name = f"operator.{_OPERATORS.get(type(op), 'op')}"
            args = Arguments(other).literals()[0]
            return received.then(Step("call", name, self.source.location(node), args))
        if isinstance(left, Sequence) and isinstance(right, Sequence):
            return Sequence((*left.items, *right.items)[:MAX_ITEMS])
        if isinstance(left, Opaque):
            return left
        return right if isinstance(right, Opaque) else NOTHING

    def _unary(self, node: ast.UnaryOp) -> Value:
        value = self.evaluate(node.operand)
        if isinstance(value, Constant) and isinstance(value.value, int | float):
            if isinstance(node.op, ast.USub):
                return Constant(-value.value)
            return NOTHING
        if isinstance(value, Output):
            name = {ast.USub: "neg", ast.Invert: "invert", ast.Not: "not_", ast.UAdd: "pos"}
            step = f"operator.{name[type(node.op)]}"
            return value.then(Step("call", step, self.source.location(node)))
        return value if isinstance(value, Opaque) else NOTHING

    def _either(self, node: ast.IfExp) -> Value:
        self.evaluate(node.test)
        return join(self.evaluate(node.body), self.evaluate(node.orelse))

    def _boolean(self, node: ast.BoolOp) -> Value:
        values = [self.evaluate(value) for value in node.values]
        if isinstance(node.op, ast.Or):
            # `given or default`: a literal None is never the result unless it comes last.
            values = [value for value in values[:-1] if not is_none(value)] + values[-1:]
        return join_all(values)

    def _walrus(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.assign(node.target, value)
        return value

    def _inner(self, node: ast.Await | ast.Starred | ast.FormattedValue) -> Value:
        return self.evaluate(node.value)

    def _yield(self, node: ast.Yield | ast.YieldFrom) -> Value:
        value = self.evaluate(node.value)
        self.frame.yields.append(value)
        return NOTHING

    def _lambda(self, node: ast.Lambda) -> Value:
        return Function(node, self.frame.scopes)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
        results: list[Value] = []
        self._loop(node.generators, lambda: results.append(self.evaluate(node.elt)))
        return Sequence(tuple(results[:MAX_ITEMS]))

    def _dict_comprehension(self, node: ast.DictComp) -> Value:
        results: dict[object, Value] = {}

        def add() -> None:
            key = literal(self.evaluate(node.key))
            value = self.evaluate(node.value)
            if isinstance(key, str | int):
                results[key] = value

        self._loop(node.generators, add)
        return Table(results) if results else NOTHING

    def _loop(self, generators: list[ast.comprehension], run: Callable[[], None]) -> None:
        if not generators or self.depth >= MAX_DEPTH:
            run()
            return
        first = generators[0]
        elements = self.elements(self.evaluate(first.iter))
        if self.budget <= 0:
            elements = [join_all(elements)]
        self.depth += 1
        for element in elements:
            self.assign(first.target, element)
            for condition in first.ifs:
                self.evaluate(condition)
            self._loop(generators[1:], run)
        self.depth -= 1

    # Any: each handler takes the node type that it is listed under.
    _handlers: ClassVar[dict[type[ast.expr], Callable[[Expressions, Any], Value]]] = {
        ast.Attribute: _attribute,
        ast.Await: _inner,
        ast.BinOp: _binary,
        ast.BoolOp: _boolean,
        ast.Call: _call,
        ast.Constant: _constant,
        ast.Dict: _dict,
        ast.DictComp: _dict_comprehension,
        ast.FormattedValue: _inner,
        ast.GeneratorExp: _comprehension,
        ast.IfExp: _either,
        ast.Lambda: _lambda,
        ast.List: _sequence,
        ast.ListComp: _comprehension,
        ast.Name: _name,
        ast.NamedExpr: _walrus,
        ast.Set: _sequence,
        ast.SetComp: _comprehension,
        ast.Slice: _slice,
        ast.Starred: _inner,
        ast.Subscript: _subscript,
        ast.Tuple: _sequence,
        ast.UnaryOp: _unary,
        ast.Yield: _yield,
        ast.YieldFrom: _yield,
    }
