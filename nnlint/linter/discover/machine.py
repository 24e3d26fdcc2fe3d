"""The state of an abstract run: variables, branches, the call stack, the budget."""

from __future__ import annotations

import ast
import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.joining import join
from nnlint.linter.discover.names import Names
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.recipes import Construction
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import OutputUse
from nnlint.linter.discover.unit import Unit
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Constant,
    Function,
    FunctionNode,
    Guard,
    Made,
    Opaque,
    Parser,
    Ref,
    Settings,
    Value,
    options,
)

Key = tuple[int, str]
Guards = tuple[Guard, ...]

MAX_CALLS = 12
MAX_DEPTH = 100
IMPORT_BUDGET = 60_000
_BUILTINS = frozenset(dir(builtins))
_EVALUATING = "<eval>"


Mark = Callable[[Value, Sequence[tuple[Value, Guards]]], Value]


class State:
    """Variables and attributes by owner and name, with branches that can be undone and joined."""

    __slots__ = ("journals", "values")

    def __init__(self) -> None:
        self.values: dict[Key, Value] = {}
        self.journals: list[dict[Key, Value | None]] = []

    def get(self, key: Key) -> Value | None:
        """Return the current value of a variable."""
        return self.values.get(key)

    def set(self, key: Key, value: Value) -> None:
        """Set a variable, remembering its old value for the innermost branch."""
        if self.journals and key not in self.journals[-1]:
            self.journals[-1][key] = self.values.get(key)
        self.values[key] = value

    def branch(self, run: Callable[[], bool]) -> tuple[bool, dict[Key, Value]]:
        """Run something, undo its writes, and return its result with those writes."""
        journal: dict[Key, Value | None] = {}
        self.journals.append(journal)
        try:
            result = run()
        finally:
            self.journals.pop()
            changes = {key: self.values[key] for key in journal}
            for key, old in journal.items():
                if old is None:
                    self.values.pop(key, None)
                else:
                    self.values[key] = old
        return result, changes

    def merge(
        self,
        branches: list[dict[Key, Value]],
        guards: Sequence[Guards] = (),
        mark: Mark | None = None,
    ) -> None:
        """Go on as if any one of the branches had run.

        Args:
            branches: The writes of each.
            guards: What must hold for each to run, where the live model decides.
            mark: Marks a value that is one of several with what must hold for each.
        """
        keys: dict[Key, None] = {}
        for changes in branches:
            keys.update(dict.fromkeys(changes))
        for key in keys:
            old = self.values.get(key)
            merged: Value | None = None
            for changes in branches:
                value = changes.get(key, old)
                if value is not None:
                    merged = value if merged is None else join(merged, value)
            if merged is not None and mark is not None and guards and all(guards):
                values = [changes.get(key, old) for changes in branches]
                parts = [
                    (value, guard)
                    for value, guard in zip(values, guards, strict=True)
                    if value is not None
                ]
                merged = mark(merged, parts)
            if merged is not None:
                self.set(key, merged)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Make writes that no enclosing branch undoes."""
        journals, self.journals = self.journals, []
        try:
            yield
        finally:
            self.journals = journals


@dataclass(slots=True, eq=False)
class Frame:
    """One call in progress, or the module body.

    Attributes:
        scopes: Where its names are looked up, innermost first.
        owner: The class that defines the method, for `super()`.
        redirected: Names declared global or nonlocal, with their scope.
        modes: Train/eval switches to restore at its end.
        nested: Functions defined in it.
        spare: What it returns where a condition is not met as far as the source tells.
        vague: How many loops are being run whose rounds are not known.
        drawn: Variables of loops that are run once for each element, which is known.
    """

    scopes: tuple[int, ...]
    node: FunctionNode | ast.Module
    owner: ClassInfo | None = None
    me: Value | None = None
    returns: list[Value] = field(default_factory=list)
    yields: list[Value] = field(default_factory=list)
    redirected: dict[str, int] = field(default_factory=dict)
    modes: dict[Key, Value | None] = field(default_factory=dict)
    nested: list[Function] = field(default_factory=list)
    spare: list[Value] = field(default_factory=list)
    vague: int = 0
    drawn: frozenset[str] = frozenset()


@dataclass(slots=True)
class Record:
    """One arrival of a model's output at a sink."""

    made: Made
    use: OutputUse


