"""Which frames are the user's own code, and where exactly in it a frame stands.

Layers, operations and errors are all located with this one class. It imports no torch.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from nnlint.linter.findings import Location

_INSTALLED = ("site-packages", "dist-packages")
_PACKAGE = Path(__file__).resolve().parents[2]


def split_lines(text: str) -> list[str]:
    """Split source text where Python ends a line (`str.splitlines` also splits at form feeds)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class UserCode:
    """Tells the user's frames from all others and turns them into locations.

    A frame ranks 0 in the linted file itself, 1 in another file of the project. Frames of torch,
    nnlint, the standard library and installed packages have no rank, unless the linted file is
    itself an installed one.

    Attributes:
        path: The linted file as the user gave it; locations in it carry this path.
        text: Its text, which may differ from the file on disk (an unsaved buffer).
        root: Directory of the project, "" for the current directory.
    """

    def __init__(self, path: str, text: str, root: str) -> None:
        self.path = path
        self.text = text
        self.root = root
        self._lines = split_lines(text)
        # Resolved once: the user's code may change the working directory.
        self._cwd = Path.cwd()
        self._root = (self._cwd / root).resolve()
        self._real = (self._cwd / path).resolve()
        self._libraries = tuple(_library_folders())
        self._ranks: dict[str, int | None] = {path: 0}
        # By identity, since a code object's hash walks its whole bytecode; the code object is
        # kept in the value so that its id is not used again.
        self._locations: dict[tuple[int, int], tuple[CodeType, Location]] = {}

    def rank(self, filename: str) -> int | None:
        """Return 0 for the linted file, 1 for another file of the project, else None."""
        try:
            return self._ranks[filename]
        except KeyError:
            rank = self._ranks[filename] = self._rank(filename)
            return rank

    def site(
        self, frame: FrameType | None, *, skip: Callable[[FrameType], bool] | None = None
    ) -> Location | None:
        """Walk outwards from `frame` and return the innermost place of the best rank.

        Args:
            frame: Where to start, usually `sys._getframe(1)`.
            skip: Says which of the user's frames to pass over.

        Returns:
            The call that is under way there, cut to one line; None without a user's frame.
        """
        second: FrameType | None = None
        ranks = self._ranks
        while frame is not None:
            filename = frame.f_code.co_filename
            rank = ranks[filename] if filename in ranks else self.rank(filename)
            if rank is not None and (skip is None or not skip(frame)):
                if rank == 0:
                    return self.at(frame.f_code, frame.f_lasti, frame.f_lineno)
                second = second or frame
            frame = frame.f_back
        if second is None:
            return None
        return self.at(second.f_code, second.f_lasti, second.f_lineno)

    def raised(self, traceback: TracebackType | None) -> tuple[Location | None, list[Location]]:
        """Return where an exception passed through the user's code.

        Returns:
            The innermost place in the linted file, failing that in the project, else None; and
            the other places of the user's code that lie further in, innermost first.
        """
        places: list[tuple[int, Location]] = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            rank = self.rank(code.co_filename)
            if rank is not None:
                places.append((rank, self.at(code, traceback.tb_lasti, traceback.tb_lineno)))
            traceback = traceback.tb_next
        places.reverse()
        best = min((rank for rank, _ in places), default=0)
        for index, (rank, place) in enumerate(places):
            if rank == best:
                inner = dict.fromkeys(place for _, place in places[:index])
                return place, list(inner)
        return None, []

    def at(self, code: CodeType, lasti: int, line: int | None = None) -> Location:
        """Return the place of one instruction of `code`, cut to its first line."""
        key = (id(code), lasti)
        known = self._locations.get(key)
        if known is None:
            known = self._locations[key] = (code, self._at(code, lasti, line))
        return known[1]

    def from_lines(self, filename: str, line: int) -> Location:
        """Return a whole line without its indentation; `filename` as Python reports it."""
        text = self._line(filename, line)
        indent = len(text) - len(text.lstrip())
        return Location(
            self._display(filename), line, indent + 1, line, max(len(text.rstrip()), indent + 1) + 1
        )

    def _at(self, code: CodeType, lasti: int, line: int | None) -> Location:
        filename = code.co_filename
        # Each instruction has two bytes; a frame that has not started yet has lasti -1.
        found = next(itertools.islice(code.co_positions(), max(lasti, 0) // 2, None), None)
        start, end, column, end_column = found or (None, None, None, None)
        start = start or line or code.co_firstlineno
        if column is None or end_column is None:
            # No columns under `python -X no_debug_ranges` and for synthetic instructions.
            return self.from_lines(filename, start)
        text = self._line(filename, start)
        last = _character(text, end_column) if end == start else len(text.rstrip()) + 1
        return Location(self._display(filename), start, _character(text, column), start, last)

    def _line(self, filename: str, line: int) -> str:
        if self.rank(filename) == 0:
            return self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        return linecache.getline(filename, line).rstrip("\r\n")

    def _display(self, filename: str) -> str:
        if self.rank(filename) == 0:
            return self.path
        real = (self._cwd / filename).resolve()
        return str(real.relative_to(self._cwd) if real.is_relative_to(self._cwd) else real)

    def _rank(self, filename: str) -> int | None:
        if filename.startswith("<"):
            return None
        # User code may have changed the directory that a relative name was meant for.
        real = (self._cwd / filename).resolve()
        if real == self._real:
            return 0
        if not real.is_relative_to(self._root) or any(map(real.is_relative_to, self._libraries)):
            return None
        inner = real.relative_to(self._root).parts
        return None if any(part in _INSTALLED for part in inner) else 1


def _library_folders() -> Iterator[Path]:
    yield _PACKAGE
    for name in ("stdlib", "platstdlib"):
        yield Path(sysconfig.get_path(name)).resolve()
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    if torch:
        yield Path(torch).resolve().parent


def _character(line: str, offset: int) -> int:
    """Turn a UTF-8 byte offset into a 1-based character column."""
    if line.isascii():
        return offset + 1
    return len(line.encode()[:offset].decode(errors="ignore")) + 1
