"""Which classes of a file are models in their own right, and which only parts of others."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from nnlint.linter.discover.classes import ClassInfo, mentions


def uses_of(
    classes: dict[str, ClassInfo],
    functions: Mapping[str, frozenset[str]],
    registries: Mapping[str, ast.expr],
) -> dict[str, frozenset[str]]:
    """Return the identifiers that each module class reads, also through what it reads.

    That is through the functions that it calls and, as a choice of layers, the literal dicts and
    lists of the file. What a Lightning module chooses from is rather a choice of models.
    """
    chosen = {name: mentions(node) for name, node in registries.items()}
    found: dict[str, frozenset[str]] = {}
    for info in classes.values():
        if not info.module:
            continue
        seen: set[str] = set()
        stack = [name for each in info.mro for name in each.mentions]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            stack.extend(functions.get(name, ()))
            if not info.lightning:
                stack.extend(chosen.get(name, ()))
        found[info.name] = frozenset(seen)
    return found


def components(edges: dict[str, frozenset[str]]) -> dict[str, int]:
    """Number the strongly connected components of a graph (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    numbered: dict[str, int] = {}
    for root, first in edges.items():
        if root in index:
            continue
        work = [(root, iter(sorted(first)))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in edges:
                    continue
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(sorted(edges[successor]))))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        numbered[member] = index[node]
                        if member == node:
                            break
    return numbered


def users(edges: dict[str, frozenset[str]]) -> dict[str, set[str]]:
    """Return who uses each class, not counting classes that it uses in turn."""
    component = components(edges)
    found: dict[str, set[str]] = {name: set() for name in edges}
    for user, used in edges.items():
        for name in used:
            if name in edges and component[name] != component[user]:
                found[name].add(user)
    return found
