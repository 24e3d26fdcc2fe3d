"""What a name means in a folder of Python files: a reading of imports that executes nothing.

It shares no code with nnlint's own discovery, so that one can measure the other. Only what makes a
text of a notebook is the same.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnlint.linter.notebook import SUFFIX, python_of

SKIPPED = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})
_DEEPEST = 20
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import binds: a dotted name, relative to `level` folders up where that is not 0."""

    dotted: str
    level: int = 0


@dataclass(slots=True, eq=False)
class Module:
    """One file that parses, with what its top level binds."""

    path: Path
    tree: ast.Module
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    imports: dict[str, Imported] = field(default_factory=dict)
    stars: list[Imported] = field(default_factory=list)
    aliases: dict[str, ast.expr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Defined:
    """A class or function of one of the files."""

    module: Module
    node: ast.ClassDef | Function


@dataclass(frozen=True, slots=True)
class External:
    """A dotted name of a package that is none of the files."""

    dotted: str

    @property
    def package(self) -> str:
        """The package that is imported."""
        return self.dotted.partition(".")[0]


Meaning = Defined | External | Module | None


def source_files(root: Path) -> Iterator[Path]:
    """Yield the Python files and notebooks below a folder that a linter would look at."""
    for path in sorted([*root.rglob("*.py"), *root.rglob(f"*{SUFFIX}")]):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") or part in SKIPPED for part in parts):
            yield path


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a body, those below `if`, `try` and `with` included."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "finalbody"):
            if not isinstance(statement, (ast.ClassDef, Function)):
                yield from statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body)


def read(path: Path, tree: ast.Module) -> Module:
    """Return what the top level of a file binds; of several definitions the last counts."""
    module = Module(path, tree)
    for statement in statements(tree.body):
        match statement:
            case ast.ClassDef():
                module.classes[statement.name] = statement
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                module.functions[statement.name] = statement
            case ast.Import():
                for alias in statement.names:
                    top = alias.name.partition(".")[0]
                    bound = alias.asname or top
                    module.imports[bound] = Imported(alias.name if alias.asname else top)
            case ast.ImportFrom():
                for alias in statement.names:
                    base = statement.module or ""
                    if alias.name == "*":
                        module.stars.append(Imported(base, statement.level))
                        continue
                    dotted = f"{base}.{alias.name}" if base else alias.name
                    module.imports[alias.asname or alias.name] = Imported(dotted, statement.level)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name() | ast.Attribute()):
                module.aliases[name] = statement.value
    return module


def _source(path: Path) -> str | bytes:
    if path.suffix != SUFFIX:
        return path.read_bytes()
    return python_of(path.read_text(encoding="utf-8-sig"))


class Project:
    """The files below a folder.

    Attributes:
        unparsable: Files that are not Python 3.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unparsable: set[Path] = set()
        self._read: dict[Path, Module | None] = {}
        self._packages: dict[str, Project | None] = {}

    def module(self, path: Path) -> Module | None:
        """Return a file, None where it does not parse."""
        if path not in self._read:
            self._read[path] = None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._read[path] = read(path, ast.parse(_source(path)))
            except (SyntaxError, ValueError, RecursionError):
                self.unparsable.add(path)
        return self._read[path]

    def meaning(self, module: Module, node: ast.expr, depth: int = 0) -> Meaning:
        """Return what an expression of names and dots stands for."""
        match node:
            case ast.Name(id=name):
                return self.lookup(module, name, depth)
            case ast.Attribute(value=value, attr=name):
                return self._member(self.meaning(module, value, depth), name, depth)
            case ast.Subscript(value=value):  # Generic[T]
                return self.meaning(module, value, depth)
        return None

    def lookup(self, module: Module, name: str, depth: int = 0) -> Meaning:
        """Return what a name stands for in a file."""
        if depth > _DEEPEST:
            return None
        found: ast.ClassDef | Function | None
        found = module.classes.get(name) or module.functions.get(name)
        if found is not None:
            return Defined(module, found)
        if name in module.imports:
            return self._imported(module, module.imports[name], depth + 1)
        if name in module.aliases:
            return self.meaning(module, module.aliases[name], depth + 1)
        outside: Meaning = None
        for star in module.stars:
            source = self._imported(module, star, depth + 1)
            meaning = self._member(source, name, depth + 1)
            if isinstance(meaning, (Defined, Module)):
                return meaning
            if isinstance(meaning, External):
                outside = meaning
        return outside

    def installed(self, external: External) -> Meaning:
        """Return what a name of an installed package stands for, itself where that is not told."""
        package = external.package
        if package not in self._packages:
            spec = importlib.util.find_spec(package) if package.isidentifier() else None
            places = list(spec.submodule_search_locations or ()) if spec else []
            self._packages[package] = Project(Path(places[0]).parent) if places else None
        project = self._packages[package]
        if project is None:
            return external
        return project._dotted(project.root, external.dotted.split("."), 0) or external  # noqa: SLF001 - the same class

    def _imported(self, module: Module, imported: Imported, depth: int) -> Meaning:
        parts = imported.dotted.split(".") if imported.dotted else []
        if imported.level:
            folder = module.path.parent
            for _ in range(imported.level - 1):
                folder = folder.parent
            return self._dotted(folder, parts, depth)
        if parts[0] in sys.stdlib_module_names or parts[0] == "torch":
            return External(imported.dotted)
        # Scripts are run from their own folder or from one above it.
        folder = module.path.parent
        while folder.is_relative_to(self.root):
            meaning = self._dotted(folder, parts, depth)
            if meaning is not None:
                return meaning
            folder = folder.parent
        return External(imported.dotted)

    def _dotted(self, folder: Path, parts: Sequence[str], depth: int) -> Meaning:
        """Return what a dotted name stands for that starts in a folder, None if nothing is there."""
        place = folder
        meaning: Meaning = self._package(folder) if not parts else None
        for index, part in enumerate(parts):
            if (place / f"{part}.py").is_file():
                meaning = self.module(place / f"{part}.py")
            elif (place / part).is_dir():
                place /= part
                meaning = self._package(place)
                if index + 1 < len(parts):
                    inner = self._dotted(place, parts[index + 1 :], depth)
                    if inner is not None:
                        return inner
            else:
                return None
            for name in parts[index + 1 :]:
                meaning = self._member(meaning, name, depth)
            return meaning
        return meaning

    def _package(self, folder: Path) -> Module | None:
        start = folder / "__init__.py"
        if start.is_file():
            return self.module(start)
        if any(folder.glob("*.py")):
            return Module(start, ast.Module([], []))
        return None

    def _member(self, owner: Meaning, name: str, depth: int) -> Meaning:
        match owner:
            case External():
                return External(f"{owner.dotted}.{name}")
            case Module():
                found = self.lookup(owner, name, depth + 1)
                if found is None and owner.path.name == "__init__.py":
                    return self._dotted(owner.path.parent, [name], depth + 1)
                return found
        return None
