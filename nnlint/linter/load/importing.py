"""Makes modules of the files of the user's project, each under the name that it has there."""

from __future__ import annotations

import ast
import importlib
import linecache
import os
import re
import sys
import sysconfig
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from nnlint.linter.discover.folders import Folders, root_of
from nnlint.linter.discover.source import Source
from nnlint.linter.load.files import read_text
from nnlint.linter.load.lazy import Body, LazyModule, Session, Skipped, body_of
from nnlint.linter.load.standin import StandIn, origin_of

_PACKAGE = Path(__file__).resolve().parents[2]


class LeftOutError(Exception):
    """What makes the wanted value is a statement that linting does not run."""


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


def import_source(source: Source, root: str, project: str = "") -> types.ModuleType:
    """Return the module of a file; none of its statements has run yet.

    Its attributes run what they need when they are asked for (`lazy`), and what the user's code
    raises then passes through.

    Args:
        source: The file; its text counts, not what is on disk.
        root: Directory that the user's settings are for.
        project: Directory of the project, "" to find it.
    """
    path = Path(source.path).absolute()
    base = Path(root or ".").absolute()
    _forget()
    finder = _Finder(source, project or str(root_of(path.resolve(), [base])), base)
    sys.meta_path.insert(0, finder)
    # linecache would read the file, which may differ from the text or not exist.
    lines = source.text.splitlines(keepends=True)
    for name in (source.path, str(path)):
        linecache.cache[name] = (len(source.text), None, lines, name)
    return finder.module(source)


def module_of(path: str) -> types.ModuleType:
    """Return the module of another file of the project.

    Args:
        path: Its absolute path.
    """
    finder = _current()
    module = finder.modules.get(os.path.realpath(path))
    return module or finder.module(Source.parse(path, read_text(path)))


def require(module: types.ModuleType, name: str) -> Any:
    """Return what a module has under a dotted name.

    Raises:
        AttributeError: It has no such name.
        LeftOutError: The statement that makes it is none that linting runs.
    """
    first, *rest = name.split(".")
    value = getattr(module, first)
    if isinstance(module, LazyModule):
        error = module.nnlint_body.errors.get(first)
        if error is not None and isinstance(value, StandIn):
            raise error
    wanted = origin_of(value)
    if wanted is not None and not wanted.package:
        raise LeftOutError(wanted.reason)
    for part in rest:
        value = getattr(value, part)
    return value


def left_out(module: types.ModuleType) -> tuple[Skipped, ...]:
    """Return what the module and those that it imports needed and what was not carried out."""
    if not isinstance(module, LazyModule):
        return ()
    return tuple(module.nnlint_body.session.skipped)


def is_users(frame: types.FrameType) -> bool:
    """Tell whether a frame runs code of the user's project."""
    return body_of(frame) is not None


def find_place(source: Source, base: Path, root: Path | None = None) -> Place:
    """Say under which name the file's project imports it, without running anything.

    Args:
        source: The file.
        base: Directory that the user's settings are for.
        root: Directory of the project.
    """
    path = Path(source.path).absolute()
    depth = max(_package_depth(path), _relative_depth(source))
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
    around = [folder for folder in top.parents if root and folder.is_relative_to(root)]
    unique = dict.fromkeys(map(str, (top, *around, base, path.parent)))
    return Place(dotted, tuple(unique), taken)


def _package_depth(path: Path) -> int:
    depth = 0
    for folder in path.parents[:-1]:
        if not folder.name.isidentifier() or not (folder / "__init__.py").exists():
            break
        depth += 1
    return depth


