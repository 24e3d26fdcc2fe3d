"""Carries out recipes: makes the values that the project's source gives to a model."""

from __future__ import annotations

import builtins
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

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
)
from nnlint.linter.load.assume.choices import Question
from nnlint.linter.load.assume.search import Search

ModuleOf = Callable[[str], ModuleType]

_COLLECTIONS: Mapping[str, type] = {"list": list, "tuple": tuple, "set": set}


@dataclass(slots=True)
class Kitchen:
    """Where recipes are carried out.

    Attributes:
        module_of: Returns the module of one of the project's files by its path.
        search: Gives the values that the source does not tell.
    """

    module_of: ModuleOf
    search: Search
    _made: dict[int, tuple[Recipe, Any]] = field(default_factory=dict)

    def make(self, recipe: Recipe, question: Question) -> Any:
        """Return the value of a recipe, an assumed one where it cannot be carried out.

        Args:
            recipe: What to make.
            question: What is asked where nothing is told.
        """
        try:
            return self._make(recipe, question)
        except Exception:  # noqa: BLE001 - a file of the project may raise anything when it is needed
            return self.search.ask(question)

    def call(
        self, function: Callable[..., Any], args: tuple[Recipe, ...], kwargs: Mapping[str, Recipe]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, assumed ones where they are needed and not given.

        Raises:
            TypeError: Those given do not fit.
        """
        questions = self._questions(function, args, kwargs)
        made = [self.make(each, questions[i]) for i, each in enumerate(args)]
        named = {name: self.make(each, questions[name]) for name, each in kwargs.items()}
        return made, {**named, **self.search.missing(function, made, named)}

    def _make(self, recipe: Recipe, question: Question) -> Any:
        match recipe:
            case Plain(value):
                return value
            case Assumed(usual=usual):
                if usual is None:
                    return self.search.ask(question)
                return self.search.ask(question, self._make(usual, question))
            case Named(path, name):
                return self._named(path, name)
            case Attribute(base, name):
                return getattr(self._make(base, question), name)
            case Collected(kind, items):
                return _COLLECTIONS[kind](
                    self.make(item, _within(question, str(i))) for i, item in enumerate(items)
                )
            case Keyed(items):
                return {key: self.make(item, _within(question, key)) for key, item in items.items()}
            case Options(_, values):
                known = {
                    key: self.make(each, _within(question, key)) for key, each in values.items()
                }
                return self.search.options(question, known)
            case Called(callee, args, kwargs):
                # One object that stands in two places is built once: a shared embedding.
                if id(recipe) not in self._made:
                    function = self._make(callee, question)
                    made, named = self.call(function, args, kwargs)
                    self._made[id(recipe)] = (recipe, function(*made, **named))
                return self._made[id(recipe)][1]
        raise TypeError(f"no such recipe: {recipe!r}")

    def _named(self, path: str, name: str) -> Any:
        value: Any
        if path:
            value, parts = self.module_of(path), name.split(".")
        else:
            value, parts = _installed(name)
        for part in parts:
            value = getattr(value, part)
        return value

    def _questions(
        self, function: Callable[..., Any], args: tuple[Recipe, ...], kwargs: Mapping[str, Recipe]
    ) -> dict[int | str, Question]:
        """Return the question for each argument of a call, by position and by name."""
        hints: dict[int | str, str] = dict(enumerate(map(_hint, args)))
        hints.update({name: _hint(recipe) for name, recipe in kwargs.items()})
        label = getattr(function, "__name__", "it")
        found: dict[int | str, Question] = {
            key: Question(f"{label}({key})", (hint or (key if isinstance(key, str) else "value"),))
            for key, hint in hints.items()
        }
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return found
        positional = [p.name for p in signature.parameters.values() if p.kind in _POSITIONAL]
        for key in found:
            name = key if isinstance(key, str) else next(iter(positional[key : key + 1]), "")
            if name in signature.parameters:
                found[key] = self.search.question(function, name, signature, hints[key])
        return found


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _hint(recipe: Recipe) -> str:
    return recipe.hint if isinstance(recipe, (Assumed, Options)) else ""


def _within(question: Question, key: Any) -> Question:
    """Return the question for a part of a value."""
    uses = question.uses.attributes.get(key) or question.uses.keys.get(key)
    names = (key,) if isinstance(key, str) and key.isidentifier() else question.names
    child = f"{question.names[0]}.{key}" if names != question.names else f"{question.key}[{key}]"
    if uses is None:
        return Question(child, names, namespace=question.namespace)
    return Question(child, names, uses, namespace=question.namespace)


def _installed(name: str) -> tuple[Any, list[str]]:
    """Return the innermost module of a dotted name, and the rest of the name."""
    parts = name.split(".")
    if len(parts) == 1 and hasattr(builtins, name):
        return builtins, parts
    for count in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:count])), parts[count:]
        except ModuleNotFoundError:
            if count == 1:
                raise
    raise ModuleNotFoundError(name)
