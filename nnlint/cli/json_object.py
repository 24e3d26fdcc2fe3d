"""What every JSON object that nnlint writes has in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pydantic


class JsonObject(pydantic.BaseModel):
    """An object of the schema, closed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def jsonable(value: Any) -> Any:
    """Return a value with only what JSON has: infinities, NaN and other objects become text."""
    match value:
        case None | bool() | int():
            return value
        case str():
            # A file name may hold lone surrogates, which are no valid Unicode.
            return value.encode("utf-8", "backslashreplace").decode()
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {str(jsonable(str(key))): jsonable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [jsonable(item) for item in value]
        case _:
            return jsonable(str(value))
