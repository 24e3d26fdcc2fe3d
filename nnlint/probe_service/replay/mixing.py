"""Find the first node of a graph whose result for a sample depends on other samples.

Results are not kept: each sample's part of one is projected onto a few random directions. Where a
part changes by a vector of some length, its projections change by about that length.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from nnlint.probe_service.replay.decode import Call
from nnlint.probe_service.replay.structure import elements
from nnlint.protos.v1 import graph_pb2

# Relative to the length of a sample's part. Equal shapes are computed alike, so that what does not
# depend on the other samples is equal to the bit; this is ten roundings of float32.
TOLERANCE = 1e-6
_DIRECTIONS = 4


class Keeper:
    """Keeps some of the results of a run, as they are at its end.

    Attributes:
        kept: By slot.
    """

    def __init__(self, calls: Sequence[Call], slots: Collection[int]) -> None:
        self.kept: dict[int, torch.Tensor] = {}
        self._wanted = {
            call.node: wanted
            for call in calls
            if (wanted := [slot for slot in call.results if slot in slots])
        }

    def before(self, call: Call, values: list[Any]) -> None:
        """Do nothing."""

    def after(self, call: Call, values: list[Any]) -> None:
        """Keep results of a node."""
        for slot in self._wanted.get(call.node, ()):
            self.kept[slot] = values[slot].detach()


class Prints:
    """Projects the results of a run.

    Attributes:
        prints: For each node and each dimension of a result that may count samples, in order: the
            projections of each sample, and the length of its part.
    """

    def __init__(self, size: int) -> None:
        """Prepare for a run.

        Args:
            size: How many samples there are.
        """
        self._size = size
        self.prints: dict[int, list[list[torch.Tensor]]] = {}

    def before(self, call: Call, values: list[Any]) -> None:
        """Do nothing."""

    def after(self, call: Call, values: list[Any]) -> None:
        """Project the results of a node."""
        found = []
        for slot in call.results:
            value = values[slot]
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                dimensions = [d for d, size in enumerate(value.shape) if size == self._size]
                # A node may run under autocast, which would round the products.
                with torch.autocast(value.device.type, enabled=False):
                    found.append([self._print(value.detach().movedim(d, 0)) for d in dimensions])
        self.prints[call.node] = [each for each in found if each]

    def _print(self, samples: torch.Tensor) -> torch.Tensor:
        rows = samples.flatten(1) if samples.dim() > 1 else samples.unsqueeze(1)
        # Attention masks hold infinities, which no sample changes.
        rows = torch.nan_to_num(rows.float(), nan=0.0, posinf=0.0, neginf=0.0)
        generator = torch.Generator(rows.device).manual_seed(0)
        directions = torch.randn(
            rows.shape[1], _DIRECTIONS, generator=generator, device=rows.device
        )
        return torch.cat([rows @ directions, rows.norm(dim=1, keepdim=True)], dim=1)


def changed(before: Prints, after: Prints, sample: int, tolerance: float) -> dict[int, bool]:
    """Tell for each node with samples whether its result for another one changed.

    Where several dimensions are of that size, all must have changed: one of them counts samples.

    Args:
        before: A run.
        after: The run with another sample.
        sample: Which one was replaced.
        tolerance: Relative change that is none.
    """
    found = {}
    for node, results in before.prints.items():
        if results:
            found[node] = any(
                all(
                    _differ(one, other, sample, tolerance)
                    for one, other in zip(mine, theirs, strict=True)
                )
                for mine, theirs in zip(results, after.prints[node], strict=True)
            )
    return found


def origin(
    graph: graph_pb2.Graph, calls: Sequence[Call], mixed: Mapping[int, bool], node: int
) -> int | None:
    """Return the first mixing node that a node depends on through mixing nodes alone.

    A dimension may be as large as the batch by chance; what is mixed along such a one does not go
    on to the output. Nodes without samples (of a batch and a dimension in one) are followed. Where
    one of these reduces the samples before the mixing node (a mean over the batch), it is meant.

    Args:
        graph: The graph.
        calls: Its nodes, decoded.
        mixed: For each node with samples whether it mixes them.
        node: Where to begin.
    """
    producers = {slot: call.node for call in calls for slot in call.results}

    def before(here: int) -> list[int]:
        return [producers[slot] for slot in calls[here].operands if slot in producers]

    def reached(start: int, *, passing: bool) -> set[int]:
        """Return what leads to a node, through nodes without samples and perhaps mixing ones."""
        found, waiting = set(), [start]
        while waiting:
            here = waiting.pop()
            found.add(here)
            waiting += [
                each
                for each in before(here)
                if each not in found and (each not in mixed or (passing and mixed[each]))
            ]
        return found

    found = []
    if mixed.get(node, True):
        found = [each for each in reached(node, passing=True) if mixed.get(each, False)]
    # What is written through another view of an output does not show in its operands.
    first = min(found or [each for each, mixes in mixed.items() if mixes], default=None)
    if first is None:
        return None
    inner = [each for each in reached(first, passing=False) if each != first]
    return min((each for each in inner if _reduces(graph, calls[each])), default=first)


def _reduces(graph: graph_pb2.Graph, call: Call) -> bool:
    """Tell whether a node makes one of all samples: by its sizes, which are divided by theirs."""
    size = graph.batch_size
    results = [elements(each.shape) for each in graph.nodes[call.node].outputs if each.dtype]
    shapes = _operands(graph, call)
    return bool(results) and any(
        size in shape and elements(shape) and elements(shape) % (max(results[0], 1) * size) == 0
        for shape in shapes
    )


def _operands(graph: graph_pb2.Graph, call: Call) -> Iterator[Sequence[int]]:
    slot = len(graph.tensors)
    starts = []
    for node in graph.nodes:
        starts.append(slot)
        slot += len(node.outputs)
    for operand in call.operands:
        if operand < len(graph.tensors):
            if graph.tensors[operand].role == graph_pb2.Tensor.ROLE_INPUT:
                yield graph.tensors[operand].shape
        else:
            maker = bisect.bisect_right(starts, operand) - 1
            yield graph.nodes[maker].outputs[operand - starts[maker]].shape


def _differ(one: torch.Tensor, other: torch.Tensor, sample: int, tolerance: float) -> bool:
    """Compare projections of all samples but one."""
    difference = (one - other)[:, :-1].abs().amax(1)
    difference[sample] = 0.0
    length = one[:, -1].square().mean().sqrt()
    return bool(difference.amax() > tolerance * length)
