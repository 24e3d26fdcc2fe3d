"""How an object is made, as plain data: what the source says, to be carried out where it may run.

Discovery reads call sites without executing anything and writes down recipes; the worker, which
runs the user's code, makes the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nnlint.linter.findings import Location


class Recipe:
    """Base of all recipes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Plain(Recipe):
    """A literal: None, bool, int, float, complex, str or bytes."""

    value: Any


@dataclass(frozen=True, slots=True)
class Named(Recipe):
    """A class, function or variable by its name.

    Attributes:
        path: Absolute path of the project's file that defines it, "" for something installed.
        name: Its qualified name in that file ("Block", "Net.make"), or its whole dotted name
            ("torch.nn.ReLU", "builtins.int").
    """

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Called(Recipe):
    """What a call returns."""

    callee: Recipe
    args: tuple[Recipe, ...] = ()
    kwargs: Mapping[str, Recipe] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attribute(Recipe):
    """An attribute of a value."""

    base: Recipe
    name: str


@dataclass(frozen=True, slots=True)
class Collected(Recipe):
    """A list, tuple or set of values."""

    kind: Literal["list", "tuple", "set"]
    items: tuple[Recipe, ...]


@dataclass(frozen=True, slots=True)
class Keyed(Recipe):
    """A dict with literal keys."""

    items: Mapping[Any, Recipe]


@dataclass(frozen=True, slots=True)
class Options(Recipe):
    """An object that holds options as attributes and items: an argparse namespace, a configuration.

    What is asked of it and is not listed is assumed by its name.

    Attributes:
        hint: What the user calls it: "args", "opt", "config".
        values: The options that the source tells.
    """

    hint: str
    values: Mapping[str, Recipe] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assumed(Recipe):
    """A value that the source does not tell; a typical one is taken by its name.

    Attributes:
        hint: The name that says most: the parameter's, or the variable's.
        usual: A number, or a collection of numbers, that it is in one of several cases of which
            the others are not known: worth trying first, but not told.
    """

    hint: str
    usual: Recipe | None = None


@dataclass(frozen=True, slots=True)
class Construction:
    """One way in which the project builds a model.

    Attributes:
        args: Positional arguments of the class or factory.
        kwargs: Keyword arguments.
        location: The call, None where it stands for no place in the source.
    """

    args: tuple[Recipe, ...] = ()
    kwargs: Mapping[str, Recipe] = field(default_factory=dict)
    location: Location | None = None

    @property
    def assumes(self) -> int:
        """How many values are not told by the source; the fewer, the better."""
        return sum(map(count_assumed, (*self.args, *self.kwargs.values())))


def count_assumed(recipe: Recipe) -> int:
    """Return how many values within a recipe are assumed."""
    match recipe:
        case Assumed():
            return 1
        case Called(callee, args, kwargs):
            return sum(map(count_assumed, (callee, *args, *kwargs.values())))
        case Attribute(base):
            return count_assumed(base)
        case Collected(items=items):
            return sum(map(count_assumed, items))
        case Keyed(items) | Options(values=items):
            return sum(map(count_assumed, items.values()))
        case _:
            return 0
