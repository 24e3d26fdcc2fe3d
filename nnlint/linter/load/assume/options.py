"""An object of options that answers for what it was not told: an argparse namespace, a configuration."""

from __future__ import annotations

import ast
import copy
import itertools
import linecache
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Self


class Options(dict[str, Any]):
    """Options as attributes and as items; an unknown one is assumed when it is asked for.

    Args:
        values: The options that are known.
        ask: Returns the value of an unknown option by its name.
    """

    def __init__(self, values: Mapping[str, Any], ask: Callable[[str], Any]) -> None:
        super().__init__(values)
        # So attributes are items, `vars()` is the options, and an assignment adds to them.
        object.__setattr__(self, "__dict__", self)
        _ASK[id(self)] = (self, ask)

    def take(self, *others: Any, **values: Any) -> None:
        """Take over options, as methods of configurations such as `merge_from_dict` do."""
        for other in others:
            if isinstance(other, Mapping):
                self.update(other)
        self.update(values)

    def __missing__(self, key: str) -> Any:
        if not isinstance(key, str):
            raise KeyError(key)
        value = self[key] = _ASK[id(self)][1](key)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or _is_optional(sys._getframe(1)):  # noqa: SLF001 - the documented way to a caller's frame
            raise AttributeError(name, name=name, obj=self)
        return self[name]

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:  # type: ignore[override] # a namespace can be hashed
        return id(self)

    def __copy__(self) -> Self:
        return type(self)(self, _ASK[id(self)][1])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        known = {key: copy.deepcopy(value, memo) for key, value in self.items()}
        return type(self)(known, _ASK[id(self)][1])


# By identity, for what an object holds in itself is the user's to list. The object is kept, so
# that its id is not used again.
_ASK: dict[int, tuple[Options, Callable[[str], Any]]] = {}


def _is_optional(frame: FrameType) -> bool:
    """Tell whether a frame asks for an attribute that may be missing: hasattr, getattr(x, y, z)."""
    positions = next(
        itertools.islice(frame.f_code.co_positions(), max(frame.f_lasti, 0) // 2, None), None
    )
    line, end_line, column, end_column = positions or (None, None, None, None)
    if line is None or line != end_line:
        return False
    text = linecache.getline(frame.f_code.co_filename, line).encode()[column:end_column]
    try:
        node = ast.parse(text.decode(errors="replace").strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return False
    match node:
        case ast.Call(func=ast.Name(id="hasattr")):
            return True
        case ast.Call(func=ast.Name(id="getattr"), args=[_, _, _]):
            return True
    return False
