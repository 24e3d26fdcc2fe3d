"""The names of a module, of which those that nothing has needed yet are made when they are asked for."""

from __future__ import annotations

import ast
import contextlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from nnlint.linter.load import lazy


class Namespace(Mapping[str, Any]):
    """The names of the module that defines a class or function.

    Args:
        module: The module, None where it is not known.
    """

    def __init__(self, module: types.ModuleType | None = None) -> None:
        self._module = module

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Namespace:
        """Return the names that a class or function sees."""
        return cls(sys.modules.get(getattr(function, "__module__", None) or ""))

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self._module, name)
        except Exception:  # noqa: BLE001 - what makes it may raise anything
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(dir(self._module) if self._module is not None else ())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def layers(self) -> Iterator[type[nn.Module]]:
        """Yield the module's own classes of layers, in their order."""
        for name in self._defined():
            with contextlib.suppress(KeyError):
                value = self[name]
                if isinstance(value, type) and issubclass(value, nn.Module):
                    yield value

    def _defined(self) -> list[str]:
        if isinstance(self._module, lazy.LazyModule):
            effects = self._module.nnlint_body.index.effects
            return [
                name
                for name, statements in effects.items()
                if any(isinstance(each.node, ast.ClassDef) for each in statements)
            ]
        own = getattr(self._module, "__name__", "")
        return [n for n, v in vars(self._module).items() if getattr(v, "__module__", "") == own]
