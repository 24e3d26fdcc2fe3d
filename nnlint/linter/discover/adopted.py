"""The models of a script that defines none itself: those that it imports and builds."""

from __future__ import annotations

import ast

from nnlint.linter.discover.classes import ClassInfo
from nnlint.linter.discover.constructing import best
from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.names import chain, imported, on_import
from nnlint.linter.discover.recording import merge
from nnlint.linter.discover.targets import Target
from nnlint.linter.discover.values import ClassRef, Made


def adopted(run: Interpreter) -> tuple[Target, ...]:
    """Return a target for each class of another file that a file builds models of."""
    parts = {
        value.info
        for receiver, value in run.given
        if isinstance(value, ClassRef | Made) and receiver.info is not None
    }
    found: dict[ClassInfo, Target] = {}
    for made in run.made:
        info = made.info
        if info is None or info in parts or info in found or not _is_model(info, run):
            continue
        target = _target(made, info, run)
        if target is not None:
            found[info] = target
    return tuple(found.values())


def _is_model(info: ClassInfo, run: Interpreter) -> bool:
    return (
        info.module
        and (info.has_forward or info.lightning)
        and not info.criterion_like
        and info.source is not run.unit.source
    )


def _target(made: Made, info: ClassInfo, run: Interpreter) -> Target | None:
    if made.site is None:
        return None
    source, call = made.site
    if not isinstance(call, ast.Call) or source is not run.unit.source:
        return None
    parts = chain(call.func)
    if not parts or parts[0] not in _importable(run):
        return None
    return Target(
        name=".".join(parts),
        kind="class",
        location=source.location(call.func),
        class_name=info.name,
        required=info.required,
        constructions=best(run.constructions.get(info, ())),
        uses=merge(each.use for each in run.records if each.made.root.info is info),
        passed=frozenset(name for one, names in run.passed if one.info is info for name in names),
        lightning=info.lightning,
    )


def _importable(run: Interpreter) -> set[str]:
    """Return the names that the top level of the file imports from the project."""
    found = {name for node, _ in on_import(run.unit.source.tree.body) for name, _ in imported(node)}
    for other in run.project.starred(run.unit):
        found.update(other.classes)
    return found
