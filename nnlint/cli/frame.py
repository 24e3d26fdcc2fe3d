"""A source line with the place of a finding underlined."""

from __future__ import annotations

import re

from nnlint.cli.console import escape_character, width_of
from nnlint.linter.findings import Location

TAB_WIDTH = 4
_ELLIPSIS = "..."
_CONTEXT = 12
"""Columns that are shown before the underlined part when a line is too long."""


def code_frame(text: str, location: Location, width: int) -> tuple[str, str] | None:
    """Return the line of `location` and the carets below it, or None when it is not in `text`.

    Indentation is taken off, tabs become spaces, wide characters get two carets, and a line
    longer than `width` is cut around the place.
    """
    line = source_line(text, location.line)
    if line is None or not line.strip():
        return None
    cells = _cells(line)
    start = min(max(location.column - 1, 0), len(cells) - 1)
    stop = location.end_column - 1 if location.end_line == location.line else len(cells)
    stop = min(max(stop, start + 1), len(cells))
    first = min(len(line) - len(line.lstrip()), start)
    shown, offset = _cut(cells[first:], start - first, stop - first, width)
    before = "".join(cells[first:][offset : start - first])
    prefix = _ELLIPSIS if offset else ""
    marked = "".join(cells[start:stop])
    carets = min(width_of(marked), max(width - width_of(prefix + before), 1))
    return shown, " " * width_of(prefix + before) + "^" * max(carets, 1)


def source_line(text: str, number: int) -> str | None:
    """Return a line of a text without its end, None outside of the text."""
    # As Python counts lines: str.splitlines would also split at form feeds.
    lines = re.split(r"\r\n|\r|\n", text)
    return lines[number - 1].rstrip() if 1 <= number <= len(lines) else None


def _cells(line: str) -> list[str]:
    """Return what is printed for each character, so that columns can be added up."""
    cells, column = [], 0
    for character in line:
        cell = " " * (TAB_WIDTH - column % TAB_WIDTH) if character == "\t" else None
        cell = escape_character(character) if cell is None else cell
        cells.append(cell)
        column += width_of(cell)
    return cells


def _cut(cells: list[str], start: int, stop: int, width: int) -> tuple[str, int]:
    """Return the part of the line that fits around [start, stop) and the first cell of it."""
    if width_of("".join(cells)) <= width:
        return "".join(cells), 0
    offset = 0
    if width_of("".join(cells[:stop])) > width - len(_ELLIPSIS):
        offset, room = start, _CONTEXT
        while offset > 0 and room >= width_of(cells[offset - 1]):
            room -= width_of(cells[offset - 1])
            offset -= 1
    shown = _ELLIPSIS if offset else ""
    room = width - width_of(shown) - len(_ELLIPSIS)
    end = offset
    while end < len(cells) and width_of(cells[end]) <= room:
        room -= width_of(cells[end])
        shown += cells[end]
        end += 1
    return (shown if end == len(cells) else shown + _ELLIPSIS), offset
