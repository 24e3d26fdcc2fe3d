"""Does without trained weights: they would have to be fetched, and no rule asks for them."""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.util
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from nnlint.linter.load import guard, hub
from nnlint.linter.replacing import replaced

LOADED = "_nnlint_loaded"

_LARGEST = 64 * 1024**2

# Functions that fetch weights and put them into the model that is passed.
_LOADERS = {
    "timm.models._builder": ("load_pretrained", "load_custom_pretrained"),
    "timm.models.helpers": ("load_pretrained", "load_custom_pretrained"),
}


class Weights(OrderedDict[str, Any]):
    """The contents of a file of weights that is not there: empty, whatever is asked of it."""

    _nnlint_weights = True

    def __missing__(self, key: str) -> Self:
        return type(self)()

    def __delitem__(self, key: str) -> None:
        self.pop(key, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: self


class _Sparing(importlib.abc.MetaPathFinder):
    """Replaces the functions that fetch as soon as their module is imported."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._asking = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature of the base class
        target: ModuleType | None = None,  # noqa: ARG002 - as above
    ) -> ModuleSpec | None:
        if fullname not in (*_LOADERS, *hub.MODULES) or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._sparing(spec.loader.exec_module)  # type: ignore[assignment,method-assign] # of this one
        return spec

    def replace(self, module: ModuleType) -> None:
        """Replace the functions of a module."""
        if module.__name__ in hub.MODULES:
            hub.spare(module, self._stack, _fill)
            return
        for name in _LOADERS[module.__name__]:
            if hasattr(module, name):
                self._stack.enter_context(replaced(module, name, _put_nothing))

    def _sparing(self, run: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def exec_module(module: ModuleType) -> None:
            run(module)
            self.replace(module)

        return exec_module


@contextlib.contextmanager
def absent() -> Iterator[None]:
    """Make functions that fetch or read weights return `Weights`, which any module accepts.

    Those that save are refused; PyTorch opens files itself, where no audit hook sees it.
    """
    fetch = torch.hub.load_state_dict_from_url
    with contextlib.ExitStack() as stack:
        for module in [m for m in sys.modules.values() if m is not None]:
            for name in ("load_state_dict_from_url", "load_url"):
                if getattr(module, "__dict__", {}).get(name) is fetch:
                    stack.enter_context(replaced(module, name, _fetched))
        stack.enter_context(replaced(torch, "load", _loading(torch.load)))
        stack.enter_context(replaced(torch, "save", _saving(torch.save)))
        stack.enter_context(replaced(torch.jit, "save", _saving(torch.jit.save)))
        stack.enter_context(
            replaced(nn.Module, "load_state_dict", _taking(nn.Module.load_state_dict))
        )
        sparing = _Sparing(stack)
        for name in {*_LOADERS, *hub.MODULES} & sys.modules.keys():
            sparing.replace(sys.modules[name])
        sys.meta_path.insert(0, sparing)
        stack.callback(sys.meta_path.remove, sparing)
        yield


def _put_nothing(model: nn.Module, *_: Any, **__: Any) -> None:
    _fill(model)


def _fetched(*_: Any, **__: Any) -> Weights:
    return Weights()


def _loading(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(f, (str, os.PathLike)):
            try:
                small = os.stat(f).st_size <= _LARGEST  # noqa: PTH116 - a path of any type
            except (OSError, ValueError):
                small = False
            if not small:
                return Weights()
        return original(f, *args, **kwargs)

    return load


def _saving(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def save(value: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(f, (str, os.PathLike)):
            raise guard.RefusedError(f"nnlint writes no file ({os.fspath(f)})")
        return original(value, f, *args, **kwargs)

    return save


def _taking(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_state_dict(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state_dict, Weights):
            _fill(self)
            return _IncompatibleKeys([], [])
        return original(self, state_dict, *args, **kwargs)

    return load_state_dict


def _fill(module: nn.Module) -> None:
    """Give values to parameters that wait for theirs: after loading, none is uninitialised."""
    for part in module.modules():  # any of them may be taken out and used by itself
        part.__dict__[LOADED] = True
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and bool(parameter.isnan().any()):
                parameter.normal_(0.0, 0.02)
