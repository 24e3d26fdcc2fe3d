"""A parsed Python file and the things that are asked of its text again and again."""

from __future__ import annotations

import ast
import io
import warnings
from dataclasses import dataclass, field

from nnlint.linter.findings import Location


@dataclass(slots=True, eq=False)
class Source:
    """One file: its path as the user gave it, its text, and its syntax tree."""

    path: str
    text: str
    tree: ast.Module
    lines: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, path: str, text: str) -> Source:
        """Parse `text`; raises SyntaxError or ValueError (null bytes) like `ast.parse`."""
        with warnings.catch_warnings():
            # What Python thinks of the file's escapes and literals is not for this tool to say.
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename=path)
        # str.splitlines() would also split at form feeds, where Python counts no new line.
        lines = [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]
        return cls(path, text, tree, lines)

    def location(self, node: ast.AST) -> Location:
        """Return the range of a syntax node, cut to its first line, in characters."""
        line: int = node.lineno  # type: ignore[attr-defined] # every located node has it
        column: int = node.col_offset  # type: ignore[attr-defined]
        end_line: int = node.end_lineno  # type: ignore[attr-defined]
        end_column: int = node.end_col_offset  # type: ignore[attr-defined]
        start = self.character(line, column)
        if end_line != line:
            text = self.lines[line - 1] if line <= len(self.lines) else ""
            return Location(self.path, line, start, line, max(len(text.rstrip()) + 1, start + 1))
        return Location(self.path, line, start, line, self.character(line, end_column))

    def character(self, line: int, offset: int) -> int:
        """Turn the UTF-8 byte offset that Python reports into a 1-based character column."""
        if line > len(self.lines):
            return offset + 1
        return len(self.lines[line - 1].encode()[:offset].decode(errors="ignore")) + 1
