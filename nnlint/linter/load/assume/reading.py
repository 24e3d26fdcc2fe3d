"""Reads from the syntax of functions what they do with a parameter."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nnlint.linter.load.assume.uses import Call, Handed, Uses

_MOST_FUNCTIONS = 60
_DEEPEST = 4
_TEXT = frozenset({"lower", "upper", "split", "startswith", "endswith", "strip", "format"})
_MAPPING = frozenset({"items", "keys", "values", "get"})
_SEQUENCE = frozenset({"append", "extend", "insert", "pop", "index", "copy", "reverse"})
_TENSOR = frozenset({"shape", "size", "dim", "to", "cuda", "float", "long", "detach", "numpy"})
_COUNTING = frozenset({"range"})
_NUMERIC = frozenset({"int", "float", "abs", "round", "pow", "divmod"})
_ITERATING = frozenset({"list", "tuple", "set", "sorted", "reversed", "enumerate", "iter", "sum"})

IsUsers = Callable[[str], bool]
Path = tuple[str, ...]
Defined = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Scope:
    """A function with what is needed to read it.

    Attributes:
        function: The live function.
        owner: The class whose constructor or method it is, None for a plain function.
        later: Whether it runs after the construction.
    """

    function: types.FunctionType
    owner: type | None = None
    later: bool = False


class Reader:
    """Reads what functions do with their parameters.

    Args:
        is_users: Tells whether a file name is of the user's code; other code is not read.
    """

    def __init__(self, is_users: IsUsers) -> None:
        self.is_users = is_users
        self._left = 0

    def uses_of(self, function: Callable[..., Any], parameter: str) -> Uses:
        """Return what a class's constructor, or a function, does with a parameter."""
        uses = Uses()
        self._left = _MOST_FUNCTIONS
        scope = self.scope(function)
        if scope is not None:
            self._read(scope, (parameter,), uses, frozenset())
        return uses

    def uses_of_global(self, model: Callable[..., Any], name: str) -> Uses:
        """Return what a function, or the methods of a class, do with a global of their module."""
        uses = Uses()
        self._left = _MOST_FUNCTIONS
        owner = model if isinstance(model, type) else None
        for function in _methods(owner) if owner is not None else (model,):
            later = owner is not None and function.__name__ != "__init__"
            scope = self._scope(function, owner, later=later)
            if scope is not None and name in scope.function.__code__.co_names:
                self._read(scope, (name,), uses, frozenset())
        return uses

    def scope(self, function: Callable[..., Any]) -> Scope | None:
        """Return the user's function that takes the arguments of a call, None where it is not the user's."""
        owner = None
        if isinstance(function, type):
            owner = _owner(function, "__init__")
            function = function.__init__  # type: ignore[misc] # read, not called
            owner = owner or None
        return self._scope(function, owner)

    def _scope(self, function: Any, owner: type | None, *, later: bool = False) -> Scope | None:
        plain = inspect.unwrap(function) if callable(function) else function
        plain = getattr(plain, "__func__", plain)
        if isinstance(plain, types.FunctionType) and self.is_users(plain.__code__.co_filename):
            return Scope(plain, owner, later)
        return None

    def _read(self, scope: Scope, path: Path, uses: Uses, seen: frozenset[Any]) -> None:
        key = (scope.function.__code__, path)
        if key in seen or len(seen) >= _DEEPEST or self._left <= 0:
            return
        self._left -= 1
        tree = definition(scope.function)
        if tree is None:
            return
        reading = _Reading(self, scope, tree, seen | {key})
        reading.follow(path, uses)

    def enter(
        self,
        callee: Any,
        owner: type | None,
        call: ast.Call,
        node: ast.expr,
        *,
        uses: Uses,
        seen: frozenset[Any],
        later: bool,
    ) -> bool:
        """Follow a value into a function of the user that it is handed to."""
        bound = isinstance(callee, (type, types.MethodType)) or owner is not None
        if isinstance(callee, type):
            owner = _owner(callee, "__init__")
            callee = callee.__init__  # type: ignore[misc] # read, not called
        scope = self._scope(callee, owner, later=later)
        if scope is None:
            return False
        name = _parameter(scope.function, call, node, bound=bound)
        if name:
            uses.names.append(name)
            self._read(scope, (name,), uses, seen)
        return True


