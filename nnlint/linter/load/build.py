"""Makes a live module of a target: call the class or the factory, or take the instance."""

from __future__ import annotations

import inspect
import random
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nnlint.linter.discover.targets import Target
from nnlint.linter.settings import ModelSettings


class NotBuildableError(Exception):
    """The target gives no module that could be analysed, for a reason the user can do something about.

    Attributes:
        missing: Names of the parameters without a value, where that is the reason.
    """

    def __init__(self, reason: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.missing = missing


def build(module: types.ModuleType, target: Target, settings: ModelSettings) -> nn.Module:
    """Return the target's module in training mode.

    Whatever the user's constructor raises passes through.

    Raises:
        NotBuildableError: Arguments are missing, or what is built is no module.
    """
    try:
        value = _lookup(module, target.name)
    except AttributeError:
        raise NotBuildableError(f"the file, when run, defines no {target.name}") from None
    random.seed(0)
    torch.manual_seed(0)
    if target.kind != "instance":
        _require_arguments(value, settings)
        value = value(*settings.args, **settings.kwargs)
    return _only_module(value, target).train()


def _lookup(module: types.ModuleType, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _require_arguments(function: Callable[..., Any], settings: ModelSettings) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a callable that tells nothing about itself: calling it will show
    try:
        signature.bind(*settings.args, **settings.kwargs)
    except TypeError as error:
        try:
            given = signature.bind_partial(*settings.args, **settings.kwargs)
        except TypeError:
            raise NotBuildableError(f"the given arguments do not fit: {error}") from None
        missing = tuple(
            name
            for name, parameter in signature.parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and name not in given.arguments
        )
        raise NotBuildableError("arguments are missing", missing) from None


def _only_module(value: Any, target: Target) -> nn.Module:
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
