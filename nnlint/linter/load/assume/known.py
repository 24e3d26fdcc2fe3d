"""The plain values that a file gives to things by name: what an author takes for typical."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from nnlint.linter.load.assume.kinds import core

# A larger number is the size of a data set or a vocabulary: a model of it takes long to build.
_LARGEST = 4096
_MOST = 3


def known_values(tree: ast.Module) -> Callable[[str], tuple[Any, ...]]:
    """Return what tells the values of a name: defaults, keyword arguments, assignments."""
    found: dict[str, list[Any]] = {}
    for name, value in _pairs(tree):
        plain = _plain(value)
        if plain is not None:
            values = found.setdefault(core(name), [])
            if not any(type(each) is type(plain) and each == plain for each in values):
                values.append(plain)
    return lambda name: tuple(found.get(core(name), ())[:_MOST])


def _pairs(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(keywords=keywords):
                for keyword in keywords:
                    if keyword.arg:
                        yield keyword.arg, keyword.value
            case ast.arguments():
                positional = [*node.posonlyargs, *node.args]
                defaults = node.defaults
                for each, default in zip(positional[::-1], defaults[::-1], strict=False):
                    yield each.arg, default
                for each, given in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                    if given is not None:
                        yield each.arg, given
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _plain(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | str() as value):
            return value
        case ast.Constant(value=int() | float() as value) if 0 <= value <= _LARGEST:
            return value
        case ast.Tuple(elts=elements) | ast.List(elts=elements) if elements:
            items = [each.value for each in elements if isinstance(each, ast.Constant)]
            small = all(type(each) is int and 0 <= each <= _LARGEST for each in items)
            if small and len(items) == len(elements):
                return tuple(items) if isinstance(node, ast.Tuple) else items
    return None
