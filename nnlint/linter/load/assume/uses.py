"""What code does with a value, read from its syntax: what kind of value it must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the value.

    Attributes:
        count: Number of positional arguments.
        keywords: Names of the keyword arguments.
        later: Whether a method other than the constructor makes it, as forward does.
        ignored: Whether nothing is done with what it returns.
    """

    count: int
    keywords: frozenset[str] = frozenset()
    later: bool = False
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Handed:
    """A library's function that takes the value.

    Attributes:
        callee: Its name: "Linear", "Dropout".
        parameter: The parameter that the value becomes.
    """

    callee: str
    parameter: str


@dataclass(slots=True)
class Uses:
    """How code uses a value.

    Attributes:
        number: Whether it is computed with.
        counted: Whether it says how often something is done: range(n), [x] * n.
        sequence: Whether it is iterated over, unpacked, indexed by number or asked for its length.
        mapping: Whether it is asked for keys and items, or handed on as `**value`.
        tested: Whether it stands as a condition.
        text: Whether methods of strings are called on it.
        tensor: Whether methods of tensors are called on it.
        length: How many items it has at least.
        exact: How many items it has, where it is unpacked.
        attributes: What is done with its attributes.
        keys: What is done with its items, by literal key.
        item: What is done with each of its items.
        parts: What is done with the items of a value that is unpacked, by position and name.
        calls: How it is called.
        literals: Constants that it is compared with or looked up among.
        types: Types that `isinstance` asks for.
        handed: Parameters of libraries' functions that it becomes.
        names: What else it is called, where it is handed on.
        none: Whether it is compared with None.
    """

    number: bool = False
    counted: bool = False
    sequence: bool = False
    mapping: bool = False
    tested: bool = False
    text: bool = False
    tensor: bool = False
    none: bool = False
    length: int = 0
    exact: int = 0
    attributes: dict[str, Uses] = field(default_factory=dict)
    keys: dict[Any, Uses] = field(default_factory=dict)
    item: Uses | None = None
    parts: list[tuple[str, Uses]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    literals: list[Any] = field(default_factory=list)
    types: list[type] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def attribute(self, name: str) -> Uses:
        """Return what is done with an attribute, to be added to."""
        return self.attributes.setdefault(name, Uses())

    def each(self) -> Uses:
        """Return what is done with each item, to be added to."""
        self.sequence = True
        if self.item is None:
            self.item = Uses()
        return self.item

    def part(self, position: int, name: str) -> Uses:
        """Return what is done with the item at a position, to be added to."""
        while len(self.parts) <= position:
            self.parts.append(("", Uses()))
        known, uses = self.parts[position]
        if not known:
            self.parts[position] = (name, uses)
        return self.parts[position][1]
