"""Dotted names behind the identifiers of a file, by its imports and plain aliases."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_CANONICAL = {
    "torch.autograd.no_grad": "torch.no_grad",
    "torch.autograd.grad_mode.no_grad": "torch.no_grad",
    "torch.autograd.inference_mode": "torch.inference_mode",
    "torch.autograd.grad_mode.inference_mode": "torch.inference_mode",
    "torch.autograd.set_grad_enabled": "torch.set_grad_enabled",
    "torch.autograd.grad_mode.set_grad_enabled": "torch.set_grad_enabled",
    "torch.autograd.variable.Variable": "torch.autograd.Variable",
    "torch.nn.modules.functional": "torch.nn.functional",
}


def canonical(dotted: str) -> str:
    """Return the public name of what `dotted` names in one of torch's inner modules."""
    if dotted in _CANONICAL:
        return _CANONICAL[dotted]
    last = dotted.rpartition(".")[2]
    if dotted.startswith("torch.nn.modules.") and not last.islower():
        return f"torch.nn.{last}"
    return dotted


def is_main_guard(node: ast.stmt) -> bool:
    """Tell whether a statement is `if __name__ == "__main__":`."""
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
        return False
    sides = [node.test.left, *node.test.comparators]
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    text = any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)
    return named and text and isinstance(node.test.ops[0], ast.Eq)


def on_import(body: list[ast.stmt], *, fallback: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the statements that importing the file runs, outside loops.

    The flag tells a fallback: an `except` or `else` part, which stands in for what comes before.
    """
    stack: list[tuple[ast.stmt, bool]] = [(node, fallback) for node in reversed(body)]
    while stack:
        node, spare = stack.pop()
        yield node, spare
        if is_main_guard(node):
            continue
        inner: list[tuple[ast.stmt, bool]] = []
        if isinstance(node, ast.If):
            inner = [(child, spare) for child in node.body]
            inner += [(child, True) for child in node.orelse]
        elif isinstance(node, ast.Try | ast.TryStar):
            inner = [(child, spare) for child in [*node.body, *node.orelse, *node.finalbody]]
            inner += [(child, True) for handler in node.handlers for child in handler.body]
        elif isinstance(node, ast.With | ast.AsyncWith):
            inner = [(child, spare) for child in node.body]
        stack.extend(reversed(inner))


def chain(node: ast.expr) -> tuple[str, ...]:
    """Return the identifiers of `a.b.c`, or nothing for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ()
    return (node.id, *reversed(parts))


def imported(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the identifiers that an import binds, with what they stand for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, alias.name
            else:
                root = alias.name.partition(".")[0]
                yield root, root
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        joint = "" if module.endswith(".") else "."
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or alias.name, module + joint + alias.name


@dataclass(slots=True)
class Names:
    """What the identifiers of one file stand for.

    Attributes:
        bindings: Identifier to dotted name.
        stars: Modules imported by `from module import *`, with leading dots where relative.
        size: How many syntax nodes the file has.
        unresolved: Aliases of what the file does not import itself.
    """

    bindings: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    size: int = 0
    unresolved: dict[str, ast.Attribute] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> Names:
        """Read the imports of a file, those inside functions too, and its top-level aliases."""
        names = cls()
        for node, spare in on_import(tree.body):
            for identifier, dotted in imported(node):
                if not spare or identifier not in names.bindings:
                    names.bindings[identifier] = canonical(dotted)
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                names.stars.append("." * node.level + (node.module or ""))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
                target = node.targets[0]
                if isinstance(target, ast.Name):
                    names._alias(target.id, node.value)
        for inner in ast.walk(tree):
            names.size += 1
            if isinstance(inner, ast.Import | ast.ImportFrom):
                for identifier, dotted in imported(inner):
                    names.bindings.setdefault(identifier, canonical(dotted))
        return names

    def _alias(self, name: str, value: ast.Attribute) -> None:
        dotted = self.resolve(value)
        if dotted:
            self.bindings.setdefault(name, dotted)
        else:
            self.unresolved[name] = value

    def adopt(self, other: Names, bindings: Mapping[str, str]) -> None:
        """Take over what `from other import *` brings along of the other file's own imports."""
        for name, dotted in bindings.items():
            self.bindings.setdefault(name, dotted)
        for name, value in list(self.unresolved.items()):
            self._alias(name, value)
        self.stars += [name for name in other.stars if name not in self.stars and name[:1] != "."]

    def lookup(self, identifier: str) -> str | None:
        """Return the dotted name of one identifier."""
        found = self.bindings.get(identifier)
        if found is None and identifier[:1].isupper() and "torch.nn" in self.stars:
            return f"torch.nn.{identifier}"
        return found

    def resolve(self, node: ast.expr) -> str | None:
        """Return the canonical dotted name of `a.b.c`, or None when its root is not imported."""
        parts = chain(node)
        root = self.lookup(parts[0]) if parts else None
        return canonical(".".join((root, *parts[1:]))) if root else None
