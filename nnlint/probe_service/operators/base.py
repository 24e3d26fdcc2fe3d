"""What a reviewed operator is, and how the groups of this folder are found."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Shape = tuple[int, ...]
# Takes the arguments by name, each tensor as its shape, each list of tensors as a list of shapes;
# returns what is wrong with them, "" for nothing.
Check = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One operator that graphs may use.

    Attributes:
        name: Full overload name, "aten.conv2d.default".
        reason: Why it is safe to run on whatever a client sends.
        words: The text arguments that it may be given.
        pattern: What a text argument may look like, where that is no fixed set of words.
        check: Says what is wrong with the shapes of the arguments, for an operator that does not
            check all of them itself.
    """

    name: str
    reason: str
    words: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None
    check: Check | None = None

    def allows(self, text: str) -> bool:
        """Tell whether a text argument is one of the allowed ones."""
        if text in self.words:
            return True
        return self.pattern is not None and self.pattern.fullmatch(text) is not None


_DECLARED: dict[str, Reviewed] = {}


def allow(
    reason: str,
    names: str,
    *,
    words: Sequence[str] = (),
    pattern: str = "",
    check: Check | None = None,
) -> None:
    """Declare operators that are safe for one reason.

    Args:
        reason: Why.
        names: Full overload names, separated by blanks.
        words: Allowed text arguments.
        pattern: Regular expression for text arguments.
        check: Checks shapes that the operator itself does not.
    """
    compiled = re.compile(pattern) if pattern else None
    for name in names.split():
        assert name not in _DECLARED, f"{name} is declared twice"
        _DECLARED[name] = Reviewed(name, reason, frozenset(words), compiled, check)


@functools.cache
def reviewed() -> Mapping[str, Reviewed]:
    """Return every reviewed operator by name."""
    package = importlib.import_module(__package__ or "nnlint.probe_service.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return MappingProxyType(dict(sorted(_DECLARED.items())))
