"""Expressions in the abstract run."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from nnlint.linter.discover import folding
from nnlint.linter.discover.choices import marked, opposite
from nnlint.linter.discover.containers import (
    LIST_CHANGES,
    TABLE_CHANGES,
    changed_list,
    changed_table,
    combined,
    entries,
    sequence,
    table_method,
)
from nnlint.linter.discover.externals import MAX_UNROLL, Externals
from nnlint.linter.discover.joining import join, join_all
from nnlint.linter.discover.machine import MAX_DEPTH
from nnlint.linter.discover.plain import (
    decided,
    fold,
    forgetful,
    is_code,
    is_object,
    key_of,
    numeric,
    truth,
)
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
    options,
    outputs_in,
)

_DISPLAYS: dict[type[ast.expr], Literal["list", "tuple", "set"]] = {
    ast.List: "list",
    ast.Set: "set",
    ast.SetComp: "set",
    ast.Tuple: "tuple",
}
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
_COMMUTATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)
_REVERSED: dict[type[ast.operator], str] = {ast.Sub: "torch.rsub"}


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
        vague = False
        for element in node.elts:
            value = self.evaluate(element)
            if isinstance(element, ast.Starred):
                drawn, exact = self.drawn(value)
                items.extend(drawn if exact else (value,))
                vague = vague or not exact
            else:
                items.append(value)
        return sequence(tuple(items), Sequence((), _DISPLAYS[type(node)], vague))

    def _dict(self, node: ast.Dict) -> Value:
        items: dict[object, Value] = {}
        vague = False
        for key, value in zip(node.keys, node.values, strict=True):
            given = self.evaluate(value)
            if key is None:
                more = given.items if isinstance(given, Table) else entries(given)
                items.update(more or {})
                vague = vague or more is None
                continue
            known = key_of(self.evaluate(key))
            if known is UNKNOWN:
                vague = True
            else:
                items[known] = given
        return Table(items, open=vague)

    def _call(self, node: ast.Call) -> Value:
        function = node.func
        if isinstance(function, ast.Attribute):
            base = self.evaluate(function.value)
            arguments = self.arguments_of(node)
            if isinstance(base, Sequence) and function.attr in LIST_CHANGES:
                return self._change_list(base, function, arguments)
            if isinstance(base, Table) and function.attr in TABLE_CHANGES:
                given = table_method(base, function.attr, arguments)
                self.assign(function.value, changed_table(base, function.attr, arguments))
                return given
            return self.call_method(base, function.attr, arguments, node)
        callee = self.evaluate(function)
        hint = function.id if isinstance(function, ast.Name) else ""
        return self.call(callee, self.arguments_of(node), node, hint)

    def _change_list(self, base: Sequence, function: ast.Attribute, arguments: Arguments) -> Value:
        changed = changed_list(base, function.attr, arguments)
        if self.frame.vague:
            changed = dataclasses.replace(changed, open=True)
        self.assign(function.value, changed)
        if function.attr != "pop":
            return NOTHING
        at = arguments.positional[0] if arguments.positional else Constant(-1)
        return self.item(base, at, function)

    def arguments_of(self, node: ast.Call) -> Arguments:
        """Return the arguments of a call."""
        positional: list[Value] = []
        keywords: dict[str, Value] = {}
        hidden = False
        for argument in node.args:
            value = self.evaluate(argument)
            if not isinstance(argument, ast.Starred):
                positional.append(value)
                continue
            first = options(value)[0]
            if isinstance(first, Sequence):
                # Another option may hold other items.
                unsure = first is not value
                positional.extend(join(item, NOTHING) if unsure else item for item in first.items)
                value = first
            if not isinstance(value, Sequence) or first is not value or value.open:
                # What follows an unknown number of arguments has no known position.
                hidden = True
                break
        for keyword in node.keywords:
            value = self.evaluate(keyword.value)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
                continue
            found = [known for known in map(entries, options(value)) if known is not None]
            if found:
                keywords.update(found[0])
            hidden = hidden or len(found) != len(options(value)) or _is_open(value)
        return Arguments(tuple(positional[:MAX_ITEMS]), keywords, hidden)

    def _binary(self, node: ast.BinOp) -> Value:
        return self.operate(self.evaluate(node.left), self.evaluate(node.right), node.op, node)

    def operate(self, left: Value, right: Value, op: ast.operator, node: ast.expr) -> Value:
        """Return the result of a binary operator; `node` is it, or what it is assigned to."""
        received = outputs_in((left, right))
        if received is not None:
            first = outputs_in((left,)) is not None
            name = f"operator.{_OPERATORS.get(type(op), 'op')}"
            if not first and not isinstance(op, _COMMUTATIVE):
                # Python has a function for no reversed operator, torch for one.
                name = _REVERSED.get(type(op), "operator.reversed")
            args = Arguments((right if first else left,)).literals()[0]
            return received.then(Step("call", name, self.source.location(node), args))
        if self.frame.vague and not isinstance(node, ast.BinOp):
            # A sum over a loop whose rounds are not known.
            both = combined(left, right, op)
            if isinstance(both, Sequence | Table):
                return dataclasses.replace(both, open=True)
            return NOTHING
        known = fold(lambda one, other: folding.binary(op, one, other), left, right)
        if known is None:
            known = combined(left, right, op)
        if known is not None:
            return known
        return forgetful(left if isinstance(left, Opaque) else right)

    def _unary(self, node: ast.UnaryOp) -> Value:
        value = self.evaluate(node.operand)
        if isinstance(value, Output):
            name = {ast.USub: "neg", ast.Invert: "invert", ast.Not: "not_", ast.UAdd: "pos"}
            step = f"operator.{name[type(node.op)]}"
            return value.then(Step("call", step, self.source.location(node)))
        if isinstance(node.op, ast.Not) and (known := truth(value)) is not None:
            return Constant(not known)
        folded = fold(lambda one: folding.unary(node.op, one), value)
        return forgetful(value) if folded is None else folded

    def _compare(self, node: ast.Compare) -> Value:
        values = [self.evaluate(one) for one in (node.left, *node.comparators)]
        result: Value = Constant(value=True)
        for op, left, right in zip(node.ops, values, values[1:], strict=False):
            known = self._compared(op, left, right)
            if known is None:
                return NOTHING
            if truth(known) is not True:
                return known
            result = known
        return result

    @staticmethod
    def _compared(op: ast.cmpop, left: Value, right: Value) -> Value | None:
        if isinstance(op, ast.Is | ast.IsNot):
            for one, other in ((left, right), (right, left)):
                if is_none(one) and is_object(other):
                    return Constant(isinstance(op, ast.IsNot))
        if isinstance(op, ast.In | ast.NotIn) and (known := entries(right)) is not None:
            key = key_of(left)
            if key is not UNKNOWN and (str(key) in known or not _is_open(right)):
                return Constant((str(key) in known) == isinstance(op, ast.In))
            return None
        return fold(lambda one, other: folding.compare(op, one, other), left, right)

    def _either(self, node: ast.IfExp) -> Value:
        known = truth(self.evaluate(node.test))
        verdict = self.decide(node.test)
        if verdict is not None:
            return self.evaluate(node.body if verdict else node.orelse)
        guards = self.guards_of(node.test)
        others = opposite(guards)
        with self.guarded(guards):
            first = self.evaluate(node.body)
        with self.guarded(others):
            second = self.evaluate(node.orelse)
        parts = [(first, guards), (second, others)]
        if known is False:
            parts.reverse()
        value = decided(parts[0][0], parts[1][0], uncertain=known is None)
        return marked(value, parts)

    def _boolean(self, node: ast.BoolOp) -> Value:
        deciding = isinstance(node.op, ast.Or)
        values: list[Value] = []
        for each in node.values:
            values.append(self.evaluate(each))
            if deciding and self.decide(each):
                break
        for at, value in enumerate(values):
            known = truth(value)
            if known is None:
                break
            if (known == deciding or at == len(values) - 1) and (numeric(value) or is_code(value)):
                return value
        if deciding:
            # `given or default`: a literal None is never the result unless it comes last.
            values = [value for value in values[:-1] if not is_none(value)] + values[-1:]
            # What is known to be empty or zero neither, but a switch in a file may be turned.
            values.sort(key=lambda value: truth(value) is False)
        return join_all(values)

    def _text(self, node: ast.JoinedStr) -> Value:
        pieces = [self.evaluate(piece) for piece in node.values]
        known = fold(_concatenated, *pieces)
        return NOTHING if known is None else known

    def _formatted(self, node: ast.FormattedValue) -> Value:
        value = self.evaluate(node.value)
        spec = literal(self.evaluate(node.format_spec)) if node.format_spec is not None else ""
        if not isinstance(spec, str):
            return NOTHING
        known = fold(lambda one: folding.formatted(one, node.conversion, spec), value)
        return NOTHING if known is None else known

    def _walrus(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.assign(node.target, value)
        return value

    def _inner(self, node: ast.Await | ast.Starred) -> Value:
        return self.evaluate(node.value)

    def _yield(self, node: ast.Yield | ast.YieldFrom) -> Value:
        value = self.evaluate(node.value)
        self.frame.yields.append(value)
        return NOTHING

    def _lambda(self, node: ast.Lambda) -> Value:
        return Function(node, self.frame.scopes)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
        results: list[Value] = []

        def add() -> bool:
            results.append(self.evaluate(node.elt))
            return outputs_in(tuple(results[-1:])) is None

        exact = self._loop(node.generators, add)
        return sequence(tuple(results), Sequence((), _DISPLAYS.get(type(node), "list"), not exact))

    def _dict_comprehension(self, node: ast.DictComp) -> Value:
        results: dict[object, Value] = {}
        known = True

        def add() -> bool:
            nonlocal known
            key = key_of(self.evaluate(node.key))
            value = self.evaluate(node.value)
            known = known and key is not UNKNOWN
            if key is not UNKNOWN:
                results[key] = value
            return outputs_in((value,)) is None

        exact = self._loop(node.generators, add)
        return Table(results, open=not (exact and known)) if results or exact else NOTHING

    def _loop(self, generators: list[ast.comprehension], run: Callable[[], bool]) -> bool:
        """Run a comprehension; returns whether it was run once for each of its elements.

        What `run` returns tells whether it may be run many times: model outputs are not unrolled.
        """
        if not generators or self.depth >= MAX_DEPTH:
            return run()
        first = generators[0]
        iterated = self.evaluate(first.iter)
        elements, exact = self.drawn(iterated)
        short = isinstance(iterated, Sequence | Table) and len(elements) <= MAX_UNROLL
        if self.budget <= 0 and len(elements) > 1:
            elements, exact = [join_all(elements)], False
        self.depth += 1
        while elements:
            element = elements.pop(0)
            self.assign(first.target, element)
            met = [truth(self.evaluate(condition)) for condition in first.ifs]
            if False in met:
                continue
            many = self._loop(generators[1:], run)
            exact = exact and None not in met and many
            if not many and not short and elements:
                elements, exact = [join_all(elements)], False
        self.depth -= 1
        return exact

    # Any: each handler takes the node type that it is listed under.
    _handlers: ClassVar[dict[type[ast.expr], Callable[[Expressions, Any], Value]]] = {
        ast.Attribute: _attribute,
        ast.Await: _inner,
        ast.BinOp: _binary,
        ast.BoolOp: _boolean,
        ast.Call: _call,
        ast.Compare: _compare,
        ast.Constant: _constant,
        ast.Dict: _dict,
        ast.DictComp: _dict_comprehension,
        ast.FormattedValue: _formatted,
        ast.GeneratorExp: _comprehension,
        ast.IfExp: _either,
        ast.JoinedStr: _text,
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


def _is_open(value: Value) -> bool:
    return any(isinstance(one, Sequence | Table) and one.open for one in options(value))


def _concatenated(*pieces: Any) -> Any:
    text = "".join(map(str, pieces))
    return text if folding.small(text) else UNKNOWN
