"""What an assertion that failed compares sizes with."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import Any

_MOST = 6


def numbers(error: AssertionError) -> list[int]:
    """Return the integers in the assertion: literals, and attributes of `self`, in its order."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return []
    return list(dict.fromkeys(_read(traceback.tb_frame, traceback.tb_lasti)))[:_MOST]


def _read(frame: types.FrameType, at: int) -> Iterator[int]:
    instructions = list(dis.get_instructions(frame.f_code))
    raised = next((each.positions for each in instructions if each.offset == at), None)
    if raised is None or raised.lineno is None or raised.end_lineno is None:
        return
    owner: Any = None
    for each in instructions:
        line = each.positions.lineno if each.positions is not None else None
        if line is None or not raised.lineno <= line <= raised.end_lineno:
            continue
        value = None
        if each.opname == "LOAD_CONST":
            value = each.argval
        elif each.opname == "LOAD_ATTR" and owner is not None:
            value = getattr(owner, each.argval, None)
        owner = frame.f_locals.get("self") if each.argval == "self" else None
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, int) and not isinstance(item, bool) and item > 0:
                yield item
