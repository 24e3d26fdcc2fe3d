"""The table of operators that signals can be followed through: one function for each.

A function gets a `Call` and returns a `Step`: the moments of the result, and how a gradient of the
result is pulled back to the inputs and to the parameters. Files of this folder enter functions
with `@follows(...)`; the folder is walked, there is no list to edit.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators.base import Operator
from nnlint.linter.signal.moments import Gradient, Shape, Value


class UnfollowedError(Exception):
    """The moments of a result cannot be told; the message says why."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a gradient goes: a node, and which of its results where it has several."""

    node: Node
    index: int | None = None


# A gradient for a node, or the mean square of a gradient for a parameter.
Pulled = tuple[Slot, Gradient] | tuple[torch.Tensor, float]
Pull = Callable[[Any], Iterator[Pulled]]
Content = Value | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What one operator makes of its inputs.

    Attributes:
        value: Moments of the result, a tuple for several results.
        pull: Takes the gradient of the result (for several results a tuple, None for those
            without) and yields gradients of inputs and parameters.
        linked: Whether a gradient goes along with the input as it did with the result, see
            `Gradient.along`.
    """

    value: Content
    pull: Pull
    linked: bool = False


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight: its numbers, and the node it comes from where forward computes or reads it."""

    tensor: torch.Tensor
    node: Node | None = None

    def gradient(self, power: float, alike: float = 0.0) -> Iterator[Pulled]:
        """Yield the mean square of the weight's gradient to where it belongs.

        Args:
            power: The mean square.
            alike: The part of it that all inputs of an output have in common; it only matters for
                a weight that is computed.
        """
        if self.node is None:
            yield self.tensor, power
        else:
            shape = tuple(self.tensor.shape)
            rank = len(shape)
            one = torch.full((1,) * rank, power, dtype=torch.float64)
            yield Slot(self.node), Gradient(shape, "." * rank, one, own=alike)


@dataclass(frozen=True, slots=True)
class Call:
    """One operation with the moments of what it takes.

    Attributes:
        node: The operation.
        values: Moments of all nodes before it; None for those not followed.
        batch: The number of samples.
    """

    node: Node
    values: Mapping[Node, Content | None]
    batch: int

    def plain(self, name: str, default: Any = None) -> Any:
        """Return an argument that is no tensor, or an attribute of the module.

        Raises:
            UnfollowedError: It is a value that is only known when the model runs.
        """
        found = self.node.arg(name, default)
        if isinstance(found, Node):
            raise UnfollowedError(f"{name} is only known when the model runs")
        return default if found is None else found

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a switch of the call."""
        return bool(self.plain(name, default))

    def source(self, name: str = "input") -> Node | None:
        """Return the node that an argument is, None where it is none."""
        found = self.node.args.get(name)
        return found if isinstance(found, Node) and found.value is None else None

    def content(self, name: str = "input") -> Content:
        """Return the moments of an argument, or a constant for a plain number.

        Raises:
            UnfollowedError: They are not known.
        """
        found = self.node.arg(name)
        if isinstance(found, Node):
            value = self.values.get(found)
            if value is None:
                raise UnfollowedError(f"what goes into it is not known ({found!r})")
            return value
        if isinstance(found, torch.Tensor):
            return constant(found)
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return Value((), "", _scalar(float(found)), _scalar(0.0))
        raise UnfollowedError(f"{name} is no tensor")

    def value(self, name: str = "input") -> Value:
        """Return the moments of an argument that is a single tensor."""
        found = self.content(name)
        if isinstance(found, tuple):
            raise UnfollowedError("it takes several values as one")
        return found

    def matrix(self, name: str = "weight") -> Matrix | None:
        """Return a weight, however it is passed; None where there is none.

        Raises:
            UnfollowedError: It depends on the input, or holds no numbers.
        """
        found = self.node.arg(name)
        if found is None:
            return None
        if isinstance(found, Node):
            if found.tensor is not None:
                return Matrix(found.tensor.detach(), found)
            value = self.values.get(found)
            if not isinstance(value, Value) or not value.constant:
                raise UnfollowedError(f"its {name} is computed from the input")
            return Matrix(value.mean.expand(value.shape), found)
        if not isinstance(found, torch.Tensor):
            raise UnfollowedError(f"its {name} is no tensor")
        if hasattr(found, "materialize") or found.is_meta:
            raise UnfollowedError(f"its {name} has no numbers yet")
        return Matrix(found.detach() if not found.requires_grad else found)

    @property
    def shape(self) -> Shape:
        """The shape of the result; raises UnfollowedError where it is unknown."""
        found = self.node.info.shape
        if found is None:
            raise UnfollowedError("the shape of its result is not known")
        return found

    def back(self, name: str, gradient: Gradient) -> Iterator[Pulled]:
        """Yield a gradient to an argument, if it is a node."""
        if (node := self.source(name)) is not None:
            yield Slot(node), gradient


Follow = Callable[[Call], Step]
_TABLE: dict[Operator, Follow] = {}


def follows(*operators: Operator) -> Callable[[Follow], Follow]:
    """Enter a function for operators into the table."""

    def enter(function: Follow) -> Follow:
        for op in operators:
            assert op not in _TABLE, f"two functions follow {op.name}"
            _TABLE[op] = function
        return function

    return enter


@functools.cache
def followers() -> Mapping[Operator, Follow]:
    """Return the table, importing every file of this folder."""
    package = importlib.import_module(__package__ or "nnlint.linter.signal")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return _TABLE


def constant(tensor: torch.Tensor) -> Value:
    """Return a parameter or buffer as a value that never varies."""
    if hasattr(tensor, "materialize") or tensor.is_meta:
        raise UnfollowedError("a parameter has no numbers yet")
    mean = tensor.detach()
    if mean.numel() <= 1 << 16 or not mean.is_floating_point():
        mean = mean.to(torch.float64)
    return Value(
        tuple(tensor.shape),
        "." * tensor.dim(),
        mean,
        torch.zeros((1,) * tensor.dim(), dtype=torch.float64),
    )


def only(gradients: Sequence[Gradient | None]) -> Iterator[tuple[int, Gradient]]:
    """Yield the gradients that there are, with their places."""
    return ((i, g) for i, g in enumerate(gradients) if g is not None)


def _scalar(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=torch.float64)
