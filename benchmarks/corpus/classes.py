"""Which model classes a folder holds, counted from the syntax alone.

A model is a class that derives from a module, over files where need be, has a forward, and is not
built by another module class of its own file. Losses, files that are not Python 3, and classes whose
base comes from a package that is not installed are told apart.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.corpus.names import Defined, External, Function, Meaning, Module, Project, read

Kind = Literal["model", "part", "loss", "not-python-3", "base-not-installed"]

_MODULES = re.compile(
    r"torch\.nn\.(modules\.\w+\.|quantized\.|utils\.rnn\.)?[A-Z]\w*$|torch\.jit\.ScriptModule$"
)
_NO_MODULES = frozenset({"torch.nn.Parameter", "torch.nn.ParameterMixin"})
_LIGHTNING = re.compile(r"(pytorch_lightning|lightning)\.(.+\.)?LightningModule$")
_TARGETS = re.compile(r"(^|_)(targets?|labels?|truth|gts?|true)($|_)|^y$")
_LEARNS = re.compile(
    r"(Lazy)?(Conv|Linear|Bilinear|LSTM|GRU|RNN|Embedding|BatchNorm|LayerNorm|GroupNorm|"
    r"InstanceNorm|PReLU|Transformer|MultiheadAttention|Parameter|Sequential|Module(List|Dict))"
)
_OLD_CLASS = re.compile(r"^class\s+(\w+)\s*\([^)]*Module[^)]*\)\s*:", re.MULTILINE)
_METHODS = ("forward", "training_step")


@dataclass(frozen=True, slots=True)
class ClassFact:
    """One class.

    Attributes:
        path: Its file, relative to the folder.
        kind: "model" where it counts, else why it does not.
        package: For "base-not-installed", which package.
    """

    path: str
    name: str
    line: int
    end_line: int
    kind: Kind
    package: str = ""


def survey(root: Path, files: Iterator[Path] | list[Path]) -> list[ClassFact]:
    """Return the module classes with a forward that files below `root` hold."""
    project = Project(root)
    kinds = _Kinds(project)
    found: list[ClassFact] = []
    for path in files:
        module = project.module(path)
        place = path.relative_to(root).as_posix()
        if module is None:
            text = path.read_text(encoding="utf-8", errors="replace")
            for match in _OLD_CLASS.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(ClassFact(place, match[1], line, line, "not-python-3"))
            continue
        built = _built(kinds, module)
        for name, node in module.classes.items():
            kind, package = kinds.of(Defined(module, node))
            if kind == "model" and name in built:
                kind = "part"
            if kind is not None and kinds.has_forward(Defined(module, node)):
                end = node.end_lineno or node.lineno
                found.append(ClassFact(place, name, node.lineno, end, kind, package))
    return found


def defined_in(root: Path, path: str, name: str) -> tuple[str, str] | None:
    """Return the file below `root` and the name of the class that a file calls `name`."""
    project = Project(root)
    module = project.module(root / path) if (root / path).is_file() else None
    found = project.lookup(module, name) if module else None
    if isinstance(found, Defined) and found.module.path.is_relative_to(root):
        return found.module.path.relative_to(root).as_posix(), found.node.name
    return None


def spans(text: str, name: str) -> list[tuple[int, int]]:
    """Return the first and last lines of the classes and functions of that name, at any depth."""
    try:
        module = read(Path(), ast.parse(text))
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.ClassDef, Function)
    return [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(module.tree)
        if isinstance(node, kinds) and node.name == name
    ]


class _Kinds:
    """Tells which classes are modules."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[ast.ClassDef, tuple[Kind | None, str]] = {}

    def of(self, defined: Defined) -> tuple[Kind | None, str]:
        """Return what a class is, and the package that it lacks; None where it is no module."""
        node = defined.node
        if not isinstance(node, ast.ClassDef):
            return None, ""
        if node not in self._known:
            self._known[node] = (None, "")  # a class among its own bases is none
            self._known[node] = self._judge(defined.module, node)
        return self._known[node]

    def _judge(self, module: Module, node: ast.ClassDef) -> tuple[Kind | None, str]:
        bases = [self._base(self.project.meaning(module, base)) for base in node.bases]
        for base in bases:
            if base[0] == "base-not-installed":
                return base
        if any(base[0] == "loss" for base in bases):
            return "loss", ""
        if any(base[0] == "model" for base in bases):
            return ("loss" if self._is_loss(node) else "model"), ""
        return None, ""

    def _base(self, meaning: Meaning) -> tuple[Kind | None, str]:
        if isinstance(meaning, Defined):
            return self.of(meaning)
        if not isinstance(meaning, External):
            return None, ""
        dotted, package = meaning.dotted, meaning.package
        if package == "torch":
            if dotted in _NO_MODULES or not _MODULES.match(dotted):
                return None, ""
            return ("loss" if dotted.endswith("Loss") else "model"), ""
        if package in sys.stdlib_module_names or not package.isidentifier():
            return None, ""
        if importlib.util.find_spec(package) is None:
            return "base-not-installed", package
        if _LIGHTNING.match(dotted):
            return "model", ""
        inner = self.project.installed(meaning)
        return self.of(inner) if isinstance(inner, Defined) else (None, "")

    def has_forward(self, defined: Defined) -> bool:
        """Tell whether a class, or one that it derives from, says what forward does."""
        node = defined.node
        if not isinstance(node, ast.ClassDef):
            return False
        for method in node.body:
            if isinstance(method, Function) and method.name in _METHODS:
                return not _is_abstract(method)
        for base in node.bases:
            meaning = self.project.meaning(defined.module, base)
            if isinstance(meaning, Defined) and self.has_forward(meaning):
                return True
            if isinstance(meaning, External) and meaning.package == "torch":
                last = meaning.dotted.rpartition(".")[2]
                return last not in {"Module", "ScriptModule", "ModuleList", "ModuleDict"}
        return False

    @staticmethod
    def _is_loss(node: ast.ClassDef) -> bool:
        """Tell whether a module takes labels, or says that it is a loss, and has nothing to learn."""
        forward = [m for m in node.body if isinstance(m, Function) and m.name == "forward"]
        names = [a.arg for method in forward for a in method.args.args[1:]]
        named = node.name.lower().endswith(("loss", "criterion"))
        if len(names) < 2 or not (named or any(_TARGETS.search(name) for name in names)):
            return False
        for inner in ast.walk(node):
            called = inner.func if isinstance(inner, ast.Call) else None
            name = getattr(called, "attr", None) or getattr(called, "id", "")
            if _LEARNS.match(name) or name == "register_parameter":
                return False
        return True