class _Reading:
    """One function, read for the places where a value stands."""

    def __init__(self, reader: Reader, scope: Scope, tree: Defined, seen: frozenset[Any]) -> None:
        self.reader = reader
        self.scope = scope
        self.tree = tree
        self.seen = seen
        self.parents = _parents(tree)
        self.active: set[Path] = set()
        arguments = [*tree.args.posonlyargs, *tree.args.args]
        self.self_name = arguments[0].arg if scope.owner is not None and arguments else ""

    def follow(self, path: Path, uses: Uses) -> None:
        """Note each use of what stands under `path`, and under the names that it is given."""
        todo, done = [path], set()
        while todo:
            current = todo.pop(0)
            if current in done or current in self.active:
                continue  # `for x in x` would go on for ever
            done.add(current)
            self.active.add(current)
            for node in _occurrences(self.tree, current):
                todo += self._note(node, uses)
            if current[0] == self.self_name and len(current) == 2 and not self.scope.later:
                self._elsewhere(current[1], uses)
        self.active -= done

    def _elsewhere(self, attribute: str, uses: Uses) -> None:
        """Read what the other methods of the class do with an attribute."""
        for method in _methods(self.scope.owner):
            scope = self.reader._scope(method, self.scope.owner, later=True)  # noqa: SLF001 - of this module
            if scope is None or scope.function.__code__ is self.scope.function.__code__:
                continue
            first = next(iter(scope.function.__code__.co_varnames), "")
            self.reader._read(scope, (first, attribute), uses, self.seen)  # noqa: SLF001 - as above

    def _note(self, node: ast.expr, uses: Uses) -> Iterator[Path]:
        parent = self.parents[node]
        match parent:
            case ast.Attribute():
                self._attribute(parent, uses)
            case ast.Subscript(value=value) if value is node:
                self._item(parent, uses)
            case ast.Subscript(value=ast.Dict(keys=keys)):
                uses.literals += [key.value for key in keys if isinstance(key, ast.Constant)]
            case ast.Call(func=function) if function is node:
                names = frozenset(k.arg for k in parent.keywords if k.arg)
                ignored = isinstance(self.parents[parent], ast.Expr)
                uses.calls.append(Call(len(parent.args), names, self.scope.later, ignored))
            case ast.Call():
                self._argument(parent, node, uses)
            case ast.keyword(arg=None):
                uses.mapping = True
            case ast.keyword():
                call = self.parents[parent]
                if isinstance(call, ast.Call):
                    self._argument(call, node, uses)
            case ast.Starred():
                uses.each()
            case ast.BinOp(op=ast.Mult(), left=other) | ast.BinOp(op=ast.Mult(), right=other) if (
                isinstance(other, (ast.List, ast.Tuple)) and other is not node
            ):
                uses.counted = True
            case ast.BinOp(op=ast.Add(), left=other, right=another) if isinstance(
                other if another is node else another, (ast.List, ast.Tuple)
            ):
                uses.each()
            case ast.BinOp(op=ast.Mod(), left=ast.Constant(value=str())):
                pass
            case ast.BinOp() | ast.UnaryOp(op=ast.USub()):
                uses.number = True
            case ast.Compare():
                _compare(parent, node, uses)
            case ast.For(iter=iterated, target=target) if iterated is node:
                yield from self._iterate(target, uses)
            case ast.comprehension(iter=iterated, target=target) if iterated is node:
                yield from self._iterate(target, uses)
            case ast.Assign(value=value, targets=targets) if value is node:
                for target in targets:
                    yield from self._assign(target, uses)
            case ast.AnnAssign(value=value, target=target) if value is node:
                yield from self._assign(target, uses)
            case ast.BoolOp(op=ast.Or(), values=[first, *_]) if first is node:
                uses.none = True
            case ast.If() | ast.While() | ast.IfExp() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                if not isinstance(parent, ast.IfExp) or parent.test is node:
                    uses.tested = True
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                self._element(parent, elements, node, uses)

    def _attribute(self, parent: ast.Attribute, uses: Uses) -> None:
        name = parent.attr
        called = isinstance(up := self.parents[parent], ast.Call) and up.func is parent
        if called and name in _TEXT:
            uses.text = True
        elif called and name == "get" and isinstance(up, ast.Call) and up.args and isinstance(
            up.args[0], ast.Constant
        ):  # fmt: skip
            uses.mapping = True
            uses.keys.setdefault(up.args[0].value, Uses())
        elif called and name in _MAPPING:
            uses.mapping = True
        elif called and name in _SEQUENCE:
            uses.each()
        elif name in _TENSOR:
            uses.tensor = True
        else:
            child = uses.attribute(name)
            for path in self._note(parent, child):
                self._alias(path, child)

    def _alias(self, path: Path, uses: Uses) -> None:
        """Follow a name that stands for a part of the value."""
        self.follow(path, uses)

    def _item(self, parent: ast.Subscript, uses: Uses) -> None:
        match parent.slice:
            case ast.Constant(value=int(index)):
                uses.sequence = True
                uses.length = max(uses.length, index + 1)
                child = uses.part(index, "")
            case ast.UnaryOp(operand=ast.Constant(value=int(index))):
                uses.length = max(uses.length, index)
                child = uses.each()
            case ast.Constant(value=str(key)):
                uses.mapping = True
                child = uses.keys.setdefault(key, Uses())
            case ast.Slice():
                uses.sequence = True
                return
            case ast.Tuple():
                uses.tensor = True
                return
            case _:
                child = uses.each()
        for path in self._note(parent, child):
            self._alias(path, child)

    def _argument(self, call: ast.Call, node: ast.expr, uses: Uses) -> None:
        function = call.func
        name = function.id if isinstance(function, ast.Name) else ""
        if name and hasattr(builtins, name):
            self._builtin(name, call, node, uses)
            return
        callee, owner = self._resolve(function)
        if callee is None or self.reader.enter(
            callee, owner, call, node, uses=uses, seen=self.seen, later=self.scope.later
        ):
            return
        parameter = _parameter(callee, call, node, bound=isinstance(callee, type))
        uses.handed.append(Handed(getattr(callee, "__name__", ""), parameter))

    def _builtin(self, name: str, call: ast.Call, node: ast.expr, uses: Uses) -> None:
        if name in _COUNTING:
            uses.counted = True
        elif name in _NUMERIC:
            uses.number = True
        elif name == "len":
            uses.sequence = True
        elif name in ("zip", "enumerate"):
            target = _target(self.parents[call])
            item = uses.each()
            position = call.args.index(node) if node in call.args else 0
            if name == "enumerate" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
                self._name(target.elts[1], item)
            elif name == "zip" and isinstance(target, ast.Tuple) and position < len(target.elts):
                self._name(target.elts[position], item)
        elif name in _ITERATING or (name in ("max", "min") and len(call.args) == 1):
            uses.each()
        elif name in ("max", "min"):
            uses.number = True
        elif name == "isinstance" and len(call.args) == 2:
            uses.types += [t for t in self._types(call.args[1]) if t not in uses.types]
        elif name in ("getattr", "hasattr") and call.args[:1] == [node]:
            match call.args[1:]:
                case [ast.Constant(value=str(attribute))]:
                    uses.attribute(attribute)

    def _types(self, node: ast.expr) -> Iterator[type]:
        for each in node.elts if isinstance(node, ast.Tuple) else [node]:
            found, _ = self._resolve(each)
            found = (
                getattr(builtins, each.id, None)
                if isinstance(each, ast.Name) and found is None
                else found
            )
            if isinstance(found, type):
                yield found

    def _iterate(self, target: ast.expr, uses: Uses) -> Iterator[Path]:
        self._name(target, uses.each())
        yield from ()

    def _name(self, target: ast.expr, uses: Uses) -> None:
        """Note what becomes of a value under the name, or the names, that it is given."""
        if isinstance(target, (ast.Tuple, ast.List)):
            uses.sequence = True
            if not any(isinstance(each, ast.Starred) for each in target.elts):
                uses.exact = len(target.elts)
            for position, each in enumerate(target.elts):
                if not isinstance(each, ast.Starred):
                    name = each.id if isinstance(each, ast.Name) else ""
                    self._name(each, uses.part(position, name))
        elif (path := path_of(target)) is not None:
            if isinstance(target, ast.Name):
                uses.names.append(target.id)
            self.follow(path, uses)

    def _assign(self, target: ast.expr, uses: Uses) -> Iterator[Path]:
        if isinstance(target, (ast.Tuple, ast.List)):
            self._name(target, uses)
        elif (path := path_of(target)) is not None:
            yield path

    def _element(
        self, parent: ast.List | ast.Tuple, elements: list[ast.expr], node: ast.expr, uses: Uses
    ) -> None:
        up = self.parents[parent]
        if isinstance(up, ast.Assign) and up.value is parent:
            for target in up.targets:
                if isinstance(target, ast.Tuple) and len(target.elts) == len(elements):
                    self._name(target.elts[elements.index(node)], uses)

    def _resolve(self, node: ast.expr) -> tuple[Any, type | None]:
        """Return what an expression names, with the class of a method of `self` or of `super()`."""
        owner = self.scope.owner
        match node:
            case ast.Name(id=name):
                return self.scope.function.__globals__.get(name), None
            case ast.Attribute(value=ast.Name(id=base), attr=name) if (
                owner and base == self.self_name
            ):
                return inspect.getattr_static(owner, name, None), owner
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if owner:
                for base_class in _after(self.scope, owner):
                    if name in vars(base_class):
                        return vars(base_class)[name], base_class
                return None, None
            case ast.Attribute(value=value, attr=name):
                base_value, _ = self._resolve(value)
                if isinstance(base_value, (types.ModuleType, type)):
                    return getattr(base_value, name, None), None
        return None, None


