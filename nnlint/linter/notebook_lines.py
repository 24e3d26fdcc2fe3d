"""Where the lines of a notebook's cells stand in its file, which services show as text."""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed leaves it out
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # as above
from pathlib import Path
from typing import Any

from nnlint.linter.findings import Location
from nnlint.linter.notebook import located, python_of, sources_of

_LINE_END = re.compile(r"\r\n?|\n")


def in_file(place: Location, sources: Mapping[str, str]) -> tuple[str, Location]:
    """Return "cell 3, line 5" and the place of that line in the notebook's JSON.

    A place in anything but a notebook comes back as it is, with "". Where the file on disk is not
    what was linted, the place is its first line.

    Args:
        place: Where something is said.
        sources: The text of each file.
    """
    cell, inner = located(place, sources)
    if cell is None:
        return "", place
    words = f"cell {cell}, line {inner.line}"
    lines = _lines(place.path, sources[place.path])
    if cell > len(lines) or inner.line > len(lines[cell - 1]):
        return words, Location(place.path, 1)
    return words, Location(place.path, *lines[cell - 1][inner.line - 1])


@functools.lru_cache(maxsize=8)
def _lines(path: str, text: str) -> list[list[tuple[int, int, int, int]]]:
    """Return for each line of each code cell its line, column, end line and end column."""
    try:
        data = Path(path).read_text(encoding="utf-8-sig")
        if python_of(data) != text:
            return []
    except (OSError, UnicodeDecodeError, SyntaxError):
        return []
    starts = [0, *(index + 1 for index, character in enumerate(data) if character == "\n")]
    return [
        [_range(data, starts, offset) for offset in _offsets(source)]
        for source in sources_of(_placed(data))
    ]


def _range(data: str, starts: list[int], offset: int) -> tuple[int, int, int, int]:
    number = bisect.bisect_right(starts, offset)
    end = starts[number] - 1 if number < len(starts) else len(data)
    line = data[starts[number - 1] : end].rstrip()
    indent = len(line) - len(line.lstrip())
    return number, indent + 1, number, len(line) + 1


def _offsets(source: list[str]) -> Iterator[int]:
    """Yield for each line of a cell where the string begins that it begins in."""
    ends = list(itertools.accumulate(map(len, source)))
    for position in (0, *(found.end() for found in _LINE_END.finditer("".join(source)))):
        part = bisect.bisect_right(ends, position)
        if part < len(source):
            yield getattr(source[part], "offset", 0)


class _Placed(str):
    """A string of the JSON that knows where it begins."""

    __slots__ = ("offset",)
    offset: int


def _placed(data: str) -> Any:
    """Return the JSON with all its string values placed."""
    decoder: Any = json.JSONDecoder()

    def string(text: str, start: int, strict: bool = True) -> tuple[str, int]:
        value, end = scanstring(text, start, strict)
        placed = _Placed(value)
        placed.offset = start
        return placed, end

    decoder.parse_string = string
    decoder.scan_once = py_make_scanner(decoder)  # the one in C would not call it
    return decoder.decode(data)