class Machine(ABC):
    """The common state of the abstract run; the parts that act are in the subclasses."""

    def __init__(self, unit: Unit, project: Project, budget: int) -> None:
        self.unit = unit
        self.project = project
        self.budget = self._allowed = budget
        self.spent = 0
        self.state = State()
        self.frame = Frame((0,), unit.source.tree)
        self.scopes: dict[Source, int] = {unit.source: 0}
        self.units: dict[int, Unit] = {0: unit}
        self.spaces: dict[Unit, Value] = {}
        self.patches: dict[str, dict[str, Value]] = {}
        self.resolving: set[tuple[Unit, str]] = set()
        self.import_budget = IMPORT_BUDGET
        self.made: list[Made] = []
        self.records: list[Record] = []
        self.passed: list[tuple[Made, frozenset[str]]] = []
        self.globals: dict[str, list[tuple[Made, ast.stmt]]] = {}
        self.visited: set[ast.AST] = set()
        self.active: list[ast.AST] = []
        self.trail: list[tuple[FunctionNode, bool]] = []
        self.calling: ast.expr | None = None
        self.criteria: set[ClassInfo] = set()
        self.models_called: set[ClassInfo] = set()
        self.given: list[tuple[Made, Value]] = []
        self.loss_params: set[str] | None = None
        self.depth = 0
        self.no_grad = 0
        self.doubt = 0
        self.guards: list[Guards] = []
        self.choices: list[Guards] = []
        self.askable: dict[ast.expr, bool] = {}
        self.inside_model = 0
        self.activity = 0
        self.importing = False
        self.global_roots: set[Made] = set()
        self.stand_ins: dict[ClassInfo, Made] = {}
        self.builders: list[Made] = []
        self.conditions: list[bool | None] = []
        self.flags = Settings()
        self.named: dict[str, Value] = {}
        self.parsers: dict[int, Parser] = {}
        self.sizes: dict[ast.AST, int] = {}
        self.class_bodies: list[ast.expr] = []
        self.constructions: dict[ClassInfo, list[Construction]] = {}
        self._numbers = 0

    @abstractmethod
    def imported(self, unit: Unit, name: str) -> Value | None:
        """Return what a file imports under a name."""

    @abstractmethod
    def evaluate(self, node: ast.expr | None) -> Value:
        """Return what an expression stands for."""

    @abstractmethod
    def execute(self, body: list[ast.stmt]) -> bool:
        """Run statements; returns whether they leave the block early."""

    @abstractmethod
    def assign(self, target: ast.expr, value: Value) -> None:
        """Bind a value to a name, attribute, item or pattern of these."""

    @abstractmethod
    def call(self, callee: Value, arguments: Arguments, node: ast.expr, hint: str = "") -> Value:
        """Call a value; `hint` is the last identifier of the called expression."""

    @abstractmethod
    def call_method(self, base: Value, name: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call a method of a value."""

    @abstractmethod
    def external(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call something imported or built in."""

    @abstractmethod
    def invoke(self, made: Made, arguments: Arguments, node: ast.expr) -> Value:
        """Call an object that the file constructs."""

    @abstractmethod
    def inline_method(
        self, found: tuple[ClassInfo, FunctionDef], me: Value, arguments: Arguments
    ) -> Value:
        """Run a method of the file on an object."""

    @abstractmethod
    def unknown_call(self, callee: Value, arguments: Arguments, hint: str) -> Value:
        """Call something whose code is not known."""

    @abstractmethod
    def attribute(self, base: Value, name: str, node: ast.expr) -> Value:
        """Read an attribute of a value."""

    @abstractmethod
    def item(self, base: Value, key: Value, node: ast.expr) -> Value:
        """Read an item of a value."""

    def number(self) -> int:
        """Return a fresh identity for a scope or an object."""
        self._numbers += 1
        return self._numbers

    def refill(self, least: int) -> None:
        """Allow at least so many more steps."""
        self.spent += self._allowed - self.budget
        self.budget = self._allowed = max(self.budget, least)

    @property
    def here(self) -> Unit:
        """The file whose code is being run."""
        return self.units[self.frame.scopes[-1]]

    @property
    def source(self) -> Source:
        """The text and syntax of the file whose code is being run."""
        return self.here.source

    @property
    def names(self) -> Names:
        """What the file whose code is being run imports."""
        return self.here.names

    @property
    def classes(self) -> dict[str, ClassInfo]:
        """The classes of the file whose code is being run."""
        return self.here.classes

    @property
    def at_module_level(self) -> bool:
        """Whether no function is being run."""
        return len(self.frame.scopes) == 1

    def lookup(self, name: str) -> Value:
        """Return what a name stands for in the current frame."""
        for scope in self.frame.scopes:
            value = self.state.get((scope, name))
            if value is not None:
                return value
        value = self.imported(self.here, name)
        if value is not None:
            return value
        return Ref(f"builtins.{name}") if name in _BUILTINS else NOTHING

    def bind(self, name: str, value: Value) -> None:
        """Set a variable of the current frame, or the global that it declares."""
        scope = self.frame.redirected.get(name, self.frame.scopes[0])
        self.state.set((scope, name), value)

    def evaluating(self, made: Made) -> bool:
        """Tell whether a model was certainly put in evaluation mode."""
        mode = self.state.get((made.number, _EVALUATING))
        return isinstance(mode, Constant) and mode.value is True

    def set_mode(self, made: Made, *, evaluating: bool) -> None:
        """Put a model in evaluation or training mode until the current function ends."""
        key = (made.number, _EVALUATING)
        self.frame.modes.setdefault(key, self.state.get(key))
        self.state.set(key, Constant(evaluating))

    def restore_modes(self, frame: Frame) -> None:
        """Undo the modes that a function set."""
        for key, old in frame.modes.items():
            self.state.set(key, Constant(value=False) if old is None else old)

    def note_loss_argument(self, value: Value) -> None:
        """Remember the parameters of the function under study that reach a loss."""
        if self.loss_params is None:
            return
        for option in options(value):
            if isinstance(option, Opaque):
                self.loss_params |= option.params

    def is_static(self, node: ast.expr, *dotted: str) -> bool:
        """Tell whether an expression, or the function it calls, is one of the dotted names."""
        if isinstance(node, ast.Call):
            node = node.func
        return self.names.resolve(node) in dotted
