"""One file of a project, read and indexed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from nnlint.linter.discover.classes import ClassInfo, FunctionDef, collect, functions
from nnlint.linter.discover.names import Names
from nnlint.linter.discover.source import Source

FindClass = Callable[["Unit", ast.expr], ClassInfo | None]


@dataclass(slots=True, eq=False)
class Unit:
    """What the abstract run needs to know of one file.

    Attributes:
        file: Its absolute path, "" where it is in no project.
        classes: Its top-level classes; those so far, while they are being read.
    """

    source: Source
    names: Names
    file: str = ""
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    functions: dict[str, FunctionDef] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Source, file: str = "") -> Unit:
        """Index a file, its classes apart: their bases may be in files that import it."""
        return cls(source, Names.of(source.tree), file, functions=functions(source))

    def read_classes(self, find: FindClass | None = None) -> None:
        """Read the classes; `find` looks for bases that the file imports."""
        base = None if find is None else lambda node: find(self, node)
        collect(self.source, self.names, self.classes, base)
