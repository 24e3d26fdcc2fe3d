"""Executes a file's text as the module that it would be in the user's own project."""

from __future__ import annotations

import ast
import importlib
import linecache
import os
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from nnlint.linter.discover.source import Source


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file stands among the user's modules.

    Attributes:
        name: Dotted module name.
        folders: What goes on `sys.path`, first things first.
        taken: Whether another module has the file's own top-level name, such as "random".
    """

    name: str
    folders: tuple[str, ...]
    taken: bool


def import_source(source: Source, root: str) -> types.ModuleType:
    """Execute `source` as a module and return it.

    Whatever the user's code raises passes through.

    Args:
        source: The file; its text counts, not what is on disk.
        root: Directory of the project.
    """
    place = find_place(source, root)
    _extend_path(place.folders)
    finder = _Finder(source, place)
    sys.meta_path.insert(0, finder)
    # linecache would read the file, which may differ from the text or not exist.
    lines = source.text.splitlines(keepends=True)
    for name in (source.path, str(Path(source.path).absolute())):
        linecache.cache[name] = (len(source.text), None, lines, name)
    parent = place.name.rpartition(".")[0]
    if place.taken:
        _stub_packages(parent, Path(source.path).absolute().parent)
    try:
        return importlib.import_module(place.name)
    except Exception:
        if finder.started or not parent:
            raise
    # The package's own __init__ fails, often for want of something that this file does not need.
    _stub_packages(parent, Path(source.path).absolute().parent)
    return importlib.import_module(place.name)


def find_place(source: Source, root: str) -> Place:
    """Say under which name the file's project imports it, without running anything."""
    path = Path(source.path).absolute()
    base = Path(root or ".").absolute()
    depth = max(_package_depth(path), _relative_depth(source.tree))
    parts = [folder.name for folder in reversed(path.parents[:depth])]
    top = path.parents[depth]
    if path.stem != "__init__" or not parts:
        parts.append(re.sub(r"\W", "_", path.stem))
    dotted = ".".join(parts)
    first = dotted.partition(".")[0]
    taken = _is_taken(first, top)
    if taken:
        dotted = f"_nnlint_{dotted}"
    elif dotted in sys.modules:  # a file of torch itself
        package, _, leaf = dotted.rpartition(".")
        dotted = f"{package}._nnlint_{leaf}".lstrip(".")
    unique = dict.fromkeys(str(folder) for folder in (top, base, path.parent))
    return Place(dotted, tuple(unique), taken)


def _package_depth(path: Path) -> int:
    depth = 0
    for folder in path.parents[:-1]:
        if not folder.name.isidentifier() or not (folder / "__init__.py").exists():
            break
        depth += 1
    return depth


def _relative_depth(tree: ast.Module) -> int:
    """Return how many packages the relative imports need, also where `__init__.py` is missing."""
    return max(
        (node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0
    )


def _is_taken(name: str, top: Path) -> bool:
    """Tell whether a module other than the one below `top` answers to `name`."""
    if name in sys.stdlib_module_names or name == "__main__":
        return True
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        searched = [p for p in sys.path if Path(p or ".").absolute() != top]
        spec = PathFinder.find_spec(name, searched)
    if spec is None or spec.origin is None:
        return False
    own = top.resolve()
    return Path(spec.origin).resolve() not in (own / f"{name}.py", own / name / "__init__.py")


def _extend_path(folders: Sequence[str]) -> None:
    """Put the user's folders before installed packages, and after the standard library.

    A folder that holds a `queue.py` then hides no module that torch has yet to import.
    """
    found = [i for i, path in enumerate(sys.path) if path.endswith("-packages")]
    at = found[0] if found else len(sys.path)
    sys.path[at:at] = [folder for folder in folders if folder not in sys.path[:at]]


def _stub_packages(name: str, folder: Path) -> None:
    """Register packages that only know their folders, so that relative imports work."""
    while name:
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules.setdefault(name, module)
        name, folder = name.rpartition(".")[0], folder.parent


class _Finder(Loader):
    """Finds the linted file's module by its text, and by nothing else.

    It also answers when a package's `__init__` or a helper imports the file, so that the file is
    executed once, and keeps the user's folders away from a name that is taken.
    """

    def __init__(self, source: Source, place: Place) -> None:
        self.source = source
        self.place = place
        self.started = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> ModuleSpec | None:
        """Return the spec of the linted file's module."""
        file = Path(self.source.path).absolute()
        if fullname == self.place.name:
            is_package = file.stem == "__init__"
            spec = ModuleSpec(fullname, self, origin=str(file), is_package=is_package)
            spec.has_location = True
            if is_package:
                spec.submodule_search_locations = [str(file.parent)]
            return spec
        if path is None and self.place.taken and fullname == file.stem:
            others = [p for p in sys.path if p not in self.place.folders]
            return PathFinder.find_spec(fullname, others)
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute the text."""
        self.started = True
        module.__file__ = os.path.abspath(self.source.path)  # noqa: PTH100 - symbolic links stay
        code = compile(self.source.tree, self.source.path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running the user's file is the purpose
