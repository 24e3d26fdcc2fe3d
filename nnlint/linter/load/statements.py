"""Which names the statements of a module bind, change and read, told from the syntax alone."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType

from nnlint.linter.discover.names import is_main_guard

SYS_PATH = "sys.path"

# Methods that complete an object which an earlier statement has made.
_CONFIGURES = frozenset(
    [
        "add",
        "add_argument",
        "add_argument_group",
        "add_mutually_exclusive_group",
        "add_parser",
        "add_subparsers",
        "set_defaults",
        "append",
        "appendleft",
        "extend",
        "insert",
        "update",
        "setdefault",
        "remove",
        "discard",
        "pop",
        "clear",
        "reverse",
        "sort",
        "add_module",
        "register_module",
        "register_buffer",
        "register_parameter",
        "apply",
        "merge_from_file",
        "merge_from_list",
        "merge_from_other_cfg",
        "set_new_allowed",
        "defrost",
        "freeze",
        "add_option",
        "add_type",
        "set_option",
        "put",
        "register",
    ]
)
_PARTS = frozenset({"add_argument_group", "add_mutually_exclusive_group", "add_subparsers"})
_READS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
_OPTIMIZED = 1


@dataclass(slots=True, eq=False)
class Test:
    """The condition of an `if` at the top level.

    Attributes:
        node: The condition.
        order: Its place among the module's statements.
        value: What it gave, None before it was asked.
    """

    node: ast.expr
    order: int
    value: bool | None = None


@dataclass(slots=True, eq=False)
class Statement:
    """A statement that stands at the top level, be it within an `if`.

    Attributes:
        node: The statement.
        order: Its place among the module's statements.
        binds: Names that it gives a value.
        changes: Names whose values it completes, such as a parser that gets an argument.
        tests: The conditions around it, with what each has to give.
        main: Whether it is run only where the file is a program.
    """

    node: ast.stmt
    order: int
    binds: frozenset[str]
    changes: frozenset[str]
    tests: tuple[tuple[Test, bool], ...] = ()
    main: bool = False

    @property
    def defines(self) -> bool:
        """Whether it is a definition or an import."""
        return isinstance(
            self.node,
            (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
        )


@dataclass(slots=True, eq=False)
class Index:
    """The statements of a module by the names that they concern.

    Attributes:
        statements: All of them, in their order.
        effects: For each name, the statements that bind or change it, in their order.
        bound: The names that are bound.
        stars: The `from ... import *` statements.
        guarded: Ranges of lines in which a missing module is handled by the file itself.
        parts: For each name, the attributes that the file asks of it.
    """

    statements: list[Statement] = field(default_factory=list)
    effects: dict[str, list[Statement]] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    stars: list[Statement] = field(default_factory=list)
    guarded: list[tuple[int, int]] = field(default_factory=list)
    parts: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> Index:
        """Read the statements of a module."""
        index = cls()
        index._add(tree.body, (), main=False)
        aliases = dict(_aliases(index.statements))
        for statement in index.statements:
            names = set(statement.changes)
            for name in statement.changes:
                known = aliases.get(name)
                while known is not None and known not in names:
                    names.add(known)
                    known = aliases.get(known)
            statement.changes = frozenset(names)
            index.bound |= statement.binds
            for name in statement.binds | names:
                index.effects.setdefault(name, []).append(statement)
        index.guarded = list(_guarded(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                index.parts.setdefault(node.value.id, set()).add(node.attr)
        return index

    def is_guarded(self, line: int) -> bool:
        """Tell whether the file handles the want of a module that it imports at `line`."""
        return any(first <= line <= last for first, last in self.guarded)

    def _add(
        self, body: Iterable[ast.stmt], tests: tuple[tuple[Test, bool], ...], *, main: bool
    ) -> None:
        for node in _single_imports(body):
            if isinstance(node, ast.If):
                if is_main_guard(node):
                    self._add(node.body, tests, main=True)
                    self._add(node.orelse, tests, main=main)
                    continue
                test = Test(node.test, len(self.statements))
                self._add(node.body, (*tests, (test, True)), main=main)
                self._add(node.orelse, (*tests, (test, False)), main=main)
                continue
            statement = Statement(
                node,
                len(self.statements),
                frozenset(_bound(node)),
                frozenset(_changed(node)),
                tests,
                main,
            )
            self.statements.append(statement)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                self.stars.append(statement)


def _single_imports(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, with those that import several names taken apart.

    Modules that import one another then only wait for what they really need.
    """
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ast.copy_location(ast.Import([alias]), node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node)
        else:
            yield node


