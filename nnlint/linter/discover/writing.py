"""From abstract values to recipes."""

from __future__ import annotations

from nnlint.linter.discover.recipes import Assumed, Collected, Named, Plain, Recipe
from nnlint.linter.discover.values import Constant, Ref, Sequence, Value


def recipe_of(value: Value, hint: str) -> Recipe:
    """Write down how a value is made."""
    match value:
        case Constant(plain):
            return Plain(plain)
        case Ref(dotted):
            return Named("", dotted)
        case Sequence(items=items):
            return Collected("list", tuple(recipe_of(item, hint) for item in items))
    return Assumed(hint)
