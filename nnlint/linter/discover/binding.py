"""Arguments and the parameters that they belong to."""

from __future__ import annotations

import ast

from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Constant,
    Sequence,
    Table,
    Value,
)


def prepend(me: Value, arguments: Arguments) -> Arguments:
    """Return the arguments with one more in front."""
    return Arguments((me, *arguments.positional), arguments.keywords, arguments.open)


def complete(first: Arguments, then: Arguments) -> Arguments:
    """Return the arguments of a partial call followed by those of the call itself."""
    return Arguments(
        (*first.positional, *then.positional),
        {**first.keywords, **then.keywords},
        first.open or then.open,
    )


def defaults(node: FunctionDef | ast.Lambda) -> dict[str, ast.expr]:
    """Return the defaults of a function by parameter."""
    positional = [*node.args.posonlyargs, *node.args.args]
    count = len(node.args.defaults)
    found = {
        arg.arg: default
        for arg, default in zip(
            positional[len(positional) - count :], node.args.defaults, strict=True
        )
    }
    for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is not None:
            found[arg.arg] = default
    return found


def match(node: FunctionDef | ast.Lambda, arguments: Arguments) -> dict[str, Value]:
    """Return the given arguments by parameter."""
    parameters = node.args
    positional = [*parameters.posonlyargs, *parameters.args]
    bound: dict[str, Value] = {}
    for arg, value in zip(positional, arguments.positional, strict=False):
        bound[arg.arg] = value
    names = {arg.arg for arg in (*positional, *parameters.kwonlyargs)}
    extra: dict[str, Value] = {}
    for name, value in arguments.keywords.items():
        (bound if name in names else extra)[name] = value
    if parameters.vararg:
        bound[parameters.vararg.arg] = Sequence(arguments.positional[len(positional) :])
    if parameters.kwarg:
        bound[parameters.kwarg.arg] = Table(extra)
    return bound


def customised(info: ClassInfo, arguments: Arguments) -> bool:
    """Tell whether a constructor gets anything else than its defaults."""
    found = info.method("__init__")
    if arguments.open or (found is None and arguments.values):
        return True
    if found is None:
        return False
    usual = defaults(found[1])
    for name, value in match(found[1], prepend(NOTHING, arguments)).items():
        default = usual.get(name)
        if default is None:
            empty = isinstance(value, Sequence | Table) and not value.items
            if value is NOTHING or empty:
                continue
            return True
        if not _equal(value, default):
            return True
    return False


def _equal(value: Value, default: ast.expr) -> bool:
    if not isinstance(value, Constant) or not isinstance(default, ast.Constant):
        return False
    return type(value.value) is type(default.value) and bool(value.value == default.value)