def read_names(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the module's names that a statement reads when it runs, and those that wait in functions."""
    now: set[str] = set()
    later: set[str] = set()
    _read(code, now, later)
    return now, later


def _read(code: CodeType, now: set[str], later: set[str]) -> None:
    now.update(each.argval for each in dis.get_instructions(code) if each.opname in _READS)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            # Bodies of classes and comprehensions run at once, functions and lambdas when called.
            waits = constant.co_flags & _OPTIMIZED and constant.co_name not in _COMPREHENSIONS
            _read(constant, later if waits else now, later)


_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


def root_name(node: ast.AST) -> str:
    """Return the name that `a.b[0].c().d` starts with, "" for anything else."""
    path = []
    while True:
        match node:
            case ast.Attribute(value=inner, attr=attribute):
                path.append(attribute)
                node = inner
            case ast.Subscript(value=inner) | ast.Call(func=inner) | ast.Starred(value=inner):
                node = inner
            case ast.Name(id=name):
                is_path = name == "sys" and path and path[-1] == "path"
                return SYS_PATH if is_path else name
            case _:
                return ""


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names):
            for alias in names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.ImportFrom(names=names):
            for alias in names:
                if alias.name != "*":
                    yield alias.asname or alias.name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.ExceptHandler(body=body):
            # The handler's own name is gone when it ends.
            for inner in body:
                yield from _bound(inner)
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
        case ast.AnnAssign(value=None):
            return
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _bound(child)


def _changed(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            for target in targets:
                yield from _parts_set(target)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            yield from _parts_set(target)
        case ast.Expr(value=ast.Call() as call):
            yield from _completed(call)
        case ast.For(target=ast.Name(id=item), iter=items, body=body):
            names = {name for inner in body for name in _changed(inner)}
            if item in names:  # for m in net.modules(): m.weight.data.normal_()
                names.add(root_name(items))
            yield from names - {item, ""}
        case ast.For() | ast.With() | ast.Try() | ast.If():
            for child in ast.iter_child_nodes(node):
                if isinstance(child, (ast.stmt, ast.ExceptHandler)):
                    yield from _changed(child)
        case ast.ExceptHandler(body=body):
            for inner in body:
                yield from _changed(inner)


def _parts_set(target: ast.AST) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for item in target.elts:
            yield from _parts_set(item)
    elif isinstance(target, (ast.Attribute, ast.Subscript)) and (name := root_name(target)):
        yield name
    elif isinstance(target, ast.Name) and isinstance(target.ctx, ast.Del):
        yield target.id


def _completed(call: ast.Call) -> Iterator[str]:
    """Yield the names of what a call as a statement works on, where it is one that completes."""
    name = ""
    if isinstance(call.func, ast.Attribute):
        name = call.func.attr
        if name in _CONFIGURES or name.endswith("_"):
            yield from filter(None, [root_name(call.func)])
    elif isinstance(call.func, ast.Name):
        name = call.func.id
    if name.endswith("_") or "init" in name.lower():
        for argument in call.args:
            yield from filter(None, [root_name(argument)])


def _aliases(statements: Iterable[Statement]) -> Iterator[tuple[str, str]]:
    """Yield the names that stand for another's value or a part of it: changing it changes both."""
    for statement in statements:
        match statement.node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case _:
                continue
        match value:
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _PARTS:
                root = root_name(value)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                root = root_name(value)
            case _:
                continue
        if root and root != name:
            yield name, root


def _guarded(tree: ast.Module) -> Iterator[tuple[int, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(map(_handles, node.handlers)):
            last = node.body[-1]
            yield node.body[0].lineno, last.end_lineno or last.lineno
        elif isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and root_name(item.context_expr) in ("suppress", "contextlib")
            for item in node.items
        ):
            yield node.lineno, node.end_lineno or node.lineno


def _handles(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler goes on without the module that could not be imported."""
    kinds = [handler.type] if handler.type else []
    if isinstance(handler.type, ast.Tuple):
        kinds = list(handler.type.elts)
    names = {getattr(kind, "id", getattr(kind, "attr", "")) for kind in kinds}
    broad = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    if kinds and not names & broad:
        return False
    return not any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("exit", "_exit"))
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("exit", "quit"))
        for statement in handler.body
        for node in ast.walk(statement)
    )
