"""From abstract values to recipes."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Literal

from nnlint.linter.discover.classes import ClassInfo, FunctionDef, required_parameters
from nnlint.linter.discover.plain import numeric
from nnlint.linter.discover.recipes import (
    Assumed,
    Attribute,
    Called,
    Collected,
    Keyed,
    Named,
    Options,
    Plain,
    Recipe,
    count_assumed,
)
from nnlint.linter.discover.values import (
    Arguments,
    Bound,
    ClassRef,
    Constant,
    Either,
    Function,
    Made,
    Method,
    Opaque,
    Outcome,
    Partial,
    Ref,
    Sequence,
    Settings,
    Table,
    Value,
    Wanted,
)

_MAX_DEPTH = 8
_MAX_RECIPES = 1_000
_LITERALS = (type(None), bool, int, float, complex, str, bytes)
_COLLECTIONS: dict[str, Literal["list", "tuple", "set"]] = {
    "list": "list",
    "modules": "list",
    "set": "set",
    "tuple": "tuple",
}
# Whose calls only make a value, apart from those that read, write or ask the machine.
_MAKING = ("torch.", "numpy.", "math.", "collections.", "functools.", "itertools.", "fractions.")
_DOING = re.compile(
    r"\.(load\w*|save\w*|open\w*|hub|cuda|distributed|multiprocessing|utils|jit|onnx|backends|mps"
    r"|from_?file|fromfile|memmap|genfromtxt|set_\w+|manual_seed|seed|compile|profiler)\b"
)
_CONFIGURATION = re.compile(r"\.[A-Z]\w*(Config|Configuration|Params)$")
# Models are built where there is no accelerator.
_ACCELERATOR = re.compile(r"^(cuda|mps|xpu)(:\d+)?$")
_TORCH_NAMES = {
    "Linear": ("in_features", "out_features"),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "Conv": ("in_channels", "out_channels", "kernel_size"),
}


def recipe_of(value: Value, hint: str) -> Recipe:
    """Write down how a value is made.

    Args:
        value: What is known of it.
        hint: The name that says most of it, for what is not known.
    """
    return _Writer().write(value, hint)


class _Writer:
    """The writing of one recipe, within bounds.

    Attributes:
        inside: The objects being written down; one within itself is not followed.
        left: How many recipes may still be written.
    """

    def __init__(self) -> None:
        self.inside: list[Value] = []
        self.left = _MAX_RECIPES

    def write(self, value: Value, hint: str) -> Recipe:
        """Write down one value and what it holds."""
        self.left -= 1
        if len(self.inside) >= _MAX_DEPTH or self.left <= 0:
            return Assumed(hint)
        if any(value is outer for outer in self.inside):
            return Assumed(hint)
        self.inside.append(value)
        try:
            return self._written(value, hint)
        finally:
            self.inside.pop()

    def _written(self, value: Value, hint: str) -> Recipe:
        match value:
            case Constant(plain):
                return _plain(plain, hint)
            case Ref(dotted):
                return Assumed(hint) if dotted.startswith(".") else Named("", dotted)
            case ClassRef(info):
                return _class(info)
            case Function():
                return _function(value) or Assumed(hint)
            case Bound(function, me):
                return self._attribute(me, function.node, hint)
            case Method(base, name):
                return self._of(base, name, hint)
            case Sequence():
                return self._sequence(value, hint)
            case Table():
                return self._table(value, hint)
            case Settings(values):
                return Options(hint, self._options(values))
            case Partial(callee, arguments):
                return self._partial(callee, arguments, hint)
            case Made():
                return self._made(value.root, hint)
            case Either(choices):
                return self._either(choices, hint)
            case Outcome(callee=callee, arguments=arguments):
                return self._outcome(callee, arguments, hint)
            case Wanted(name=name):
                return Assumed(hint or name)
        return Assumed(hint)

    def _sequence(self, value: Sequence, hint: str) -> Recipe:
        if value.open:
            return Assumed(hint)
        items = tuple(self.write(item, hint) for item in value.items)
        if Assumed(hint) in items and any(isinstance(item, Plain) for item in items):
            # Of numbers that belong together, one that is not known makes all unknown.
            return Assumed(hint)
        collected = Collected(_COLLECTIONS[value.kind], items)
        if value.kind != "modules":
            return collected
        return Called(Named("", "torch.nn.ModuleList"), (collected,))

    def _table(self, value: Table, hint: str) -> Recipe:
        keyed = Keyed({key: self.write(item, str(key)) for key, item in value.items.items()})
        if value.open and not value.items:
            return Assumed(hint)
        if value.kind != "modules":
            return keyed
        return Called(Named("", "torch.nn.ModuleDict"), (keyed,))

    def _options(self, values: dict[object, Value]) -> dict[str, Recipe]:
        """Write down options; those that are not known are assumed when they are asked for."""
        written = {str(key): self.write(item, str(key)) for key, item in values.items()}
        return {key: recipe for key, recipe in written.items() if not isinstance(recipe, Assumed)}

    def _either(self, choices: tuple[Value, ...], hint: str) -> Recipe:
        """Take the first alternative that is known; the first branch is the usual one.

        A number that may as well be another one, which is not known, is not told.
        """
        usual = next((choice for choice in choices if numeric(choice)), None)
        if usual is not None and any(type(choice) is Opaque for choice in choices):
            return Assumed(hint, self.write(usual, hint))
        best: Recipe = Assumed(hint)
        least = 0
        for choice in choices:
            recipe = self.write(choice, hint)
            missing = count_assumed(recipe)
            if missing == 0:
                return recipe
            if isinstance(best, Assumed) or missing < least:
                best, least = recipe, missing
        return best

    def _made(self, made: Made, hint: str) -> Recipe:
        if made.info is None and made.arguments.open:
            return Assumed(hint)
        if made.info is None:
            return self._called(Named("", made.dotted), made.arguments, made.dotted)
        found = made.info.method("__init__")
        init = found[1] if found is not None else None
        recipe = _class(made.info)
        return self._construction(recipe, init, made.arguments, made.info) or Assumed(hint)

    def _construction(
        self, callee: Recipe, init: FunctionDef | None, arguments: Arguments, info: ClassInfo
    ) -> Recipe | None:
        """Write down a call of a class of the project; required arguments are there at least."""
        if init is None:
            names: list[str] = [name for each in reversed(info.mro) for name in each.fields]
            required: tuple[str, ...] = () if info.module or info.foreign else _no_default(info)
            optional: set[str] = set()
        else:
            parameters = (*init.args.posonlyargs, *init.args.args)
            names = [arg.arg for arg in parameters][1:]
            required = required_parameters(init, skip=1)
            optional = {arg.arg for arg in (*parameters, *init.args.kwonlyargs)} - set(required)
        args: list[Recipe] = []
        kwargs: dict[str, Recipe] = {}
        for at, value in enumerate(arguments.positional):
            name = names[at] if at < len(names) else ""
            recipe = self.write(value, name)
            if name and (kwargs or len(args) < at or isinstance(recipe, Assumed)):
                kwargs[name] = recipe
            elif not kwargs:
                args.append(recipe)
        kwargs |= {name: self.write(value, name) for name, value in arguments.keywords.items()}
        # What is not known is better left to a default.
        kwargs = {
            name: recipe
            for name, recipe in kwargs.items()
            if not (isinstance(recipe, Assumed) and name in optional)
        }
        given = {*names[: len(args)], *kwargs}
        kwargs.update((name, Assumed(name)) for name in required if name not in given)
        return Called(callee, tuple(args), kwargs)

    def _called(self, callee: Recipe, arguments: Arguments, dotted: str) -> Called:
        names = _parameters(dotted)
        args = tuple(
            self.write(value, names[at] if at < len(names) else "")
            for at, value in enumerate(arguments.positional)
        )
        return Called(
            callee,
            args,
            {name: self.write(item, name) for name, item in arguments.keywords.items()},
        )

    def _partial(self, callee: Value, arguments: Arguments, hint: str) -> Recipe:
        called = self.write(callee, hint)
        if isinstance(called, Assumed) or arguments.open:
            return called
        given = self._called(called, arguments, "")
        known = {
            name: recipe for name, recipe in given.kwargs.items() if not isinstance(recipe, Assumed)
        }
        return Called(Named("", "functools.partial"), (called, *given.args), known)

    def _outcome(self, dotted: str, arguments: Arguments, hint: str) -> Recipe:
        makes = dotted.startswith(_MAKING) and not _DOING.search(dotted)
        if not (makes or _CONFIGURATION.search(dotted)) or arguments.open:
            return Assumed(hint)
        recipe = self._called(Named("", dotted), arguments, "")
        return Assumed(hint) if count_assumed(recipe) else recipe

    def _attribute(self, me: Value, node: object, hint: str) -> Recipe:
        return self._of(me, node.name, hint) if isinstance(node, FunctionDef) else Assumed(hint)

    def _of(self, base: Value, name: str, hint: str) -> Recipe:
        if not isinstance(base, ClassRef | Made):
            return Assumed(hint)
        owner = self.write(base, "")
        if isinstance(owner, Named):
            return Named(owner.path, f"{owner.name}.{name}")
        return Assumed(hint) if count_assumed(owner) else Attribute(owner, name)


def file_of(info: ClassInfo) -> str:
    """Return the absolute path of the file that defines a class."""
    return os.path.realpath(info.source.path)


def _class(info: ClassInfo) -> Named:
    return Named(file_of(info), info.name)


def _function(value: Function) -> Named | None:
    if not isinstance(value.node, FunctionDef):
        return None
    if value.owner is not None:
        return Named(file_of(value.owner), f"{value.owner.name}.{value.node.name}")
    if value.source is None:
        return None
    return Named(os.path.realpath(value.source.path), value.node.name)


def _plain(value: object, hint: str) -> Recipe:
    if isinstance(value, str) and _ACCELERATOR.match(value):
        return Plain("cpu")
    if isinstance(value, _LITERALS):
        return Plain(value)
    if isinstance(value, range):
        bounds = (Plain(value.start), Plain(value.stop), Plain(value.step))
        return Called(Named("", "builtins.range"), bounds)
    if isinstance(value, PurePosixPath):
        return Called(Named("", "pathlib.Path"), (Plain(str(value)),))
    return Named("", "builtins.Ellipsis") if value is ... else Assumed(hint)


def _no_default(info: ClassInfo) -> tuple[str, ...]:
    """Return the fields of a dataclass that have no default."""
    attributes = {name for each in info.mro for name in each.attributes}
    fields = [name for each in reversed(info.mro) for name in each.fields]
    return tuple(name for name in fields if name not in attributes)


def _parameters(dotted: str) -> tuple[str, ...]:
    """Return the names of the first parameters of one of torch's layers."""
    last = dotted.rpartition(".")[2]
    return next((names for kind, names in _TORCH_NAMES.items() if last.startswith(kind)), ())
