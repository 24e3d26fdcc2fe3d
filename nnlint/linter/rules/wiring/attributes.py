"""What the text of a class does with the attributes that hold its layers."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnlint.linter.discover.source import Source

if TYPE_CHECKING:
    import torch

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Module names in places where the imports are not at hand.
_MODULES = frozenset({"F", "nn", "np", "torch", "math", "init"})


@dataclass(slots=True)
class Attributes:
    """The attributes that one piece of source reads and writes.

    Code that only initialises (constructors, `reset_parameters`, `_init_weights`) does not use a
    layer, except that it may hand it on: `self.ops = {"a": self.conv}`.

    Attributes:
        classes: Names of the classes that are defined here.
        stored: Names that a class gives to `self`, by class name.
        read: Names that a class reads off `self`, by class name.
        foreign: Names that are read off other objects (`model.head`, `nets[0].head`).
        chains: What a class reads off its own attributes: `self.net.head` is ("net", "head").
        words: Strings, as in `getattr(self, "head")`.
        affixes: First and last parts of computed names, as in `getattr(self, f"layer{i}")`.
        indices: Constants in `self.name[constant]`; None for a name that is used otherwise, too.
    """

    classes: set[str] = field(default_factory=set)
    stored: dict[str, set[str]] = field(default_factory=dict)
    read: dict[str, set[str]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    chains: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    affixes: set[tuple[str, str]] = field(default_factory=set)
    indices: dict[str, set[int | str] | None] = field(default_factory=dict)
    imported: set[str] = field(default_factory=lambda: set(_MODULES))

    @classmethod
    def of(cls, tree: ast.AST) -> Attributes:
        """Read a syntax tree."""
        found = cls()
        # (node, parent, class, whether this only initialises)
        stack: list[tuple[ast.AST, ast.AST | None, str, bool]] = [(tree, None, "", False)]
        while stack:
            node, parent, owner, quiet = stack.pop()
            if isinstance(node, ast.ClassDef):
                owner = node.name
                found.classes.add(owner)
            elif isinstance(node, (*_FUNCTIONS, ast.Lambda)):
                quiet = isinstance(node, _FUNCTIONS) and _initialises(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = (alias.asname or alias.name.partition(".")[0] for alias in node.names)
                found.imported.update(names)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and quiet and node.value:
                found._hand_on(node.value, owner)
            elif isinstance(node, ast.Attribute):
                found._attribute(node, parent, owner, quiet=quiet)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                (found.stored.setdefault(owner, set()) if quiet else found.words).add(node.value)
            elif isinstance(node, ast.JoinedStr) and not quiet and _names_attribute(parent):
                found.affixes.add(_affixes(node))
            stack.extend((child, node, owner, quiet) for child in ast.iter_child_nodes(node))
        return found

    def uses(self, owners: set[str], name: str) -> bool:
        """Tell whether code may use this attribute of an object of one of these classes."""
        if any(name in self.read.get(owner, ()) for owner in owners):
            return True
        if name in self.words or name in self.foreign:
            return True
        return any(name.startswith(a) and name.endswith(b) for a, b in self.affixes if a or b)

    def reached(self, model: torch.nn.Module) -> set[int]:
        """Return the identities of the modules that chains lead to, from each module on.

        What cannot be followed on the live model is read off an object that is not known.
        """
        found: set[int] = set()
        for owner, chains in self.chains.items():
            starts = [m for m in model.modules() if _is_a(m, owner)]
            for chain in chains:
                ends = [_follow(start, chain) for start in starts]
                found.update(id(end) for end in ends if end is not None)
                if None in ends or not ends:
                    self.foreign.add(chain[-1])
        return found

    def stores(self, owners: set[str], name: str) -> bool:
        """Tell whether one of these classes, defined here, makes the attribute."""
        return any(name in self.stored.get(owner, ()) for owner in owners & self.classes)

    def _attribute(
        self, node: ast.Attribute, parent: ast.AST | None, owner: str, *, quiet: bool
    ) -> None:
        plain = isinstance(node.value, ast.Name) and node.value.id == "self"
        if isinstance(node.ctx, ast.Store):
            if plain:
                self.stored.setdefault(owner, set()).add(node.attr)
        elif quiet:
            return
        elif plain:
            self.read.setdefault(owner, set()).add(node.attr)
            index = parent.slice if isinstance(parent, ast.Subscript) else None
            constant = _constant(index)
            known = self.indices.setdefault(node.attr, set())
            if constant is None or known is None:
                self.indices[node.attr] = None
            else:
                known.add(constant)
        elif chain := _chain(node):
            self.chains.setdefault(owner, set()).add(chain)
        else:
            root = _root(node)
            # A tensor's own method (`x.norm()`) says nothing of a layer of that name.
            if root not in self.imported and (root == "self" or not _is_tensor_method(node.attr)):
                self.foreign.add(node.attr)

    def _hand_on(self, value: ast.expr, owner: str) -> None:
        stack: list[tuple[ast.AST, ast.AST | None]] = [(value, None)]
        while stack:
            node, parent = stack.pop()
            whole = isinstance(node, ast.Attribute) and not isinstance(parent, ast.Attribute)
            if whole and isinstance(node, ast.Attribute) and _root(node) == "self":
                self.read.setdefault(owner, set()).add(node.attr)
                self.indices[node.attr] = None
            stack.extend((child, node) for child in ast.iter_child_nodes(node))


def attributes_of(owner: type, source: Source | None) -> Iterator[Attributes]:
    """Yield the attributes of the linted file, and of each other text that defines the class."""
    defined: set[str] = set()
    if source is not None:
        own = Attributes.of(source.tree)
        defined = own.classes
        yield own
    for cls in owner.__mro__:
        if cls.__name__ in defined or cls.__module__.partition(".")[0] in ("torch", "builtins"):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        except (OSError, TypeError, SyntaxError):
            continue
        yield Attributes.of(tree)


def _initialises(name: str) -> bool:
    return "init" in name or "reset" in name


def _is_tensor_method(name: str) -> bool:
    import torch

    return hasattr(torch.Tensor, name)


def _chain(node: ast.Attribute) -> tuple[str, ...]:
    """Return ("net", "head") for `self.net.head`, nothing for any other expression."""
    names: list[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        names.append(value.attr)
        value = value.value
    own = isinstance(value, ast.Name) and value.id == "self"
    return tuple(reversed(names)) if own else ()


def _is_a(module: torch.nn.Module, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(module).__mro__)


def _follow(module: torch.nn.Module, chain: tuple[str, ...]) -> object | None:
    """Return what attributes lead to, without running properties; None where one is missing."""
    value: object = module
    for name in chain:
        registered = getattr(value, "_modules", {})
        value = registered.get(name, vars(value).get(name) if hasattr(value, "__dict__") else None)
        if value is None:
            return None
    return value


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _constant(index: ast.expr | None) -> int | str | None:
    if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
        found = _constant(index.operand)
        return -found if isinstance(found, int) else None
    if isinstance(index, ast.Constant) and isinstance(index.value, (int, str)):
        return index.value
    return None


def _names_attribute(parent: ast.AST | None) -> bool:
    if isinstance(parent, ast.Subscript):
        return True
    return isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name)


def _affixes(name: ast.JoinedStr) -> tuple[str, str]:
    first, last = name.values[0], name.values[-1]
    return (
        str(first.value) if isinstance(first, ast.Constant) else "",
        str(last.value) if isinstance(last, ast.Constant) else "",
    )
