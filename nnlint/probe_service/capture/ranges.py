"""Over which range drawn integers may go: the smallest table that they look something up in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from nnlint.probe_service.capture.feed import Feed, integers
from nnlint.probe_service.encode.step import Operation, Ref, Step

# Operator -> position of the table, position of the positions, and which dimension is looked up:
# a number, or "dim" for the argument between them.
_LOOKUPS: Mapping[str, tuple[int, int, int | str]] = {
    "aten.embedding.default": (0, 1, 0),
    "aten.embedding_bag.default": (0, 1, 0),
    "aten.embedding_bag.padding_idx": (0, 1, 0),
    "aten.index_select.default": (0, 2, "dim"),
    "aten.gather.default": (0, 2, "dim"),
    "aten.scatter.src": (0, 2, "dim"),
    "aten.scatter.value": (0, 2, "dim"),
    "aten.scatter_.src": (0, 2, "dim"),
    "aten.scatter_.value": (0, 2, "dim"),
    "aten.cross_entropy_loss.default": (0, 1, 1),
    "aten.nll_loss_nd.default": (0, 1, 1),
    "aten.nll_loss.default": (0, 1, 1),
    "aten.nll_loss2d.default": (0, 1, 1),
    "aten.multi_margin_loss.default": (0, 1, 1),
}


def ranges(step: Step, feeds: Sequence[Feed]) -> tuple[Feed, ...]:
    """Return the feeds with the range of those drawn integers whose range was a guess.

    Args:
        step: The captured step, whose first tensors are the feeds.
        feeds: Inputs of forward.
    """
    if not any(feed.guessed for feed in feeds):
        return tuple(feeds)
    limits: dict[int, int] = {}
    carried: list[set[int]] = []
    for operation in step.operations:
        values = (*operation.arguments, *operation.keywords.values())
        _note(step, operation, carried, limits)
        whole = bool(operation.results) and _integer(operation.results[0].dtype)
        reached: set[int] = set()
        if whole:
            for value in values:
                for each in value if isinstance(value, list) else (value,):
                    reached |= _carried(each, carried)
        carried.append(reached)
    return tuple(
        _limited(feed, limits.get(index)) if feed.guessed else feed
        for index, feed in enumerate(feeds)
    )


def _limited(feed: Feed, limit: int | None) -> Feed:
    if limit is None or limit < 1:
        return feed
    return Feed(feed.name, feed.shape, feed.dtype, integers(0, limit))


def _integer(dtype: torch.dtype | None) -> bool:
    return dtype is not None and not (
        dtype.is_floating_point or dtype.is_complex or dtype == torch.bool
    )


def _carried(value: object, carried: Sequence[set[int]]) -> set[int]:
    if not isinstance(value, Ref):
        return set()
    return {value.index} if value.kind == "tensor" else carried[value.index]


def _note(
    step: Step, operation: Operation, carried: Sequence[set[int]], limits: dict[int, int]
) -> None:
    """Note the size of what an operation looks up."""
    if operation.operator == "aten.one_hot.default":
        classes = operation.arguments[1] if len(operation.arguments) > 1 else -1
        if isinstance(classes, int) and classes > 0:
            _limit(_carried(operation.arguments[0], carried), classes, limits)
        return
    if operation.operator == "aten.index.Tensor":
        table, positions = operation.arguments[0], operation.arguments[1]
        sizes = _sizes(step, table)
        for place, index in enumerate(positions if isinstance(positions, list) else ()):
            if place < len(sizes):
                _limit(_carried(index, carried), sizes[place], limits)
        return
    known = _LOOKUPS.get(operation.operator)
    if known is None or len(operation.arguments) <= max(known[0], known[1]):
        return
    sizes = _sizes(step, operation.arguments[known[0]])
    dimension = operation.arguments[1] if known[2] == "dim" else known[2]
    if not isinstance(dimension, int) or not sizes:
        return
    if dimension >= len(sizes):
        dimension = 0
    _limit(_carried(operation.arguments[known[1]], carried), sizes[dimension], limits)


def _limit(inputs: set[int], size: int, limits: dict[int, int]) -> None:
    for index in inputs:
        limits[index] = min(size, limits.get(index, size))


def _sizes(step: Step, value: object) -> tuple[int, ...]:
    if not isinstance(value, Ref):
        return ()
    if value.kind == "tensor":
        return step.tensors[value.index].shape
    return step.operations[value.index].results[value.output].shape
