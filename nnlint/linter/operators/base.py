"""The operator table: what nnlint calls one thing, however the model spells it.

`nn.ReLU`, `F.relu`, `torch.relu`, `x.relu_()` and `aten.relu` are all `RELU`. Each file of this
folder declares one family of operators by calling `operator(...)` at module level. Targets are
dotted names, resolved on first use, so that the tables import without torch and survive a torch
version that lacks one of them.
"""

from __future__ import annotations

import enum
import functools
import importlib
import operator as py_operator
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnlint.linter.operators.shapes import ShapeRule


class Family(enum.StrEnum):
    """What an operator is for; rules ask for families where single operators would be too narrow."""

    LINEAR = "linear"  # a learned or plain linear map: linear, convolutions, matmul
    RECURRENT = "recurrent"
    ATTENTION = "attention"
    EMBEDDING = "embedding"
    ACTIVATION = "activation"  # elementwise non-linearity
    PROBABILITY = "probability"  # softmax and its relatives
    NORM = "norm"
    DROPOUT = "dropout"
    POOL = "pool"
    SHAPE = "shape"  # moves or selects values, computes none
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    COMPARE = "compare"
    CREATION = "creation"
    LOSS = "loss"
    PASS = "identity"  # noqa: S105 - no password; identity for values: clone, contiguous, casts, device moves
    STOP = "stop"  # cuts the gradient: detach, .data, item, argmax
    PYTHON = "python"  # plain Python on sizes and containers


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One canonical operator. Compare with `is`.

    Attributes:
        name: Canonical name, as torch.nn.functional or torch spells it.
        params: Parameter names in positional order; a call's arguments are bound to them.
        shape: Computes the output shape from the bound arguments; None where it is unknown.
        learned: Whether the operator usually owns parameters.
    """

    name: str
    family: Family
    params: tuple[str, ...] = ("input",)
    shape: ShapeRule | None = None
    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    aten: tuple[str, ...] = ()
    learned: bool = False
    signatures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<operator {self.name}>"


_DECLARED: list[Operator] = []


def operator(
    name: str,
    family: Family,
    *,
    params: str = "input",
    shape: ShapeRule | None = None,
    modules: str = "",
    functions: str = "",
    methods: str = "",
    aten: str = "",
    learned: bool = False,
    signatures: Mapping[str, str] | None = None,
) -> Operator:
    """Declare one canonical operator; each list is one string of blank-separated names.

    Args:
        name: Canonical name.
        family: What it is for.
        params: Positional parameter names of the function and method forms.
        shape: Rule for the output shape.
        modules: Module classes below `torch.nn`, e.g. "ReLU ReLU6".
        functions: Dotted functions; "F." stands for `torch.nn.functional.`.
        methods: Names of `torch.Tensor` methods; the in-place form `name_` comes along.
        aten: ATen operator names without overload; the in-place form comes along.
        learned: Whether it usually owns parameters.
        signatures: Parameter names of single targets that deviate from `params`.
    """
    declared = Operator(
        name=name,
        family=family,
        params=tuple(params.split()),
        shape=shape,
        modules=tuple(modules.split()),
        functions=tuple(functions.split()),
        methods=tuple(methods.split()),
        aten=tuple(aten.split()),
        learned=learned,
        signatures={key: tuple(names.split()) for key, names in (signatures or {}).items()},
    )
    _DECLARED.append(declared)
    return declared


@dataclass(frozen=True, slots=True)
class Match:
    """An operator found for a target, with the parameter names of that spelling."""

    op: Operator
    params: tuple[str, ...]


class Table:
    """All declared operators, indexed by the objects that a traced graph refers to."""

    def __init__(self, operators: list[Operator]) -> None:
        self.by_object: dict[Any, Match] = {}
        self.by_module: dict[type, Operator] = {}
        self.by_method: dict[str, Match] = {}
        self.by_aten: dict[str, Operator] = {}
        self.by_name: dict[str, Operator] = {}
        for op in operators:
            self._add(op)

    def _add(self, op: Operator) -> None:
        self.by_name[op.name] = op
        for name in op.modules:
            dotted = name if name.startswith("torch.") else f"torch.nn.{name}"
            if (cls := resolve(dotted)) is not None:
                self.by_module[cls] = op
        for name in op.functions:
            if (function := resolve(name)) is not None:
                self.by_object[function] = Match(op, op.signatures.get(name, op.params))
        for name in op.methods:
            match = Match(op, op.signatures.get(f".{name}", op.params))
            self.by_method[name] = match
            self.by_method[f"{name}_"] = match
        for name in op.aten:
            self.by_aten[name] = op
            self.by_aten[f"{name}_"] = op

    def function(self, target: Callable[..., Any]) -> Match | None:
        """Find the operator of a function object or an ATen overload."""
        try:
            found = self.by_object.get(target)
        except TypeError:  # unhashable callable
            return None
        if found is not None:
            return found
        schema = getattr(target, "_schema", None)
        if schema is None:
            return None
        namespace, _, name = schema.name.partition("::")
        op = self.by_aten.get(name) if namespace == "aten" else None
        return None if op is None else Match(op, _aten_params(op, schema))

    def method(self, name: str) -> Match | None:
        """Find the operator of a tensor method name."""
        return self.by_method.get(name)

    def module(self, cls: type) -> Operator | None:
        """Find the operator of a module class or of the nearest listed base class."""
        for base in cls.__mro__:
            if base in self.by_module:
                return self.by_module[base]
        return None


# ATen's spelling of a parameter -> ours, the first that the operator has.
_ATEN_NAMES = {
    "self": ("input",),
    "train": ("training",),
    "indices": ("input",),
    "tensors": ("operands", "input"),
    "size": ("shape", "sizes", "size"),
    "split_sizes": ("split_size",),
    "running_mean": ("running_mean",),
}


def _aten_params(op: Operator, schema: Any) -> tuple[str, ...]:
    ours = [name.removeprefix("*") for name in op.params]
    names = []
    for argument in schema.arguments:
        choices = (argument.name, *_ATEN_NAMES.get(argument.name, ()))
        fallback = ours[0] if argument.name == "self" and ours else argument.name
        names.append(next((name for name in choices if name in ours), fallback))
    return tuple(names)


# Keyword spellings that torch accepts beside the documented ones.
_KEYWORDS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "tensors": "input"}


def bind(params: tuple[str, ...], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give positional arguments their names; a parameter "*name" takes all that are left."""
    bound: dict[str, Any] = {}
    position = 0
    for name in params:
        if name.startswith("*"):
            bound[name[1:]] = tuple(args[position:])
            position = len(args)
        elif position < len(args):
            bound[name] = args[position]
            position += 1
    for extra in range(position, len(args)):
        bound[f"arg{extra}"] = args[extra]
    for name, value in kwargs.items():
        alias = _KEYWORDS.get(name, name)
        known = alias in params or f"*{alias}" in params
        bound[alias if known else name] = value
    return {
        name: value
        for name, value in bound.items()
        if not (f"*{name}" in params and isinstance(value, tuple) and not value)
    }


def resolve(dotted: str) -> Any:
    """Return the object that a dotted name means, or None where this torch has no such thing."""
    if dotted.startswith("F."):
        dotted = f"torch.nn.functional.{dotted[2:]}"
    if dotted.startswith("operator."):
        return getattr(py_operator, dotted.removeprefix("operator."), None)
    root, *parts = dotted.split(".")
    found: Any = importlib.import_module(root)
    for part in parts:
        found = getattr(found, part, None)
        if found is None:
            return None
    return found


@functools.cache
def table() -> Table:
    """Return the table of all operators, importing every file of this folder (and torch)."""
    package = importlib.import_module(__package__ or "nnlint.linter.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return Table(_DECLARED)
