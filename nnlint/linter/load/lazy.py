"""Modules of the user's project that run no more of their text than is asked for.

A module's file is parsed and nothing of it is executed. When somebody wants a name of it, the
statements run that bind or complete this name, once and in the order of the file, after those that
they need themselves. Functions find the globals that they read in the same way: a global that is
missing is looked for among the built-in names, and there the module is asked for it.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import functools
import importlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nnlint.linter.findings import Location
from nnlint.linter.load import guard, missing, plain, standin
from nnlint.linter.load.statements import SYS_PATH, Index, Statement, Test, read_names
from nnlint.linter.notebook import line_of

_names_of = vars(types.ModuleType)["__dict__"].__get__

# What Python 2 had, for files that are otherwise fine.
_FORMER: dict[str, Any] = {
    "xrange": range,
    "unicode": str,
    "basestring": str,
    "long": int,
    "raw_input": input,
    "unichr": chr,
    "reduce": functools.reduce,
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A statement that something needed and that was not carried out.

    Attributes:
        path: The file.
        line: Its line.
        names: What it would have bound or changed.
        reason: Why not.
    """

    path: str
    line: int
    names: tuple[str, ...]
    reason: str


@dataclass(slots=True, eq=False)
class Session:
    """What the modules of one process share.

    Attributes:
        skipped: What was left out, in the order in which it was wanted.
        find: Makes a module importable that is nowhere on the path; tells whether it did.
    """

    skipped: list[Skipped] = field(default_factory=list)
    find: Callable[[str, str], bool] = lambda _name, _path: False
    depth: int = 0
    settling: bool = False
    unsettled: list[tuple[Body, Statement]] = field(default_factory=list)
    touched: dict[Body, set[str]] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run statements; when the outermost are done, run what they leave to be done."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
        if self.depth == 0 and not self.settling:
            self._settle()

    def _settle(self) -> None:
        """Run what functions that are defined now will read, and what completes values in use.

        Otherwise a global would be made in the middle of a model's forward, while it is traced.
        """
        self.settling = True
        try:
            while self.unsettled or self.touched:
                unsettled, self.unsettled = self.unsettled, []
                for body, statement in unsettled:
                    body.settle(statement)
                touched, self.touched = self.touched, {}
                for body, names in touched.items():
                    body.catch_up(names)
        finally:
            self.settling = False


