"""From the calls that build models to recipes for building them again."""

from __future__ import annotations

from collections.abc import Iterable

from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.recipes import Assumed, Construction, Recipe
from nnlint.linter.discover.values import Arguments, Made
from nnlint.linter.discover.writing import recipe_of
from nnlint.linter.findings import Location

_MAX_CONSTRUCTIONS = 6


def construction_of(made: Made, info: ClassInfo) -> Construction:
    """Write down the call that made an object."""
    found = info.method("__init__")
    source, node = made.site or (None, None)
    place = source.location(node) if source is not None and node is not None else None
    return construction(found[1] if found is not None else None, made.arguments, place)


def construction(
    init: FunctionDef | None, arguments: Arguments, location: Location | None
) -> Construction:
    """Write down a call of a class.

    What is not known of an argument whose parameter has a default is left to the default.

    Args:
        init: The constructor, None where it is not in the project.
        arguments: What the call gives.
        location: The call.
    """
    names, optional, required = _parameters(init)
    args: list[Recipe] = []
    kwargs: dict[str, Recipe] = {}
    by_name = False
    for at, value in enumerate(arguments.positional):
        name = names[at] if at < len(names) else ""
        recipe = recipe_of(value, name)
        if name in optional and _is_unknown(recipe):
            by_name = True
        elif not by_name:
            args.append(recipe)
        elif name:
            kwargs[name] = recipe
    for name, value in arguments.keywords.items():
        recipe = recipe_of(value, name)
        if name not in optional or not _is_unknown(recipe):
            kwargs[name] = recipe
    given = {*names[: len(arguments.positional)], *kwargs}
    kwargs.update((name, Assumed(name)) for name in required if name not in given)
    return Construction(tuple(args), kwargs, location)


def _is_unknown(recipe: Recipe) -> bool:
    return isinstance(recipe, Assumed) and recipe.usual is None


def by_name(init: FunctionDef, construction: Construction) -> dict[str, Recipe]:
    """Return the arguments of a call by the parameters that they are for."""
    names, _, _ = _parameters(init)
    return {**dict(zip(names, construction.args, strict=False)), **construction.kwargs}


def best(constructions: Iterable[Construction]) -> tuple[Construction, ...]:
    """Return the different ways among some, those that leave least to assume first."""
    different: dict[str, Construction] = {}
    for each in constructions:
        different.setdefault(repr((each.args, sorted(each.kwargs.items()))), each)
    ordered = sorted(different.values(), key=lambda each: each.assumes)
    return tuple(ordered[:_MAX_CONSTRUCTIONS])


def _parameters(init: FunctionDef | None) -> tuple[list[str], frozenset[str], list[str]]:
    """Return positional parameters, those with a default, and those without one."""
    if init is None:
        return [], frozenset(), []
    arguments = init.args
    positional = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)][1:]
    with_default = positional[max(len(positional) - len(arguments.defaults), 0) :]
    if not arguments.defaults:
        with_default = []
    optional = set(with_default)
    required = [name for name in positional if name not in optional]
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            required.append(arg.arg)
        else:
            optional.add(arg.arg)
    return positional, frozenset(optional), required
