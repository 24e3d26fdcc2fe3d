"""The Python files below a folder, and which of them an import stands for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnlint.linter.notebook import SUFFIX, is_notebook

_MAX_FILES = 4_000
_MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg")
_INIT = "__init__.py"


def root_of(path: Path, given: Iterable[Path] = ()) -> Path:
    """Return the root of the project that a file belongs to.

    Args:
        path: The absolute path of the file.
        given: Folders that the user asks to lint, absolute.
    """
    for folder in path.parents:
        if any((folder / marker).exists() for marker in _MARKERS):
            return folder
    around = [folder for folder in given if folder in path.parents]
    if around:
        return min(around, key=lambda folder: len(folder.parts))
    here = Path.cwd()
    if here in path.parents:
        return here
    package = path.parent
    while (package / _INIT).exists() and package.parent != package:
        package = package.parent
    return package


def folder_of(file: str) -> str:
    """Return the folder that a file is in."""
    return file.rpartition(os.sep)[0]


class Folders:
    """An index of the Python files below a root; plain text, as it is asked very often."""

    def __init__(self, root: str, more: Iterable[str] = ()) -> None:
        """Find the files.

        Args:
            root: The absolute path of the root; "" for no files at all.
            more: Files that are not, or not yet, on disk.
        """
        self.root = root.rstrip(os.sep)
        found = dict.fromkeys(self._walk()) if root else {}
        # They import others, and nobody imports them.
        self.notebooks = [file for file in found if is_notebook(file)]
        self.files: dict[str, None] = {file: None for file in found if not is_notebook(file)}
        self.files.update(dict.fromkeys(file for file in more if self.below(file)))
        self.folders: set[str] = set()
        for file in self.files:
            folder = folder_of(file)
            while folder not in self.folders and self.below(folder + os.sep):
                self.folders.add(folder)
                folder = folder_of(folder)
        self._found: dict[tuple[str, str], tuple[str, tuple[str, ...]] | None] = {}

    def below(self, file: str) -> bool:
        """Tell whether a path is below the root."""
        return bool(self.root) and file.startswith(self.root + os.sep)

    def _walk(self) -> Iterator[str]:
        # Which folders are skipped is said where the paths of the user are expanded.
        from nnlint.linter.load.files import is_skipped

        count = 0
        for current, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not is_skipped(Path(current, name)))
            for name in sorted(names):
                file = f"{current}{os.sep}{name}"
                # Reading a pipe would wait for ever.
                if (
                    name.endswith((".py", SUFFIX))
                    and not name.startswith(".")
                    and Path(file).is_file()
                ):
                    yield file
                    count += 1
            if count > _MAX_FILES:
                return

    def inside(self, folder: str) -> list[str]:
        """Return the modules directly within a folder."""
        return [file for file in self.files if folder_of(file) == folder and file.endswith(".py")]

    def package(self, file: str) -> str:
        """Return the folder that a file, or a folder, stands for as a package; "" for none."""
        folder = folder_of(file) if file.endswith(os.sep + _INIT) else file
        return folder if folder in self.folders else ""

    def submodule(self, file: str, name: str) -> str | None:
        """Return a file or folder within a package."""
        folder = self.package(file)
        if not folder:
            return None
        found, rest = self._descend(folder, [name])
        return None if rest else found

    def find(self, importer: str, dotted: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the file or folder that an import stands for, and what is named within it.

        Args:
            importer: The absolute path of the importing file.
            dotted: A dotted name, with leading dots where it is relative.
        """
        if not self.root or not importer:
            return None
        key = (folder_of(importer), dotted)
        if key not in self._found:
            self._found[key] = self._find(*key)
        return self._found[key]

    def _find(self, folder: str, dotted: str) -> tuple[str, tuple[str, ...]] | None:
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted[level:].split(".") if part]
        if level:
            for _ in range(level - 1):
                folder = folder_of(folder)
            return self._descend(folder, parts) if folder in self.folders else None
        if not parts or parts[0] in sys.stdlib_module_names or parts[0] == "torch":
            return None
        best: tuple[str, tuple[str, ...]] | None = None
        for base in self._bases(folder):
            found = self._descend(base, parts)
            if len(found[1]) == len(parts):
                continue
            # A folder that only happens to have the name loses against one that has the module.
            if best is None or (best[0] in self.folders and len(found[1]) < len(best[1])):
                best = found
        return best

    def _bases(self, folder: str) -> Iterator[str]:
        """Yield where absolute imports are looked for, nearest first."""
        while folder == self.root or self.below(folder):
            yield folder
            yield f"{folder}{os.sep}src"
            yield f"{folder}{os.sep}lib"
            folder = folder_of(folder)

    def _descend(self, base: str, parts: list[str]) -> tuple[str, tuple[str, ...]]:
        """Follow the parts of a dotted name from a folder as far as there are files."""
        at = base
        used = 0
        for part in parts:
            inner = f"{at}{os.sep}{part}"
            if inner in self.folders:
                at = inner
                used += 1
            elif f"{inner}.py" in self.files:
                return f"{inner}.py", tuple(parts[used + 1 :])
            else:
                break
        initial = f"{at}{os.sep}{_INIT}"
        return (initial if initial in self.files else at), tuple(parts[used:])