def definition(function: types.FunctionType) -> Defined | None:
    """Return the syntax of a function."""
    code = function.__code__
    return _definitions(code.co_filename).get((code.co_name, code.co_firstlineno))


@functools.cache
def _definitions(filename: str) -> dict[tuple[str, int], Defined]:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, Defined):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name, first] = node
    return found


def path_of(node: ast.AST) -> Path | None:
    """Return ("self", "width") for `self.width`, None for what is no chain of names."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _occurrences(tree: Defined, path: Path) -> Iterator[ast.expr]:
    for statement in tree.body:
        for node in ast.walk(statement):
            if (
                isinstance(node, (ast.Name, ast.Attribute))
                and isinstance(node.ctx, ast.Load)
                and path_of(node) == path
            ):
                yield node


def _parents(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def _methods(owner: type | None) -> Iterator[Any]:
    seen: set[str] = set()
    for each in owner.__mro__ if owner is not None else ():
        for name, value in vars(each).items():
            if name not in seen and isinstance(value, types.FunctionType):
                seen.add(name)
                yield value


def _owner(cls: type, name: str) -> type | None:
    """Return the class itself where some class in its order of resolution defines `name`."""
    return cls if any(name in vars(each) for each in cls.__mro__) else None


def _after(scope: Scope, owner: type) -> Iterator[type]:
    """Yield the classes that `super()` in the function looks into."""
    order = list(owner.__mro__)
    for index, each in enumerate(order):
        if any(
            getattr(value, "__code__", None) is scope.function.__code__
            for value in vars(each).values()
        ):
            yield from order[index + 1 :]
            return


def _parameter(callee: Any, call: ast.Call, node: ast.expr, *, bound: bool) -> str:
    """Return the name of the parameter that an argument of a call becomes, "" where unknown."""
    for keyword in call.keywords:
        if keyword.value is node:
            return keyword.arg or ""
    if node not in call.args or any(isinstance(each, ast.Starred) for each in call.args):
        return ""
    try:
        parameters = list(inspect.signature(callee).parameters.values())
    except (TypeError, ValueError):
        return ""
    if bound and isinstance(callee, types.FunctionType):
        parameters = parameters[1:]
    position = call.args.index(node)
    if position < len(parameters) and parameters[position].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return parameters[position].name
    return ""


def _compare(parent: ast.Compare, node: ast.expr, uses: Uses) -> None:
    others = [each for each in (parent.left, *parent.comparators) if each is not node]
    if any(isinstance(op, (ast.In, ast.NotIn)) for op in parent.ops) and parent.left is not node:
        uses.sequence = True  # something is looked for in it
        return
    for other in others:
        match other:
            case ast.Constant(value=None):
                uses.none = True
            case ast.Constant(value=str() | bool() as value):
                uses.literals.append(value)
            case ast.Constant():
                uses.number = True
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                uses.literals += [each.value for each in elements if isinstance(each, ast.Constant)]
            case ast.Dict(keys=keys):
                uses.literals += [key.value for key in keys if isinstance(key, ast.Constant)]


def _target(node: ast.AST | None) -> ast.expr | None:
    return node.target if isinstance(node, (ast.For, ast.comprehension)) else None
