"""Arguments that switch a model's last activation on and off.

A class that gives probabilities in one script and logits in another meets a loss of each kind, and
each is right. What one of them meets says nothing of the other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nnlint.linter.discover.binding import defaults
from nnlint.linter.discover.classes import ClassInfo
from nnlint.linter.discover.constructing import by_name
from nnlint.linter.discover.names import chain
from nnlint.linter.discover.recipes import Called, Construction, Named, Plain, Recipe
from nnlint.linter.discover.targets import UNKNOWN

_ACTIVATION = re.compile(r"softmax|sigmoid|softplus|tanh|logit|activation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Switch:
    """An argument that is no number.

    Attributes:
        value: A literal, or the last part of the name of what is given.
        deciding: Whether the class decides by it on an activation.
    """

    value: bool | str | None
    deciding: bool

    def contradicts(self, other: Switch) -> bool:
        """Tell whether another setting of the same switch gives another activation."""
        if self.value == other.value:
            return False
        texts = (each.value for each in (self, other) if isinstance(each.value, str))
        return self.deciding or any(map(_ACTIVATION.search, texts))


def switches(
    info: ClassInfo, construction: Construction, deciding: frozenset[str]
) -> dict[str, Switch]:
    """Return the arguments of a call of a class, defaults among them, that may be switches.

    Args:
        info: The class.
        construction: The call.
        deciding: What the class decides by.
    """
    found = info.method("__init__")
    if found is None:
        return {}
    values = {name: _default(node) for name, node in defaults(found[1]).items()}
    values.update((n, _value(recipe)) for n, recipe in by_name(found[1], construction).items())
    return {
        name: Switch(value, name in deciding or bool(_ACTIVATION.search(name)))
        for name, value in values.items()
        if value is None or isinstance(value, bool | str)
    }


def agree(left: Mapping[str, Switch], right: Mapping[str, Switch]) -> bool:
    """Tell whether no switch is known to be set one way here and another way there."""
    return not any(left[name].contradicts(right[name]) for name in left.keys() & right.keys())


def _default(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    return (chain(node) or (UNKNOWN,))[-1]


def _value(recipe: Recipe) -> object:
    match recipe:
        case Plain(value):
            return value
        case Named(name=dotted) | Called(callee=Named(name=dotted)):
            return dotted.rpartition(".")[2]
    return UNKNOWN


def deciding_names(classes: Iterable[ast.ClassDef]) -> frozenset[str]:
    """Return the names that tests in classes ask for before they apply an activation."""
    found: set[str] = set()
    for each in classes:
        for node in ast.walk(each):
            if isinstance(node, ast.If):
                governed: list[ast.AST] = [*node.body, *node.orelse]
            elif isinstance(node, ast.IfExp):
                governed = [node.body, node.orelse]
            else:
                continue
            if any(map(_applies, governed)):
                found |= _names(node.test)
    return frozenset(found)


def _applies(root: ast.AST) -> bool:
    return any(_ACTIVATION.search(name) for name in _names(root))


def _names(root: ast.AST) -> set[str]:
    found = {node.id for node in ast.walk(root) if isinstance(node, ast.Name)}
    return found | {node.attr for node in ast.walk(root) if isinstance(node, ast.Attribute)}
