"""Makes Python of what IPython takes in a cell, with every line and column where it was."""

from __future__ import annotations

import ast
import re
import warnings

# Cell magics after whose first line the cell is Python as ever.
_PYTHON_CELLS = frozenset({"time", "timeit", "capture", "prun", "python", "python3", "memit"})
# At the start of a statement these are never Python.
_ESCAPE = re.compile(r"\s*[%!?]")
_HELP = re.compile(r"\s*[%\w.*]+\?\??\s*(#.*)?$")
_ASSIGNED = re.compile(r"\s*[^\W\d][\w.\[\], ]*= *(?=[%!])")
_TIMED = re.compile(r"(\s*)%time (?=\S)")
# IPython runs these without a `%`, as long as no variable has their name.
_COMMAND = re.compile(
    r"(pip3?|conda|apt|apt-get|git|wget|curl|ls|cd|pwd|mkdir|rmdir|rm|cp|mv|cat|unzip|tar|run)"
    r"(?=[ \t]+[^\s=(\[.,:]|\s*$)"
)
_CLASS = re.compile(r"^\s*class\s", re.MULTILINE)
_STRING = re.compile(r"'''|\"\"\"|'|\"")
_CODE = re.compile(r"[\"'#()\[\]{}\\]")


def to_python(cell: str) -> str:
    """Return the Python of a cell, line for line.

    Magics, shell commands and help requests become `pass`, and None where their result is assigned.
    A cell in another language, and one that does not parse and defines no class, become empty: a
    kernel goes on after a cell that fails.
    """
    lines = cell.split("\n")
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if magic := re.match(r"\s*%%(\w*)", lines[first]):
        if magic[1] not in _PYTHON_CELLS:
            return _blank(cell)
        lines[first] = ""
    plain = "\n".join(lines)
    if _parses(plain):
        return plain
    text = _without_escapes(lines)
    if _parses(text):
        return text
    lines = [_COMMAND.sub("pass #", line, 1) if _COMMAND.match(line) else line for line in lines]
    repaired = _without_escapes(lines)
    if _parses(repaired):
        return repaired
    return text if _CLASS.search(text) else _blank(cell)


def _blank(cell: str) -> str:
    return "\n" * cell.count("\n")


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _without_escapes(lines: list[str]) -> str:
    """Replace the lines that only IPython knows; those within a statement are Python."""
    scan = _Scan()
    out = []
    command = False  # whether a shell command goes on from the line before
    for line in lines:
        if command or (scan.at_start and (_ESCAPE.match(line) or _HELP.match(line))):
            timed = None if command else _TIMED.match(line)
            # `if 1: ` is as long as `%time `, so that the statement keeps its columns.
            kept = f"{timed[1]}if 1: {line[timed.end() :]}" if timed else _indent(line, command)
            command = line.rstrip().endswith("\\") and not timed
            out.append(kept)
            if timed:
                scan.feed(kept)
            continue
        if scan.at_start and (assigned := _ASSIGNED.match(line)):
            command = line.rstrip().endswith("\\")
            out.append(f"{assigned[0]}None")
            continue
        scan.feed(line)
        out.append(line)
    return "\n".join(out)


def _indent(line: str, goes_on: bool) -> str:
    return "" if goes_on else f"{line[: len(line) - len(line.lstrip())]}pass"


class _Scan:
    """Reads lines and knows whether the next one starts a statement."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._continued = False

    @property
    def at_start(self) -> bool:
        """Whether no bracket, string or backslash is open."""
        return not (self._depth or self._quote or self._continued)

    def feed(self, line: str) -> None:
        """Read a line."""
        position = 0
        self._continued = False
        while position < len(line):
            position = (
                self._inside(line, position) if self._quote else self._outside(line, position)
            )
        if len(self._quote) == 1 and not self._continued:
            self._quote = ""  # an unfinished string ends with its line

    def _inside(self, line: str, position: int) -> int:
        """Go on in a string, to its end or the line's."""
        while position < len(line):
            if line[position] == "\\":
                self._continued = position + 1 >= len(line)
                position += 2
            elif line.startswith(self._quote, position):
                position += len(self._quote)
                self._quote = ""
                return position
            else:
                position += 1
        return position

    def _outside(self, line: str, position: int) -> int:
        """Go on in code, to the next string or the line's end."""
        while found := _CODE.search(line, position):
            position = found.end()
            match found[0]:
                case "#":
                    return len(line)
                case "\\":
                    self._continued = position >= len(line)
                case "(" | "[" | "{":
                    self._depth += 1
                case ")" | "]" | "}":
                    self._depth = max(self._depth - 1, 0)
                case _:
                    quote = _STRING.match(line, found.start())
                    assert quote is not None
                    self._quote = quote[0]
                    return quote.end()
        return len(line)
