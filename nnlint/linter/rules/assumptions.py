"""The `if`s around a place of the user's code, and what an assumed argument may decide by them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from nnlint.linter.discover.source import Source
from nnlint.linter.discover.switches import deciding_names
from nnlint.linter.findings import Location
from nnlint.linter.graph import ModelGraph, Node


def ifs_around(source: Source | None, place: Location | None) -> Iterator[ast.If]:
    """Yield the `if`s of its function that must hold, or must not, for a place to be reached."""
    if source is None or place is None or place.path != source.path:
        return
    for each in ast.walk(source.tree):
        if not isinstance(each, ast.If):
            continue
        for body in (each.body, each.orelse):
            if not body or not body[0].lineno <= place.line <= (body[-1].end_lineno or 0):
                continue
            # A class or function may stand in an `if` as well, as in a main block.
            if not any(isinstance(one, ast.FunctionDef | ast.ClassDef) for one in body):
                yield each


def asked(test: ast.expr) -> frozenset[str]:
    """Return the names that a condition asks for; none for one that looks for an optional value."""
    if any(isinstance(each, ast.Is | ast.IsNot) for each in ast.walk(test)):
        return frozenset()
    names = {each.id for each in ast.walk(test) if isinstance(each, ast.Name)}
    names |= {each.attr for each in ast.walk(test) if isinstance(each, ast.Attribute)}
    return frozenset(names - {"self", "training"})


def is_assumed_number(graph: ModelGraph, value: float | None) -> bool:
    """Tell whether a number stands among the assumed arguments, and may be one of them."""
    texts = (text for each in graph.assumed.values() for text in re.findall(r"[\d.e+-]+", each))
    return value is not None and str(value) in texts


def _is_of_size(test: ast.expr) -> bool:
    """Tell whether a condition compares numbers: an assumed size stands for the usual ones."""
    return isinstance(test, ast.Compare) and any(
        isinstance(each, ast.Constant) and type(each.value) in (int, float)
        for each in (test.left, *test.comparators)
    )


def may_be_assumed(graph: ModelGraph, nodes: Iterable[Node], *, lacking: bool = False) -> bool:
    """Tell whether an assumed argument may have chosen the layers or calls of some nodes.

    Args:
        graph: The graph.
        nodes: The nodes, to which a condition may lead.
        lacking: Whether it matters as well that another activation is not there.
    """
    if not graph.assumed:
        return False
    places = [place for node in nodes for place in (node.built, node.location)]
    tests = [each.test for place in places for each in ifs_around(graph.source, place)]
    if any(asked(test) and not _is_of_size(test) for test in tests):
        return True
    if not lacking or graph.source is None:
        return False
    owners = {cls.__name__ for cls in type(graph.model).__mro__}
    classes = [
        each
        for each in ast.walk(graph.source.tree)
        if isinstance(each, ast.ClassDef) and each.name in owners
    ]
    assumed = {name for key in graph.assumed for name in re.findall(r"\w+", key)}
    return bool(assumed & deciding_names(classes))
