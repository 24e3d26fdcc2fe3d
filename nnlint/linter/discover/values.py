"""What an expression of the linted file may stand for: models, losses, plain values, options."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import UNKNOWN, Step
from nnlint.linter.findings import Location

FunctionNode = FunctionDef | ast.Lambda

MAX_ITEMS = 256
_MAX_PARTS = 64
_MAX_LITERALS = 1_000
MAX_OPTIONS = 64
_MAX_OPS = 12
_MAX_STEPS = 24
MAX_DEPTH = 6
_LITERALS = (type(None), type(...), bool, int, float, complex, str, bytes, slice)


class Value:
    """Base of all abstract values."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Opaque(Value):
    """Anything whose nature is not followed; tensors that are no model's output among them.

    Attributes:
        ops: Dotted names of what was applied to it, latest last.
        params: Parameters of the function under study that it is made of.
    """

    ops: tuple[str, ...] = ()
    params: frozenset[str] = frozenset()

    def then(self, op: str) -> Opaque:
        """Return it with one more operation."""
        return Opaque((*self.ops, op)[-_MAX_OPS:], self.params)


NOTHING = Opaque()


@dataclass(frozen=True, slots=True, eq=False)
class Wanted(Opaque):
    """An option that the source does not tell: whoever runs the program gives it.

    Attributes:
        name: What the option is called.
    """

    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Value):
    """A literal.

    Attributes:
        usual: Whether it is only a default: whoever runs the program may give another value.
    """

    value: Any
    usual: bool = False


@dataclass(frozen=True, slots=True)
class Ref(Value):
    """Something imported or built in, by its dotted name."""

    dotted: str


@dataclass(frozen=True, slots=True, eq=False)
class Function(Value):
    """A function of the project.

    Attributes:
        scopes: The scopes that it sees, innermost first.
        owner: The class that defines it.
        source: The file, where it stands at the top level of one.
    """

    node: FunctionNode
    scopes: tuple[int, ...]
    owner: ClassInfo | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bound(Value):
    """A method of the file, bound to its first argument."""

    function: Function
    me: Value


@dataclass(frozen=True, slots=True, eq=False)
class Method(Value):
    """A method of a value that is not followed further until it is called."""

    base: Value
    name: str


@dataclass(frozen=True, slots=True)
class ClassRef(Value):
    """A top-level class of the file."""

    info: ClassInfo


