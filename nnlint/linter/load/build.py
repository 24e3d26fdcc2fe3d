"""Finds a target's class, factory or instance in its module, and the model in what that gives."""

from __future__ import annotations

import ast
import inspect
import random
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nnlint.linter.discover.targets import Target
from nnlint.linter.load import importing, lazy, standin
from nnlint.linter.settings import ModelSettings


class NotBuildableError(Exception):
    """The target gives no module that could be analysed, for a reason the user can do something about."""


def build(module: types.ModuleType, target: Target, settings: ModelSettings) -> nn.Module:
    """Return the target's module in training mode, built from the given arguments alone.

    Whatever the user's code raises passes through.

    Raises:
        NotBuildableError: Arguments are missing, or what is built is no module.
    """
    value = lookup(module, target)
    seed()
    if target.kind != "instance":
        try:
            inspect.signature(value).bind(*settings.args, **settings.kwargs)
        except TypeError as error:
            raise NotBuildableError(f"the given arguments do not fit: {error}") from None
        value = value(*settings.args, **settings.kwargs)
    return in_training(only_module(value, target))


def in_training(model: nn.Module) -> nn.Module:
    """Return the model in training mode.

    Its own `train` has its way, such as keeping a part frozen, where it takes no arguments.
    """
    try:
        model.train()
    except Exception:  # noqa: BLE001 - the user's own method of that name may be a training loop
        for module in model.modules():
            module.training = True
    return model


def seed() -> None:
    """Have models built alike each time."""
    random.seed(0)
    torch.manual_seed(0)


def lookup(module: types.ModuleType, target: Target, name: str = "") -> Any:
    """Return what the target's name, or another one, stands for.

    Whatever the definitions that it needs raise passes through.

    Raises:
        NotBuildableError: There is nothing of that name.
    """
    name = name or target.name
    try:
        return importing.require(module, name)
    except AttributeError as error:
        if error.__traceback__ is None or error.name not in name.split("."):
            raise
        raise NotBuildableError(f"the file, when run, defines no {name}") from None
    except importing.LeftOutError as error:
        raise NotBuildableError(f"the statement that makes it is not run: {error}") from None


def required(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()  # a callable that tells nothing about itself: calling it will show
    return tuple(parameter.name for parameter in parameters if is_required(parameter))


def is_required(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter needs a value: its default may be of what is not installed."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    default = parameter.default
    return default is parameter.empty or standin.origin_of(default) is not None


def is_open(function: Callable[..., Any]) -> bool:
    """Tell whether arguments that are no parameters of a callable may be passed to it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def remaking(module: types.ModuleType, target: Target) -> Callable[[], Any] | None:
    """Return what evaluates again the right side of the assignment that makes an instance.

    For one that could not be made since its arguments are not there; they may be assumed.
    """
    if target.kind != "instance" or not isinstance(module, lazy.LazyModule):
        return None
    body = module.nnlint_body
    made = [each for each in body.index.effects.get(target.name, ()) if target.name in each.binds]
    match [each.node for each in made]:
        case [ast.Assign(targets=[ast.Name()], value=ast.Call() as value)]:
            code = compile(ast.Expression(value), body.path, "eval", dont_inherit=True)
            names = body.names

            def make() -> Any:
                return eval(code, names)  # noqa: S307 - the user's own statement

            make.__module__ = module.__name__
            return make
    return None


def only_module(value: Any, target: Target) -> nn.Module:
    """Return the one module that a constructed value consists of, without its wrappers.

    Raises:
        NotBuildableError: There is none, or several.
    """
    found = list(dict.fromkeys(_modules(value)))
    if len(found) == 1:
        return found[0]
    what = "is" if target.kind == "instance" else "gives"
    if not found:
        raise NotBuildableError(f"{target.name} {what} {_describe(value)}, not a torch.nn.Module")
    names = ", ".join(type(item).__name__ for item in found)
    raise NotBuildableError(f"{target.name} {what} several models ({names})")


def _modules(value: Any) -> Iterator[nn.Module]:
    """Yield the modules that a constructed value consists of, without their wrappers."""
    if isinstance(value, nn.Module):
        yield _unwrapped(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _modules(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _modules(item)


def _unwrapped(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif "_orig_mod" in module._modules and isinstance(module._orig_mod, nn.Module):  # noqa: SLF001 - the wrapper of torch.compile
            module = module._orig_mod  # noqa: SLF001 - as above
        else:
            return module


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
