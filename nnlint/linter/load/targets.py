"""Which models of a file are linted, and with which arguments."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from pathlib import Path

from nnlint.errors import UsageError
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Location
from nnlint.linter.settings import LintSettings, ModelSettings


def choose(source: Source, found: Sequence[Target], names: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets that the user asks for, all that were found without `names`.

    A name may also be of a building block, which is not linted on its own unless it is asked for.

    Raises:
        UsageError: The file defines no such name.
    """
    if not names:
        return tuple(found)
    known = {target.name: target for target in found}
    defined = {target.name: target for target in _defined(source)}
    chosen = []
    for name in names:
        target = known.get(name) or defined.get(name)
        if target is None:
            close = difflib.get_close_matches(name, [*known, *defined], 1)
            models = ", ".join(known) or "no model at all"
            raise UsageError(
                f"{source.path} defines no {name}",
                hint=f"did you mean {close[0]!r}?" if close else f"it defines {models}",
            )
        chosen.append(target)
    return tuple(chosen)


def settings_for(target: Target, settings: LintSettings) -> ModelSettings:
    """Return what the user says about a model; the command line comes before the file."""
    base = ModelSettings()
    path = Path(target.location.path).resolve()
    for key, value in settings.models.items():
        file, _, name = key.rpartition(":")
        if name == target.name and Path(settings.root, file).resolve() == path:
            base = value
    over = settings.default_model
    if over is None:
        return base
    return ModelSettings(
        args=over.args or base.args,
        kwargs={**base.kwargs, **over.kwargs},
        inputs=base.inputs if over.inputs is None else over.inputs,
        loss=over.loss or base.loss,
    )


def _defined(source: Source) -> list[Target]:
    """Return a target for each class, function and variable of the module."""
    found = []
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            found.append(Target(node.name, "class", _name(source, node), node.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(Target(node.name, "factory", _name(source, node)))
        elif isinstance(node, ast.Assign):
            found += [
                Target(name.id, "instance", source.location(name))
                for name in node.targets
                if isinstance(name, ast.Name)
            ]
    return found


def _name(source: Source, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Location:
    """Return the place of the name in a `class` or `def` line."""
    line = source.lines[node.lineno - 1]
    column = line.find(node.name, source.character(node.lineno, node.col_offset) + 2)
    return Location(source.path, node.lineno, column + 1, node.lineno, column + 1 + len(node.name))