def _is_abstract(method: Function) -> bool:
    body = [s for s in method.body if not isinstance(s, ast.Expr | ast.Pass)]
    if not body:
        calls = any(isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) for s in method.body)
        return not calls
    return isinstance(body[0], ast.Raise)


def _built(kinds: _Kinds, module: Module) -> set[str]:
    """Return the module classes of a file that another one of its module classes builds."""
    graph: dict[str, set[str]] = {
        name: set(_mentions(node)) for name, node in (module.functions | module.classes).items()
    }
    modules = {
        name
        for name, node in module.classes.items()
        if kinds.of(Defined(module, node))[0] is not None
    }
    built: set[str] = set()
    for start in modules:
        seen, waiting = {start}, [start]
        while waiting:
            for name in graph[waiting.pop()] & graph.keys() - seen:
                seen.add(name)
                waiting.append(name)
        built |= seen - {start}
    return (built | _handed_over(kinds, module)) & modules


def _handed_over(kinds: _Kinds, module: Module) -> Iterator[str] | set[str]:
    """Return names that are arguments of a module class or of a function of the project."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        meaning = kinds.project.meaning(module, node.func)
        if not isinstance(meaning, Defined):
            continue
        if isinstance(meaning.node, ast.ClassDef) and kinds.of(meaning)[0] is None:
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.Name):
                found.add(argument.id)
    return found


def _mentions(node: ast.AST) -> Iterator[str]:
    """Yield the names that code uses other than as a base, an annotation, or for a type check."""
    match node:
        case ast.Name():
            yield node.id
            return
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "super")):
            yield from _mentions(node.args[0]) if node.args else ()
            return
        case ast.Attribute(value=ast.Name(), attr=attribute) if attribute.startswith("__"):
            return
        case ast.AnnAssign():
            yield from _mentions(node.value) if node.value else ()
            return
        case ast.ClassDef():
            children: list[ast.AST] = list(node.body)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            children = [*node.body, *node.args.defaults]
        case _:
            children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _mentions(child)
