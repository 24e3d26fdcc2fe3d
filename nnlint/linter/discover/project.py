"""The files of a project: found once, read when asked for, and who imports whom."""

from __future__ import annotations

import ast
import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nnlint.linter.discover.folders import Folders
from nnlint.linter.discover.importlines import imports
from nnlint.linter.discover.oldsyntax import parse_tolerantly
from nnlint.linter.discover.source import Source
from nnlint.linter.notebook import is_notebook, python_of

if TYPE_CHECKING:
    from nnlint.linter.discover.classes import ClassInfo
    from nnlint.linter.discover.flow import Interpreter
    from nnlint.linter.discover.unit import Unit

_TRAINING = re.compile(r"\bbackward\(|criterion|loss", re.IGNORECASE)
_MAX_BYTES = 400_000
_MAX_NOTEBOOK_BYTES = 8_000_000  # most of it are images
_MAX_TOTAL = 64_000_000
_MAX_IMPORTERS = 256
_MAX_HOPS = 12
_MAX_SIBLINGS = 64


class Project:
    """The Python files below a root.

    Attributes:
        runs: The abstract runs of files so far.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        shown: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
        relative: bool = True,
    ) -> None:
        """Take a project in hand; nothing is read yet.

        Args:
            root: The folder that holds it; none where each file stands alone.
            shown: How to speak of files, by their absolute path.
            texts: Texts of files that differ from what is on disk, by absolute path.
            relative: Whether other files are named relative to the working directory.
        """
        self.root = "" if root is None else str(root)
        self.runs: dict[Source, Interpreter] = {}
        self._shown = dict(shown or {})
        self._texts = dict(texts or {})
        self._relative = relative
        self._units: dict[str, Unit | None] = {}
        self._by_source: dict[Source, Unit] = {}
        self._folders: Folders | None = None
        self._importers: dict[str, list[str]] | None = None
        self._training: set[str] = set()

    @property
    def folders(self) -> Folders:
        """The index of the files, made when it is asked for first."""
        if self._folders is None:
            self._folders = Folders(self.root, self._texts)
        return self._folders

    def add(self, source: Source) -> Unit:
        """Take in a file that is parsed already."""
        from nnlint.linter.discover.unit import Unit

        file = os.path.realpath(source.path) if self.root else ""
        known = self._by_source.get(source) or self._units.get(file)
        if known is None or (known.source.path, known.source.text) != (source.path, source.text):
            known = Unit.of(source, file)
            self._enter(known)
        return known

    def unit(self, file: str) -> Unit | None:
        """Return a file or folder by its absolute path, None where it cannot be read."""
        from nnlint.linter.discover.unit import Unit

        if file not in self._units:
            self._units[file] = None
            source: Source | None = Source(self.shown(file), "", ast.Module([], []))
            if file not in self.folders.folders:
                source = self._parse(file)
            if source is not None:
                self._enter(Unit.of(source, file))
        return self._units[file]

    def unit_of(self, source: Source) -> Unit:
        """Return the unit of a source that the project has read."""
        return self._by_source[source]

    def _enter(self, unit: Unit) -> None:
        self._by_source[unit.source] = unit
        if unit.file:
            self._units[unit.file] = unit
        for other in self.starred(unit):
            installed = (
                (name, dotted)
                for name, dotted in other.names.bindings.items()
                if not name.startswith("_") and self.folders.find(other.file, dotted) is None
            )
            unit.names.adopt(other.names, dict(installed))
        unit.read_classes(self._base)

    def _parse(self, file: str) -> Source | None:
        from nnlint.linter.load.files import read_text

        text = self._texts.get(file)
        errors = (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
        with contextlib.suppress(*errors):
            most = _MAX_NOTEBOOK_BYTES if is_notebook(file) else _MAX_BYTES
            if text is None and Path(file).stat().st_size <= most:
                text = read_text(file)
            return None if text is None else parse_tolerantly(self.shown(file), text)
        return None

    def shown(self, file: str) -> str:
        """Return a path as the user would write it."""
        if file not in self._shown:
            self._shown[file] = os.path.relpath(file) if self._relative else file
        return self._shown[file]

    def importers(self, file: str) -> list[str]:
        """Return the files that import a file, directly or through others.

        Those that seem to train come first, and among them the nearest.
        """
        if self._importers is None:
            self._importers = self._read_imports()
        found: dict[str, None] = {}
        edge = [file]
        for _ in range(_MAX_HOPS):
            following: dict[str, None] = {}
            for each in edge:
                following.update(dict.fromkeys(self._importers.get(each, ())))
            edge = sorted(
                (each for each in following if each not in found and each != file),
                key=lambda each: (-len(os.path.commonpath((each, file))), each),
            )
            found.update(dict.fromkeys(edge))
            if not edge or len(found) >= _MAX_IMPORTERS:
                break
        return sorted(found, key=lambda each: each not in self._training)

    def _read_imports(self) -> dict[str, list[str]]:
        importers: dict[str, list[str]] = {}
        total = 0
        for file in (*self.folders.files, *self.folders.notebooks):
            text = self._raw(file)
            total += len(text)
            if total > _MAX_TOTAL:
                break
            if _TRAINING.search(text):
                self._training.add(file)
            wanted: set[str] = set()
            for dotted in set(imports(text)):
                wanted.update(self._stands_for(file, dotted))
            for each in sorted(wanted - {file}):
                importers.setdefault(each, []).append(file)
        return importers

    def _stands_for(self, file: str, dotted: str) -> list[str]:
        found = self.folders.find(file, dotted.rstrip("*") or ".")
        if found is None:
            return []
        if not dotted.endswith("*"):
            return [found[0]]
        return self.folders.inside(self.folders.package(found[0])) if not found[1] else []

    def _raw(self, file: str) -> str:
        """Return the text of a file, good enough to look for imports."""
        if file in self._texts:
            return self._texts[file]
        with contextlib.suppress(OSError), Path(file).open("rb") as stream:
            if not is_notebook(file):
                return stream.read(_MAX_BYTES).decode(errors="replace")
            text = stream.read(_MAX_NOTEBOOK_BYTES).decode(errors="replace")
            with contextlib.suppress(SyntaxError):
                return python_of(text) if "import" in text else ""
        return ""

    def within(self, unit: Unit, dotted: str) -> tuple[Unit, tuple[str, ...]] | None:
        """Return the unit that a dotted name of a file leads into, and the names within it."""
        found = self.folders.find(unit.file, dotted)
        if found is None:
            return None
        inner = self.unit(found[0])
        return None if inner is None else (inner, found[1])

    def starred(self, unit: Unit) -> Iterator[Unit]:
        """Yield the files of the project from which a file imports everything, last first."""
        for module in reversed(unit.names.stars):
            found = self.within(unit, module)
            if found is not None and not found[1] and found[0] is not unit:
                yield found[0]

    def siblings(self, unit: Unit) -> list[Unit]:
        """Return the files within a package."""
        inside = self.folders.inside(self.folders.package(unit.file))
        units = [self.unit(file) for file in inside[:_MAX_SIBLINGS] if file != unit.file]
        return [each for each in units if each is not None]

    def submodule(self, unit: Unit, name: str) -> Unit | None:
        """Return a file or folder within a package."""
        file = self.folders.submodule(unit.file, name)
        return None if file is None else self.unit(file)

    def definition(self, unit: Unit, name: str, hops: int = 0) -> Unit | ClassInfo | None:
        """Return the class or module that a name of a file stands for, by imports alone."""
        if name in unit.classes:
            return unit.classes[name]
        if hops >= _MAX_HOPS or name in unit.functions:
            return None
        dotted = unit.names.bindings.get(name)
        if dotted is not None:
            found = self.within(unit, dotted)
            return None if found is None else self._inner(*found, hops + 1)
        for other in self.starred(unit):
            if value := self.definition(other, name, hops + 1):
                return value
        return self.submodule(unit, name)

    def _inner(self, unit: Unit, rest: tuple[str, ...], hops: int) -> Unit | ClassInfo | None:
        from nnlint.linter.discover.unit import Unit as Module

        value: Unit | ClassInfo | None = unit
        for name in rest:
            value = self.definition(value, name, hops) if isinstance(value, Module) else None
        return value

    def _base(self, unit: Unit, node: ast.expr) -> ClassInfo | None:
        """Return the class of the project that an expression in a list of bases stands for."""
        from nnlint.linter.discover.classes import ClassInfo
        from nnlint.linter.discover.names import chain

        parts = chain(node)
        value = self._inner(unit, parts, 0) if parts else None
        return value if isinstance(value, ClassInfo) else None
