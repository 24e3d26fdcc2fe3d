"""A source line with the place of a finding underlined."""

from __future__ import annotations

from nnlint.cli.console import character_width, escape_character
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
    line = _line(text, location.line)
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
    carets = min(_columns(marked), max(width - _columns(prefix + before), 1))
    return shown, " " * _columns(prefix + before) + "^" * max(carets, 1)


def _line(text: str, number: int) -> str | None:
    lines = text.splitlines()
    return lines[number - 1].rstrip() if 1 <= number <= len(lines) else None


def _cells(line: str) -> list[str]:
    """Return what is printed for each character, so that columns can be added up."""
    cells, column = [], 0
    for character in line:
        cell = " " * (TAB_WIDTH - column % TAB_WIDTH) if character == "\t" else None
        cell = escape_character(character) if cell is None else cell
        cells.append(cell)
        column += _columns(cell)
    return cells


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(map(character_width, text))


def _cut(cells: list[str], start: int, stop: int, width: int) -> tuple[str, int]:
    """Return the part of the line that fits around [start, stop) and the first cell of it."""
    if _columns("".join(cells)) <= width:
        return "".join(cells), 0
    offset = 0
    if _columns("".join(cells[:stop])) > width - len(_ELLIPSIS):
        offset, room = start, _CONTEXT
        while offset > 0 and room >= _columns(cells[offset - 1]):
            room -= _columns(cells[offset - 1])
            offset -= 1
    shown = _ELLIPSIS if offset else ""
    room = width - _columns(shown) - len(_ELLIPSIS)
    end = offset
    while end < len(cells) and _columns(cells[end]) <= room:
        room -= _columns(cells[end])
        shown += cells[end]
        end += 1
    return (shown if end == len(cells) else shown + _ELLIPSIS), offset
