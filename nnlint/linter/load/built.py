"""Remembers for each module the line of the user's code that built it."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import nn

from nnlint.linter.findings import Location
from nnlint.linter.trace.positions import UserCode

_SITE = "_nnlint_site"


def built_at(module: nn.Module) -> Location | None:
    """Return where the user's code built a module, None where it did not build it."""
    site = module.__dict__.get(_SITE)
    return site if isinstance(site, Location) else None


@contextlib.contextmanager
def recording(code: UserCode) -> Iterator[None]:
    """Note the place of every module that is constructed meanwhile.

    It is kept in the module's own `__dict__`, so that a deep copy has it too.
    """
    original = nn.Module.__init__

    @functools.wraps(original)
    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)

        def inside(frame: FrameType) -> bool:
            # The module's own constructors are not where it is built: super().__init__().
            names = frame.f_code.co_varnames
            return frame.f_code.co_argcount > 0 and frame.f_locals.get(names[0]) is self

        self.__dict__[_SITE] = code.site(sys._getframe(1), skip=inside)  # noqa: SLF001 - the documented way to a caller's frame

    nn.Module.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__init__ = original  # type: ignore[method-assign]