class LazyModule(types.ModuleType):
    """A module whose statements run when their names are wanted."""

    __slots__ = ("nnlint_body",)

    nnlint_body: Body

    def __getattr__(self, name: str) -> Any:
        try:
            body: Body = object.__getattribute__(self, "nnlint_body")
        except AttributeError:  # not executed yet
            raise AttributeError(name) from None
        return body.attribute(name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A package may have something else under the name of a part of it, once it has run.
        if isinstance(value, types.ModuleType) and value.__name__ == f"{self.__name__}.{name}":
            body: Body | None = getattr(self, "nnlint_body", None)
            if body is not None and (body.index.stars or name in body.index.bound):
                return
        super().__setattr__(name, value)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # modules have a plain one
        names: dict[str, Any] = _names_of(self)
        # Python's own machinery only looks for single names in it; the user's code lists them.
        if body_of(sys._getframe(1)) is not None:  # noqa: SLF001 - the documented way to a caller's frame
            self.nnlint_body.require_all()
        return names

    def __dir__(self) -> list[str]:
        return sorted({*_names_of(self), *self.nnlint_body.public()})


class Body:
    """The statements of a module in the course of being run.

    Args:
        module: The module.
        tree: Its syntax.
        path: Its file, as error messages name it.
        session: What it shares with others.
    """

    def __init__(
        self, module: types.ModuleType, tree: ast.Module, path: str, session: Session
    ) -> None:
        self.module = module
        self.path = path
        self.session = session
        self.index = Index.of(tree)
        self.names: dict[str, Any] = _names_of(module)
        self.errors: dict[str, BaseException] = {}
        self._flags = _future_flags(tree)
        self._done: set[int] = set()
        self._failed: dict[int, BaseException] = {}
        self._stack: list[Statement] = []
        self._asked: set[str] = set()
        self._history: dict[str, list[tuple[int, Any]]] = {}
        self.names["__doc__"] = ast.get_docstring(tree, clean=False)
        self.names["__builtins__"] = _Builtins(self)

    def attribute(self, name: str) -> Any:
        """Return what the module's attribute is from outside; raises AttributeError."""
        if self._find(name, self._before()):
            return self.names[name]
        if "__path__" in self.names and not name.startswith("__"):
            # `import pkg; pkg.part` works where the package itself imports the part.
            with contextlib.suppress(ModuleNotFoundError):
                return importlib.import_module(f"{self.module.__name__}.{name}")
        if name != "__getattr__" and "__getattr__" in self.index.bound:
            self.require_all()
            return self.names["__getattr__"](name)
        raise AttributeError(f"module {self.module.__name__!r} has no attribute {name!r}")

    def lookup(self, name: str) -> Any:
        """Return a global that a running function or statement reads; raises KeyError."""
        if self._find(name, self._before()):
            return self.names[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        if name not in _FORMER and self._otherwise(name):
            return self.names[name]
        return _FORMER[name]

    def require(self, name: str, before: int | None = None) -> None:
        """Run what binds and completes a name.

        Args:
            name: The name.
            before: Leave out what stands at or after this place of the file.
        """
        effects = self.index.effects.get(name)
        if not effects:
            return
        only_main = all(each.main for each in effects if name in each.binds)
        with self.session.running():
            if name not in self._asked:
                self._asked.add(name)
                self.session.touched.setdefault(self, set()).add(name)
            for statement in effects:
                if before is not None and statement.order >= before:
                    break
                if only_main or not statement.main:
                    self._run(statement)

    def require_all(self) -> None:
        """Run what binds the module's public names, as far as it can be run."""
        for name in self.public():
            with contextlib.suppress(Exception):
                self._find(name, None)

    def public(self) -> set[str]:
        """Return the names that importing the whole module would bind."""
        names = {
            name
            for statement in self.index.statements
            if not statement.main
            for name in statement.binds
        }
        for star in self.index.stars:
            names |= set(_exported(self._star(star)))
        return names

    def offers(self, name: str) -> bool:
        """Tell whether `from module import *` brings a name."""
        if "__all__" in self.index.bound:
            return name in self.attribute("__all__")
        return not name.startswith("_") and (
            name in self.names or name in self.index.bound or self._from_stars(name, bind=False)
        )

    def settle(self, statement: Statement) -> None:
        """Run what the functions of a definition will read."""
        for name in self._reads(statement)[1]:
            with contextlib.suppress(Exception):  # it will say so itself when it is used
                self._find(name, None)

    def catch_up(self, names: set[str]) -> None:
        """Run the rest of what binds or completes names that are in use."""
        for name in names:
            with contextlib.suppress(Exception):
                self.require(name)

    def _before(self) -> int | None:
        return self._stack[-1].order if self._stack else None

    def _find(self, name: str, before: int | None) -> bool:
        """Run what gives a name its value; tell whether it has one."""
        self.require(name, before)
        if name not in self.names and before is not None:
            self.require(name)
        return name in self.names or self._from_stars(name, bind=True)

    def _otherwise(self, name: str) -> bool:
        """Take a name from a branch whose condition is not met, where no other branch binds it.

        The options that decide may have no defaults: without this the program could not go on.
        """
        with self.session.running():
            for statement in self.index.effects.get(name, ()):
                if name in statement.binds and statement.tests:
                    self._run(statement, anyway=True)
                if name in self.names:
                    return True
        return False

    def _run(self, statement: Statement, *, anyway: bool = False) -> None:
        order = statement.order
        if order in self._failed:
            raise self._failed[order]
        if order in self._done or statement in self._stack:
            return
        if not anyway and not self._applies(statement):
            return
        self._stack.append(statement)
        try:
            if isinstance(statement.node, ast.ImportFrom) and statement in self.index.stars:
                return
            now, later = self._reads(statement)
            for name in now:
                self._need(name, order)
            reason = plain.refusal(statement.node, self.names)
            if reason:
                self._leave_out(statement, reason)
                return
            with self._as_of(now, statement):
                self._execute(statement)
            if later:
                self.session.unsettled.append((self, statement))
        finally:
            self._stack.pop()
            self._done.add(order)

    @contextlib.contextmanager
    def _as_of(self, names: set[str], statement: Statement) -> Iterator[None]:
        """Give names the values that they have where a statement stands, while it runs.

        One that is bound several times may have its last value already.
        """
        later = {}
        for name in names:
            history = self._history.get(name, ())
            past = [value for order, value in history if order < statement.order]
            if past and len(past) < len(history):
                later[name], self.names[name] = self.names[name], past[-1]
        try:
            yield
        finally:
            for name in statement.binds & self.names.keys():
                history = self._history.setdefault(name, [])
                history.append((statement.order, self.names[name]))
                history.sort(key=lambda entry: entry[0])
                later[name] = history[-1][1]
            self.names.update(later)

    def _need(self, name: str, before: int) -> None:
        self.require(name, before)
        if name not in self.names and name not in vars(builtins):
            self._from_stars(name, bind=True)

    def _execute(self, statement: Statement) -> None:
        code = self._compile(statement)
        if statement.defines:
            try:
                exec(code, self.names)  # noqa: S102 - running the user's file is the purpose
            except BaseException as error:
                self._failed[statement.order] = error
                raise
            return
        try:
            with guard.limited():
                exec(code, self.names)  # noqa: S102 - as above
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            self._leave_out(statement, _in_words(error), error)

    def _leave_out(
        self, statement: Statement, reason: str, error: BaseException | None = None
    ) -> None:
        line = statement.node.lineno
        where = f"{line_of(Location(self.path, line))} of {self.path}"
        names = tuple(sorted(statement.binds | statement.changes))
        self.session.skipped.append(Skipped(self.path, line, names, reason))
        for name in statement.binds:
            if name not in self.names:
                self.names[name] = standin.for_value(name, f"{where} is left out: {reason}")
                if error is not None:
                    self.errors[name] = error

    def _applies(self, statement: Statement) -> bool:
        return all(self._ask(test) is wanted for test, wanted in statement.tests)

    def _ask(self, test: Test) -> bool:
        if test.value is None:
            test.value = False  # while it is asked for, and where it cannot be told
            expression = ast.Expression(test.node)
            code = compile(expression, self.path, "eval", self._flags, dont_inherit=True)
            for name in read_names(code)[0]:
                self._need(name, test.order)
            if not plain.refusal(ast.Expr(test.node), self.names):
                with contextlib.suppress(Exception), self.session.running(), guard.limited():
                    test.value = bool(eval(code, self.names))  # noqa: S307 - the user's own condition
        return test.value

    def _reads(self, statement: Statement) -> tuple[set[str], set[str]]:
        now, later = read_names(self._compile(statement))
        if isinstance(statement.node, (ast.Import, ast.ImportFrom)):
            now.add(SYS_PATH)
        # A change reads what it changes, and so does a name that is bound once more.
        return now | statement.changes, later

    def _compile(self, statement: Statement) -> types.CodeType:
        tree = ast.Module([statement.node], [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: types.CodeType = compile(tree, self.path, "exec", self._flags, dont_inherit=True)
            return code

    def _from_stars(self, name: str, *, bind: bool) -> bool:
        """Tell whether a name comes with everything of another module, the last one that has it.

        Args:
            name: The name.
            bind: Bind it here.
        """
        if name.startswith("__"):
            return False
        for star in reversed(self.index.stars):
            if star in self._stack or not self._applies(star):
                continue
            self._stack.append(star)
            try:
                module = self._star(star)
                # One that is about to get the name from here has not got it yet.
                if _offers(module, name) and (not bind or hasattr(module, name)):
                    if bind:
                        self.names[name] = getattr(module, name)
                    return True
            finally:
                self._stack.pop()
        return False

    def _star(self, star: Statement) -> Any:
        node = star.node
        assert isinstance(node, ast.ImportFrom)
        self.require(SYS_PATH, star.order)
        # Through a frame of the file, whose line tells what the file does without the module.
        tree = ast.parse(
            f"__import__({node.module or ''!r}, None, None, ('__name__',), {node.level})"
        )
        expression = ast.Expression(tree.body[0].value)  # type: ignore[attr-defined] # it is one
        for part in ast.walk(expression):
            ast.copy_location(part, node)
        return eval(compile(expression, self.path, "eval"), self.names)  # noqa: S307 - ours


class _Builtins(dict[str, Any]):
    """The built-in names as a module sees them; asks the module for those that it lacks."""

    def __init__(self, body: Body) -> None:
        super().__init__(vars(builtins))
        self.body = body
        for name in body.index.bound:  # the module's own `input` hides the built-in one
            self.pop(name, None)
        self["__import__"] = missing.importer(body)
        self["globals"] = self._globals

    def __missing__(self, name: str) -> Any:
        try:
            with self.body.session.running():
                return self.body.lookup(name)
        except KeyError as error:
            if error.args == (name,) and error.__traceback__ and _is_ours(error):
                raise
            # Python would take it for a name that is not there.
            raise RuntimeError(_in_words(error)).with_traceback(error.__traceback__) from error

    def _globals(self) -> dict[str, Any]:
        self.body.require_all()
        return self.body.names


def _is_ours(error: KeyError) -> bool:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code is Body.lookup.__code__


def body_of(frame: types.FrameType) -> Body | None:
    """Return the module of the user's project that a frame runs code of."""
    found = frame.f_globals.get("__builtins__")
    return found.body if isinstance(found, _Builtins) else None


def _exported(module: Any) -> list[str]:
    if isinstance(module, standin.StandIn):
        return []
    if isinstance(module, LazyModule):
        body = module.nnlint_body
        return [name for name in body.public() if body.offers(name)]
    names = getattr(module, "__all__", None)
    return list(names) if names is not None else [n for n in vars(module) if n[:1] != "_"]


def _offers(module: Any, name: str) -> bool:
    if isinstance(module, standin.StandIn):
        return not hasattr(builtins, name)  # what is not installed may have any other name
    if isinstance(module, LazyModule):
        return module.nnlint_body.offers(name)
    names = getattr(module, "__all__", None)
    return name in names if names is not None else name[:1] != "_" and hasattr(module, name)


def _future_flags(tree: ast.Module) -> int:
    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                feature = getattr(__future__, alias.name, None)
                flags |= getattr(feature, "compiler_flag", 0)
    return flags


def _in_words(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the user's own __str__
        text = ""
    return f"{type(error).__name__}: {text}"[:160] if text else type(error).__name__
