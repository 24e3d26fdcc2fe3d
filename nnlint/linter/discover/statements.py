"""Statements in the abstract run."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from nnlint.linter.discover.assignments import Assignments
from nnlint.linter.discover.choices import marked, opposite
from nnlint.linter.discover.classes import FunctionDef
from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.machine import MAX_DEPTH, Guards, Key, Record
from nnlint.linter.discover.names import canonical, imported, is_main_guard
from nnlint.linter.discover.plain import holds_layers, is_usual, numeric, plain, truth
from nnlint.linter.discover.recording import diverging
from nnlint.linter.discover.targets import UNKNOWN
from nnlint.linter.discover.values import (
    NOTHING,
    ClassRef,
    Constant,
    Flow,
    Function,
    Made,
    Output,
    Value,
    options,
)

_MAX_UNROLLED = 3_000
_NO_GRAD = ("torch.no_grad", "torch.inference_mode")


class Branch(NamedTuple):
    """One branch of an `if`.

    Attributes:
        met: Whether it is taken, as far as plain values tell.
        sure: Whether that is so however the program is started.
        guards: What must hold of models for it to be taken.
    """

    body: list[ast.stmt]
    met: bool | None = None
    sure: bool = False
    guards: Guards = ()


class Statements(Assignments):
    """The part of the abstract run that executes."""

    def execute(self, body: list[ast.stmt]) -> bool:
        """Run statements; returns whether they leave the block early."""
        if self.depth >= MAX_DEPTH:
            return False
        self.depth += 1
        left: list[list[Record]] = []
        since = len(self.records)
        ended = False
        guards = len(self.guards)
        for node in body:
            self.budget -= 1
            if isinstance(node, ast.If | ast.Match):
                gone: list[list[Record]] = []
                ended = self._choose(node, gone)
                if gone:
                    left += gone
                    since = len(self.records)
            else:
                handler = self._statements.get(type(node))
                ended = bool(handler(self, node)) if handler is not None else False
            if ended:
                break
        del self.guards[guards:]
        # What follows `if ...: return` is its else branch.
        self._doubt([*left, self.records[since:]])
        self.depth -= 1
        return ended

    def _doubt(self, branches: list[list[Record]]) -> None:
        torn = diverging(branches) if len(branches) > 1 else ()
        if torn:
            for record in self.records:
                # Where the live model decides between the branches, there is no doubt.
                if id(record) in torn and not record.use.conditions:
                    record.use = dataclasses.replace(record.use, certain=False)

    def _choose(self, node: ast.If | ast.Match, gone: list[list[Record]]) -> bool:
        """Run the branches of an `if` or `match`; those that leave put their records in `gone`."""
        if is_main_guard(node) and self.frame.scopes[-1] != 0:
            return False
        branches, rest = self._branches(node)
        changes: list[dict[Key, Value]] = []
        guards: list[Guards] = []
        recorded: list[list[Record]] = []
        importing = self.importing
        taken: dict[Key, Value] | None = None
        settled = False
        for body, condition, sure, guard in branches:
            self.importing = importing and not is_main_guard(node)
            start, returned = len(self.records), len(self.frame.returns)
            self.conditions.append(condition)
            with self.guarded(guard):
                ended, changed = self.state.branch(functools.partial(self.execute, body))
            self.conditions.pop()
            if condition is False:
                self.frame.spare += self.frame.returns[returned:]
                del self.frame.returns[returned:]
            here = self.records[start:]
            recorded.append(here)
            if ended:
                gone.append(here)
            elif condition is True:
                taken, settled = changed, sure
                changes.insert(0, changed)
                guards.insert(0, guard)
            else:
                changes.append(changed)
                guards.append(guard)
        self.importing = importing
        self._doubt(recorded)
        if is_main_guard(node):
            self.state.merge(changes[:1])
            return False
        if rest is not None and all(branch.met is False for branch in branches):
            taken, settled = {}, all(branch.sure for branch in branches)
            changes.insert(0, taken)
            guards.insert(0, rest)
        elif rest is not None:
            changes.append({})
            guards.append(rest)
        if taken is not None:
            self._settle(changes, layers=settled)
        self.state.merge(changes, guards, marked)
        if rest and len(changes) == 1:
            # The others have left: what follows in this block is the else branch.
            self.guards.append(rest)
        return not changes

    def _settle(self, changes: list[dict[Key, Value]], *, layers: bool) -> None:
        """Have numbers, and perhaps lists of layers, be those of the first branch, which is taken."""
        taken, *others = changes
        for changed in others:
            for key in {*taken, *changed}:
                value = taken.get(key) or self.state.get(key)
                if value is not None and (numeric(value) or (layers and holds_layers(value))):
                    changed[key] = value

    def _branches(self, node: ast.If | ast.Match) -> tuple[list[Branch], Guards | None]:
        """Return the branches that may run, and what holds where none does; None if one must."""
        if isinstance(node, ast.Match):
            self.evaluate(node.subject)
            last = node.cases[-1]
            catch_all = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            every = catch_all and last.guard is None
            return [Branch(case.body) for case in node.cases], None if every else ()
        branches: list[Branch] = []
        before: bool | None = False
        others: Guards = ()
        sure = True
        while True:
            value = self.evaluate(node.test)
            known = truth(value)
            sure = sure and known is not None and not is_usual(value)
            verdict = self.decide(node.test)
            if verdict is None and self._by_element(node.test, value):
                verdict = known
            guards = self.guards_of(node.test)
            if verdict is not False:
                met = _then(before, known)
                branches.append(Branch(node.body, met, sure, (*others, *guards)))
            if verdict is True:
                return branches, None
            if before is not True:
                before = known if known is True or before is False else None
            others = (*others, *opposite(guards))
            # An elif chain may be longer than the call stack is deep.
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]
                continue
            if node.orelse:
                met = None if before is None else not before
                branches.append(Branch(node.orelse, met, sure, others))
            return branches, None if node.orelse else others

    def _assign(self, node: ast.Assign) -> None:
        value = self.evaluate(node.value)
        for target in node.targets:
            self.assign(target, value)
            self._note_global(target, node)

    def _assign_annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value))
            self._note_global(node.target, node)

    def _assign_operated(self, node: ast.AugAssign) -> None:
        old = self.evaluate(node.target)
        value = self.operate(old, self.evaluate(node.value), node.op, node.target)
        self.assign(node.target, value)

    def _note_global(self, target: ast.expr, node: ast.stmt) -> None:
        """Remember the objects that importing the file leaves in its variables."""
        if not self.importing or self.frame.scopes != (0,):
            return
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            if isinstance(part, ast.Name):
                for option in options(self.lookup(part.id)):
                    if isinstance(option, Made) and option.root not in self.global_roots:
                        self.global_roots.add(option.root)
                        self.globals.setdefault(part.id, []).append((option.root, node))

    def _expression(self, node: ast.Expr) -> None:
        value = self.evaluate(node.value)
        changed = _changed_in_place(node.value)
        if changed is not None and isinstance(value, Output):
            self.assign(changed, _attached(value))

    def _define(self, node: FunctionDef) -> None:
        source = self.source if self.at_module_level else None
        function = Function(node, self.frame.scopes, source=source)
        for decorator in node.decorator_list:
            self.evaluate(decorator)
        if not self.at_module_level:
            self.frame.nested.append(function)
        self.bind(node.name, function)

    def _class(self, node: ast.ClassDef) -> None:
        info = self.classes.get(node.name)
        known = info is not None and info.node is node
        self.bind(node.name, ClassRef(info) if info is not None and known else NOTHING)

    def _return(self, node: ast.Return) -> bool:
        self.frame.returns.append(self.evaluate(node.value) if node.value else Constant(None))
        return True

    def _leave(self, node: ast.Raise | ast.Break | ast.Continue) -> bool:
        if isinstance(node, ast.Raise):
            self.evaluate(node.exc)
        return True

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        iterated = self.evaluate(node.iter)
        elements = self.elements(iterated)
        drawn, exact = self.drawn(iterated)
        exact = exact and self.budget > 0
        if exact and len(elements) < len(drawn) and self._unrolls(node, drawn):
            elements = drawn
        exact = exact and len(elements) == len(drawn)
        if self.budget <= 0:
            elements = [join_all(elements)]
        importing, self.importing = self.importing, False
        known = self.frame.drawn
        if exact:
            self.frame.drawn |= _names(node.target)
        self.frame.vague += not exact
        for element in elements:
            self.assign(node.target, element)
            self.execute(node.body)
        self.frame.vague -= not exact
        self.frame.drawn = known
        self.importing = importing
        self.execute(node.orelse)

    def _unrolls(self, node: ast.For | ast.AsyncFor, drawn: list[Value]) -> bool:
        """Tell whether a loop over more than a few elements is followed for each of them.

        Literal lists say how a model is built. How often a range repeats something says nothing.
        """
        if node not in self.sizes:
            self.sizes[node] = sum(1 for part in node.body for _ in ast.walk(part))
        if self.sizes[node] * len(drawn) > _MAX_UNROLLED:
            return False
        return _sets_attribute(node.body) or (
            not _is_range(node.iter) and all(plain(element) is not UNKNOWN for element in drawn)
        )

    def _by_element(self, test: ast.expr, value: Value) -> bool:
        """Tell whether the element that a loop is at decides a test."""
        drawn = self.frame.drawn
        return bool(drawn) and not is_usual(value) and bool(drawn & _names(test))

    def _while(self, node: ast.While) -> None:
        self.evaluate(node.test)
        importing, self.importing = self.importing, False
        self.frame.vague += 1
        self.execute(node.body)
        self.frame.vague -= 1
        self.importing = importing
        self.execute(node.orelse)

    def _with(self, node: ast.With | ast.AsyncWith) -> bool:
        quiet = 0
        for item in node.items:
            context = item.context_expr
            value = self.evaluate(context)
            quiet += self.is_static(context, *_NO_GRAD) or self._grad_disabled(context)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, value)
        self.no_grad += quiet
        ended = self.execute(node.body)
        self.no_grad -= quiet
        return ended

    def _grad_disabled(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Call)
            and self.is_static(node, "torch.set_grad_enabled")
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value is False
        )

    def _try(self, node: ast.Try | ast.TryStar) -> bool:
        ended = self.execute(node.body)
        handlers_end = True
        for handler in node.handlers:
            left, changes = self.state.branch(functools.partial(self.execute, handler.body))
            if not left:
                # The body is what normally runs; a handler gives only what the body did not.
                fresh = {key: value for key, value in changes.items() if not self.state.get(key)}
                self.state.merge([fresh])
                handlers_end = False
        if not ended:
            ended = self.execute(node.orelse)
        final = self.execute(node.finalbody)
        return final or (ended and handlers_end)

    def _assert(self, node: ast.Assert) -> None:
        self.evaluate(node.test)

    def _redirect(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            scope = self.frame.scopes[-1]
            if isinstance(node, ast.Nonlocal):
                outer = self.frame.scopes[1:]
                scope = next((one for one in outer if self.state.get((one, name))), scope)
            self.frame.redirected[name] = scope

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if self.at_module_level:
            return
        for name, dotted in imported(node):
            self.bind(name, self.resolve(self.here, canonical(dotted)))

    # Any: each handler takes the node type that it is listed under.
    _statements: ClassVar[dict[type[ast.stmt], Callable[[Statements, Any], bool | None]]] = {
        ast.AnnAssign: _assign_annotated,
        ast.Assert: _assert,
        ast.Assign: _assign,
        ast.AsyncFor: _for,
        ast.AsyncFunctionDef: _define,
        ast.AsyncWith: _with,
        ast.AugAssign: _assign_operated,
        ast.Break: _leave,
        ast.ClassDef: _class,
        ast.Continue: _leave,
        ast.Expr: _expression,
        ast.For: _for,
        ast.FunctionDef: _define,
        ast.Global: _redirect,
        ast.Import: _import,
        ast.ImportFrom: _import,
        ast.Nonlocal: _redirect,
        ast.Raise: _leave,
        ast.Return: _return,
        ast.Try: _try,
        ast.TryStar: _try,
        ast.While: _while,
        ast.With: _with,
    }


def _then(before: bool | None, known: bool | None) -> bool | None:
    """Tell whether a branch is taken: none before it is, and its own condition holds."""
    if before is True or known is False:
        return False
    return True if before is False and known is True else None


def _names(node: ast.expr) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _is_range(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"
    )


def _changed_in_place(node: ast.expr) -> ast.expr | None:
    """Return the variable that a call of a method such as `out.data.clamp_(0)` changes."""
    match node:
        case ast.Call(func=ast.Attribute(value=changed, attr=name)):
            if not name.endswith("_") or name.endswith("__"):
                return None
            if isinstance(changed, ast.Attribute) and changed.attr == "data":
                changed = changed.value
            return changed if isinstance(changed, ast.Name | ast.Attribute) else None
    return None


def _attached(value: Output) -> Output:
    """Return what a variable holds after a change in place: by way of its data or not."""

    def attached(flow: Flow) -> Flow:
        *before, last = flow.steps
        if before and (before[-1].kind, before[-1].name) == ("attr", "data"):
            return dataclasses.replace(flow, steps=(*before[:-1], last))
        return flow

    return Output(tuple(map(attached, value.flows)))


def _sets_attribute(body: list[ast.stmt]) -> bool:
    """Tell whether a loop only sets attributes by name: `setattr`, or an item of `__dict__`."""
    node = body[0]
    if len(body) > 1:
        return False
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        holder = node.targets[0].value
        return isinstance(holder, ast.Attribute) and holder.attr == "__dict__"
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "setattr"
    )
