"""Where the batch lies inside each value: a dimension of its own, or a factor of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.linter.graph import ModelGraph, Node, Shape
from nnlint.linter.operators import moving

# Regroup the elements without moving them.
REGROUPING = frozenset(
    {moving.VIEW, moving.VIEW_AS, moving.FLATTEN, moving.UNFLATTEN, moving.RAVEL}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of the batch in a value.

    Attributes:
        shape: The sizes of the value.
        dim: The dimension that holds the batch.
        outer: How often the whole batch is repeated in that dimension (time-major: T * B).
        inner: How many neighbours of that dimension belong to one sample (batch-major: B * T).
    """

    shape: Shape
    dim: int
    outer: int = 1
    inner: int = 1

    @property
    def stride(self) -> int:
        """Distance from one sample to the next, in elements of the flattened value."""
        return self.inner * math.prod(self.shape[self.dim + 1 :])

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.shape[self.dim] // (self.outer * self.inner)


@dataclass(frozen=True, slots=True)
class Scramble:
    """A regrouping after which what was one sample lies in several, and the other way round."""

    node: Node
    before: Layout
    after: Layout


def track(graph: ModelGraph) -> tuple[dict[Node, Layout], list[Scramble]]:
    """Follow the batch through the graph and collect the regroupings that break samples up."""
    layouts: dict[Node, Layout] = {}
    scrambles: list[Scramble] = []
    for node in graph.nodes:
        before = layouts.get(node.input) if node.input is not None else None
        after = _layout(node, before)
        if after is None:
            continue
        layouts[node] = after
        if before is not None and node.op in REGROUPING and _is_own(after):
            same_size = math.prod(before.shape) == math.prod(after.shape)
            if same_size and before.stride != after.stride and before.samples == after.samples:
                scrambles.append(Scramble(node, before, after))
    return layouts, scrambles


def _is_own(layout: Layout) -> bool:
    return layout.outer == layout.inner == 1


def _layout(node: Node, before: Layout | None) -> Layout | None:
    shape, batch = node.info.shape, node.info.batch
    if shape is None or batch is None:
        return None
    if len(batch) == 1 and not node.info.mixed:
        return Layout(shape, batch[0])
    if batch or not node.info.mixed or before is None:
        return None
    if node.op in REGROUPING:
        return _regrouped(before, shape)
    if node.op is moving.REPEAT:
        return _repeated(before, shape, node.arg("repeats"))
    if node.op in (moving.PERMUTE, moving.TRANSPOSE):
        return _moved(node, before, shape)
    if len(shape) == len(before.shape) and shape[before.dim] == before.shape[before.dim]:
        return Layout(shape, before.dim, before.outer, before.inner)
    return None


def _regrouped(before: Layout, shape: Shape) -> Layout | None:
    """Find the dimension that holds the batch whole, None where it is cut."""
    extent = before.stride * before.samples
    for dim, size in enumerate(shape):
        unit = math.prod(shape[dim + 1 :])
        span = unit * size
        if unit <= before.stride and extent <= span:
            if before.stride % unit or span % extent:
                return None
            return Layout(shape, dim, span // extent, before.stride // unit)
    return None


def _repeated(before: Layout, shape: Shape, repeats: Any) -> Layout | None:
    counts = repeats[0] if len(repeats or ()) == 1 and isinstance(repeats[0], tuple) else repeats
    if not isinstance(counts, tuple) or len(counts) != len(before.shape):
        return None
    count = counts[before.dim]
    if not isinstance(count, int):
        return None
    return Layout(shape, before.dim, before.outer * count, before.inner)


def _moved(node: Node, before: Layout, shape: Shape) -> Layout | None:
    rank = len(shape)
    order: Sequence[Any] | None
    if node.op is moving.TRANSPOSE:
        a, b = node.arg("dim0"), node.arg("dim1")
        if not isinstance(a, int) or not isinstance(b, int):
            return None
        swapped = list(range(rank))
        swapped[a], swapped[b] = swapped[b], swapped[a]
        order = swapped
    else:
        order = node.arg("dims")
        if order and isinstance(order[0], (tuple, list)):
            order = order[0]
    if not order or len(order) != rank or not all(isinstance(d, int) for d in order):
        return None
    dim = [d % rank for d in order].index(before.dim)
    return Layout(shape, dim, before.outer, before.inner)
