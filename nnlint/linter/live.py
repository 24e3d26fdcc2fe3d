"""Lint a live module, as in a notebook or a test."""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnlint.errors import UsageError
from nnlint.linter.discover import discover
from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Location, Report
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.selection import resolve_for_lint
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.linter.suppress import apply

if TYPE_CHECKING:
    import torch

    from nnlint.linter.trace.convert import BuiltAt


def lint(
    model: torch.nn.Module,
    inputs: Any = None,
    loss: Any = None,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Lint a live module and return the report, which is truthy when clean.

    The model is traced, not run, in training mode; its parameters, buffers, mode and the random
    state are the same afterwards. Comments such as `# nnlint: ignore[rule]` in its file count.

    Args:
        model: The module to judge.
        inputs: Example inputs, to be given where they cannot be inferred: a tensor, a shape such
            as (2, 3, 224, 224), a list of these, or a dict by parameter name of forward.
        loss: The loss that the output meets: a module, a function of torch.nn.functional, or a
            name such as "cross_entropy". Without it, the loss is looked for in forward and in the
            file that defines the model.
        select: Names, codes or prefixes of the rules to run; the default set without it.
        ignore: Names, codes or prefixes of rules to leave out.

    Raises:
        UsageError: An argument is not of a form named above, or a rule is unknown.
    """
    import torch

    from nnlint.linter import engine
    from nnlint.linter.trace.positions import UserCode
    from nnlint.linter.trace.stitch import operator_of

    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"lint() takes a torch.nn.Module, not {type(model).__name__}")
    if loss is not None and operator_of(loss) is None:
        raise UsageError(
            f"{loss!r} is no loss that nnlint knows",
            hint='try "cross_entropy" or nn.CrossEntropyLoss()',
        )
    rules = resolve_for_lint(select, ignore)
    path, text, source = source_of(type(model))
    target = target_of(model, path, source)
    with undisturbed(model):
        result = engine.analyse(
            model.train(),
            target=target,
            source=source,
            settings=ModelSettings(inputs=None if inputs is None else tuple(_specs(inputs))),
            rules=rules,
            code=UserCode(path, text, ""),
            built_at=sites(model),
            loss=loss,
        )
    report = Report(
        findings=tuple(sorted(result.findings, key=lambda f: (f.location, f.code))),
        models=(result.report,),
        checks=result.checks,
        sources={path: text} if text else {},
    )
    ran = frozenset(rule.code for rule in rules) - {rule_by_key()["unused-suppression"].code}
    return apply(report, report.sources, ran)


def _specs(inputs: Any) -> Iterator[InputSpec]:
    if isinstance(inputs, Mapping):
        for name, value in inputs.items():
            yield _spec(value, str(name))
    elif hasattr(inputs, "dtype") or (_is_shape(inputs)):
        yield _spec(inputs, "")
    elif isinstance(inputs, (tuple, list)):
        for value in inputs:
            yield _spec(value, "")
    else:
        yield _spec(inputs, "")


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and all(type(v) is int for v in value)


def _spec(value: Any, name: str) -> InputSpec:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return InputSpec(tuple(value.shape), str(value.dtype).removeprefix("torch."), name)
    if _is_shape(value):
        return InputSpec(tuple(value), "float32", name)
    raise UsageError(f"an input is a tensor or a shape such as (2, 3, 224, 224), not {value!r:.80}")


def source_of(cls: type) -> tuple[str, str, Source | None]:
    """Return path, text and syntax tree of the file or notebook cell that defines a class."""
    function = cls.__dict__.get("forward") or cls.__dict__.get("__init__")
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    filename = code.co_filename if code is not None else _file_of(cls)
    text = "".join(linecache.getlines(filename)) if filename else ""
    if not text:
        return filename or f"<{cls.__name__}>", "", None
    path = os.path.relpath(filename) if os.path.isfile(filename) else filename  # noqa: PTH113 - relative to the current directory, also upwards
    if path.startswith(".."):
        path = filename
    try:
        return path, text, Source.parse(path, text)
    except (SyntaxError, ValueError):
        return path, text, None


def _file_of(cls: type) -> str:
    try:
        return inspect.getsourcefile(cls) or ""
    except TypeError:
        return ""


def target_of(model: torch.nn.Module, path: str, source: Source | None) -> Target:
    """Return what discovery knows of a live module's class."""
    name = type(model).__name__
    if source is None:
        return Target(name, "instance", Location(path, 1), name)
    for target in discover(source):
        if name in (target.name, target.class_name):
            return target
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Target(name, "class", source.location(node), name)
    return Target(name, "instance", Location(path, 1), name)


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Restore the mode of each module and the random state."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def sites(model: torch.nn.Module) -> BuiltAt:
    """Tell where the layers of a finished model were built, by the assignments in its classes.

    For `self.fc = nn.Linear(...)` that is the right-hand side; within an `nn.Sequential(...)`
    written out there, the argument itself.
    """
    found: dict[int, Location] = {}
    trees: dict[type, tuple[Source, ast.ClassDef] | None] = {}
    for module in model.modules():
        cls = type(module)
        if cls.__module__.startswith("torch."):
            continue
        if cls not in trees:
            trees[cls] = _class_tree(cls)
        known = trees[cls]
        if known is None:
            continue
        source, tree = known
        built = dict(_assignments(tree))
        for name, child in module.named_children():
            if name in built:
                _note(found, child, built[name], source)
    return lambda module: found.get(id(module))


def _class_tree(cls: type) -> tuple[Source, ast.ClassDef] | None:
    _, _, source = source_of(cls)
    if source is None:
        return None
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return source, node
    return None


def _assignments(tree: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            match target:
                case ast.Attribute(value=ast.Name(id="self"), attr=name):
                    yield name, node.value


def _note(
    found: dict[int, Location], module: torch.nn.Module, value: ast.expr, source: Source
) -> None:
    found.setdefault(id(module), source.location(value))
    children = list(module.children())
    arguments = value.args if isinstance(value, ast.Call) else []
    if type(module).__name__ == "Sequential" and len(children) == len(arguments):
        for child, argument in zip(children, arguments, strict=True):
            if isinstance(argument, ast.Call):
                _note(found, child, argument, source)
