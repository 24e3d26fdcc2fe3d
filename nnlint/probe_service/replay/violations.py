"""What is wrong with a graph, by field: without torch, for the front and the worker alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nnlint.errors import NnlintError

# A client needs the first few; an answer is limited to some kilobytes.
MOST = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong.

    Attributes:
        field: "graph.nodes[12].arguments[0]".
        description: One sentence without a full stop.
    """

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


class InvalidGraphError(NnlintError):
    """A graph, or what is to be done with it, is refused.

    Attributes:
        violations: At least one.
    """

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(str(violation) for violation in self.violations))


def refuse(field: str, description: str) -> InvalidGraphError:
    """Return the error for one violation."""
    return InvalidGraphError([Violation(field, description)])


def first(violations: Iterator[Violation]) -> list[Violation]:
    """Return the first violations and look for no more than an answer can hold."""
    found: list[Violation] = []
    for violation in violations:
        found.append(violation)
        if len(found) == MOST:
            break
    return found