def _relative_depth(source: Source) -> int:
    """Return how many packages the relative imports need, also where `__init__.py` is missing."""
    return max(
        (node.level for node in ast.walk(source.tree) if isinstance(node, ast.ImportFrom)),
        default=0,
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


def _current() -> _Finder:
    return next(finder for finder in sys.meta_path if isinstance(finder, _Finder))


def _forget() -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


@dataclass(eq=False)
class _Finder(Loader):
    """Finds the modules of the project and makes lazy ones of them.

    It also answers when a package or a helper imports the linted file, so that there is one module
    of it, and keeps the user's folders away from a name that is taken.
    """

    source: Source
    root: str
    base: Path
    session: Session = field(default_factory=Session)
    modules: dict[str, types.ModuleType] = field(default_factory=dict)
    places: dict[str, Source] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    folders: Folders | None = None

    def __post_init__(self) -> None:
        self.session.find = self._search
        self._searched: set[str] = set()
        self._linted = os.path.realpath(self.source.path)

    def module(self, source: Source) -> types.ModuleType:
        """Return the module of a file of the project."""
        path = Path(source.path).absolute()
        place = find_place(source, self.base, Path(self.root) if self.root else None)
        _extend_path(place.folders)
        self.places[place.name] = source
        if place.taken:
            self.taken.add(path.stem)
            _stub_packages(place.name.rpartition(".")[0], path.parent)
        return importlib.import_module(place.name)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> ModuleSpec | None:
        """Return the spec of a module of the project."""
        source = self.places.get(fullname)
        if source is not None:
            return self._spec(fullname, Path(source.path).absolute())
        top = fullname.partition(".")[0]
        if path is None and (top in sys.stdlib_module_names or top in self.taken):
            if top not in self.taken:
                return None
            users = set(find_place(self.source, self.base, Path(self.root)).folders)
            return PathFinder.find_spec(fullname, [p for p in sys.path if p not in users])
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or type(spec.loader) is not SourceFileLoader or not spec.origin:
            return None
        return self._spec(fullname, Path(spec.origin)) if self._owns(spec.origin) else None

    def _spec(self, fullname: str, file: Path) -> ModuleSpec:
        is_package = file.stem == "__init__"
        spec = ModuleSpec(fullname, self, origin=str(file), is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(file.parent)]
        return spec

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        """Return the one module of a file, by whatever name it is imported."""
        return self.modules.get(os.path.realpath(spec.origin or "")) or LazyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Read the file's statements; they run when their names are wanted."""
        assert module.__spec__ is not None
        assert isinstance(module, LazyModule)
        file = module.__spec__.origin or ""
        real = os.path.realpath(file)
        if real in self.modules:
            return
        source = self.places.get(module.__name__)
        if source is None and real == self._linted:
            source = self.source
        if source is None:
            source = Source.parse(file, read_text(file))
        module.__file__ = os.path.abspath(source.path)  # noqa: PTH100 - symbolic links stay
        module.nnlint_body = Body(module, source.tree, source.path, self.session)
        self.modules[real] = module

    def _owns(self, origin: str) -> bool:
        """Tell whether a file is the project's and not an installed one."""
        real = os.path.realpath(origin)
        if real == self._linted:
            return True
        path = Path(real)
        if any(map(path.is_relative_to, _libraries())):
            return False
        for root in {Path(self.root), Path(self._linted).parent, self.base.resolve()}:
            if path.is_relative_to(root):
                inner = path.relative_to(root).parts
                return not any(part.endswith("-packages") for part in inner)
        return False

    def _search(self, full: str, importer: str) -> bool:
        """Make a module importable that stands elsewhere in the project; tell whether it does."""
        if full in self._searched or not self.root:
            return False
        self._searched.add(full)
        self.folders = self.folders or Folders(self.root)
        tail = os.sep + full.replace(".", os.sep)
        ends = (f"{tail}.py", f"{tail}{os.sep}__init__.py")
        near = os.path.realpath(importer)
        files = [file for file in self.folders.files if file.endswith(ends)]
        if not files:
            return False
        best = min(
            files, key=lambda file: (-len(os.path.commonpath((file, near))), len(file), file)
        )
        folder = best[: best.rindex(tail)]
        top, _, rest = full.partition(".")
        package = sys.modules.get(top)
        if package is None:
            sys.path.append(folder)
        elif rest:
            # Also `model.layers` beside a `model.py`, which has taken the name of its folder.
            known = vars(package).get("__path__", ())
            package.__path__ = [*known, f"{folder}{os.sep}{top}"]
        else:
            return False
        importlib.invalidate_caches()
        return True


def _libraries() -> list[Path]:
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return [Path(place).resolve() for place in places] + [_PACKAGE]