@dataclass(frozen=True, slots=True, eq=False)
class Super(Value):
    """`super()` within a method that `owner` defines."""

    owner: ClassInfo
    me: Value


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call; `open` when `*` or `**` hides some."""

    positional: tuple[Value, ...] = ()
    keywords: Mapping[str, Value] = field(default_factory=dict)
    open: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        """All arguments, positional first."""
        return (*self.positional, *self.keywords.values())

    def get(self, position: int, name: str) -> Value | None:
        """Return one argument by its position or its name."""
        if position < len(self.positional):
            return self.positional[position]
        return self.keywords.get(name)

    def after(self, count: int) -> Arguments:
        """Return the arguments without the first `count` positional ones."""
        return Arguments(self.positional[count:], self.keywords, self.open)

    def literals(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments as Python values, UNKNOWN where they are not."""
        keywords = {name: literal(value) for name, value in self.keywords.items()}
        return tuple(literal(value) for value in self.positional), keywords


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Opaque):
    """What a call of something installed gives.

    Attributes:
        callee: The dotted name of what was called.
        arguments: What it was called with.
    """

    callee: str = ""
    arguments: Arguments = field(default_factory=Arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Partial(Value):
    """A callable with some of its arguments given."""

    callee: Value
    arguments: Arguments


@dataclass(slots=True, eq=False)
class Made(Value):
    """An object that the file constructs: of a class of its own, or of torch.nn.

    Attributes:
        number: Its identity, which keys its attributes in the state.
        info: Its class, when it is the file's own.
        dotted: Its class, when it is torch's.
        trail: Top-level functions being called at the time, outermost first, and whether they
            were given arguments.
        site: The file and the call that make it.
        proto: What it is a copy of.
        started: Whether its constructor was followed.
        custom: Whether the constructor got arguments other than its defaults.
        touched: Whether something was done to it after construction that may change its weights.
        altered: Whether one of its attributes was set from outside of its class.
        written: Whether something was done to it that may write parameters, other than loading.
    """

    number: int
    info: ClassInfo | None = None
    dotted: str = ""
    arguments: Arguments = field(default_factory=Arguments)
    trail: tuple[tuple[FunctionNode, bool], ...] = ()
    site: tuple[Source, ast.expr] | None = None
    proto: Made | None = None
    started: bool = False
    custom: bool = False
    touched: bool = False
    altered: bool = False
    written: bool = False

    @property
    def root(self) -> Made:
        """The object that it is a copy of, or itself."""
        made = self
        while made.proto is not None:
            made = made.proto
        return made


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on a model's own attributes, as in "model.classes == 2"."""

    made: Made
    condition: str


@dataclass(frozen=True, slots=True)
class Flow:
    """The way of one model's output so far; uncertain where another way was possible."""

    made: Made
    through: Location
    steps: tuple[Step, ...] = ()
    training: bool = True
    certain: bool = True

    @property
    def way(self) -> tuple[tuple[str, str], ...]:
        """What happened, without where."""
        return tuple((step.kind, step.name) for step in self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class Output(Value):
    """A value made of the outputs of one or more models."""

    flows: tuple[Flow, ...]

    def then(self, step: Step) -> Value:
        """Return it after one more step; lost when the way gets too long."""
        flows = tuple(
            dataclasses.replace(flow, steps=(*flow.steps, step))
            for flow in self.flows
            if len(flow.steps) < _MAX_STEPS
        )
        return Output(flows) if flows else NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class Sequence(Value):
    """A tuple, list or set with known items.

    Attributes:
        items: The items, in order.
        kind: What holds them; "modules" is an nn.ModuleList.
        open: Whether there may be more items, or fewer, than these.
    """

    items: tuple[Value, ...]
    kind: Literal["list", "tuple", "set", "modules"] = "tuple"
    open: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Table(Value):
    """A dict with literal keys.

    Attributes:
        items: The values by key, in order.
        kind: What holds them; "modules" is an nn.ModuleDict.
        open: Whether there may be more items, or fewer, than these.
    """

    items: Mapping[Any, Value]
    kind: Literal["dict", "modules"] = "dict"
    open: bool = False


@dataclass(slots=True, eq=False)
class Settings(Value):
    """An object that holds options as attributes and items, and may be changed in place.

    Attributes:
        values: The options by name.
        fields: Names by position, where it is a tuple with names.
    """

    values: dict[Any, Value] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Parser(Value):
    """A parser of command lines: what it will give for an empty one.

    Attributes:
        options: The default of each option, by the name under which it is read.
        pair: Whether it gives the options together with what is left over.
        schemas: Classes of the project whose fields are its options.
    """

    options: dict[str, Value] = field(default_factory=dict)
    pair: bool = False
    schemas: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RecordClass(Value):
    """A tuple type with names: what `namedtuple(...)` gives.

    Attributes:
        fields: The names, in order.
        defaults: The values of those that may be left out.
    """

    fields: tuple[str, ...]
    defaults: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextFile(Value):
    """A file of the project that is opened, or its text; the path is "" where it is not known."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Either(Value):
    """One of several values, chosen at run time.

    Attributes:
        guards: What must hold for each option, where the live model decides; else empty.
    """

    options: tuple[Value, ...]
    guards: tuple[tuple[Guard, ...], ...] = ()


def literal(value: Value | None) -> Any:
    """Return a value as a Python literal, lists as tuples, or UNKNOWN."""
    return _literal(value, [_MAX_LITERALS])


def _literal(value: Value | None, left: list[int], depth: int = 0) -> Any:
    left[0] -= 1
    if left[0] < 0:
        return UNKNOWN
    if isinstance(value, Constant):
        return value.value if isinstance(value.value, _LITERALS) else UNKNOWN
    if isinstance(value, Sequence) and not value.open and depth < MAX_DEPTH:
        items = tuple(_literal(item, left, depth + 1) for item in value.items)
        return UNKNOWN if UNKNOWN in items else items
    return UNKNOWN


def options(value: Value) -> tuple[Value, ...]:
    """Return the alternatives that a value stands for."""
    return value.options if isinstance(value, Either) else (value,)


def is_none(value: Value) -> bool:
    """Tell whether a value is the literal None."""
    return isinstance(value, Constant) and value.value is None


def parts(value: Value, depth: int = 0) -> Iterator[Value]:
    """Yield a value and what it holds: items, alternatives, arguments of a partial."""
    yield value
    if depth >= MAX_DEPTH // 2:
        return
    inner: tuple[Value, ...] = ()
    if isinstance(value, Sequence):
        inner = value.items
    elif isinstance(value, Table):
        inner = tuple(value.items.values())
    elif isinstance(value, Settings):
        inner = tuple(value.values.values())
    elif isinstance(value, Either):
        inner = value.options
    elif isinstance(value, Partial):
        inner = (value.callee, *value.arguments.values)
    for item in inner[:_MAX_PARTS]:
        yield from parts(item, depth + 1)


def outputs_in(values: tuple[Value, ...]) -> Output | None:
    """Return the model outputs among some values and in what they hold, as one value."""
    flows: list[Flow] = []
    for value in values:
        for part in parts(value):
            if isinstance(part, Output):
                flows += [flow for flow in part.flows if all(flow is not old for old in flows)]
    return Output(tuple(flows[:MAX_OPTIONS])) if flows else None
