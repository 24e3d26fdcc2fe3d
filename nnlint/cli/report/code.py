"""Places in the user's code, with the lines around them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nnlint.cli.console import escape
from nnlint.linter.findings import Location
from nnlint.linter.load.files import read_text
from nnlint.linter.notebook import located, written

# Lines of code before and after the one that is meant.
_AROUND = 2
# Of a range over several lines.
_MOST_LINES = 5


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of the user's code, cut where its marked part begins and ends."""

    number: int
    before: str
    marked: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the user's code: "model.py:21" and the lines around it."""

    text: str
    code: tuple[CodeLine, ...] = ()


class Sources:
    """The text of the user's files, read where the report has no copy."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.texts: dict[str, str] = dict(known)

    def text(self, path: str) -> str:
        """Return the text of a file, "" where it cannot be read."""
        if path not in self.texts:
            self.texts[path] = ""
            # A module of a notebook or of a test has a file that does not exist.
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                self.texts[path] = read_text(path)
        return self.texts[path]

    def place(self, location: Location) -> Place:
        """Return a place with the code around it."""
        text = self.text(location.path)
        at = escape(written(location.path, location.line, self.texts))
        return Place(at, tuple(_excerpt(text, location, self.texts)))


def _excerpt(text: str, location: Location, texts: Mapping[str, str]) -> Iterator[CodeLine]:
    """Yield the lines around a place without their common indentation; none without the text."""
    # As Python counts lines: str.splitlines would also split at form feeds.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not text or not 1 <= location.line <= len(lines):
        return
    cell, inner = located(location, texts)
    first, end = (
        location.line,
        min(max(location.end_line, location.line), location.line + _MOST_LINES - 1),
    )
    # What stands in another cell of a notebook is no context.
    shown = range(max(first - _AROUND, 1), min(end + _AROUND, len(lines)) + 1)
    shown = range(first, end + 1) if cell is not None else shown
    chosen = {n: lines[n - 1].rstrip().expandtabs(4) for n in shown}
    while chosen and not chosen[min(chosen)] and min(chosen) < first:
        del chosen[min(chosen)]
    while chosen and not chosen[max(chosen)] and max(chosen) > end:
        del chosen[max(chosen)]
    indent = min((len(t) - len(t.lstrip()) for t in chosen.values() if t), default=0)
    for n, line in chosen.items():
        told = n - location.line + inner.line
        if not first <= n <= end:
            yield CodeLine(told, escape(line[indent:]))
            continue
        raw = lines[n - 1]
        start = (
            len(raw[: location.column - 1].expandtabs(4))
            if n == first
            else len(line) - len(line.lstrip())
        )
        stop = (
            len(raw[: location.end_column - 1].expandtabs(4))
            if n == location.end_line
            else len(line)
        )
        start = max(min(start, len(line)), indent)
        stop = max(min(stop, len(line)), start)
        yield CodeLine(
            told, escape(line[indent:start]), escape(line[start:stop]), escape(line[stop:])
        )
