"""Find the first node of a graph whose result for a sample depends on other samples.

Results are not kept: each sample's part of one is projected onto a few random directions. Where a
part changes by a vector of some length, its projections change by about that length.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from nnlint.probe_service.replay.decode import Call

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


def origin(calls: Sequence[Call], mixed: Mapping[int, bool], node: int) -> int | None:
    """Return the first mixing node that a node depends on through mixing nodes alone.

    A dimension may be as large as the batch by chance; what is mixed along such a one does not go
    on to the output. Nodes without samples (of a batch and a dimension in one) are followed.

    Args:
        calls: The nodes.
        mixed: For each node with samples whether it mixes them.
        node: Where to begin.
    """
    producers = {slot: call.node for call in calls for slot in call.results}
    reached: set[int] = set()
    waiting = [node] if mixed.get(node, True) else []
    while waiting:
        here = waiting.pop()
        reached.add(here)
        waiting += [
            before
            for before in _before(calls[here], producers)
            if before not in reached and mixed.get(before, True)
        ]
    found = sorted(each for each in reached if mixed.get(each, False))
    # What is written through another view of an output does not show in its operands.
    return next(itertools.chain(found, sorted(n for n, each in mixed.items() if each)), None)


def _before(call: Call, producers: Mapping[int, int]) -> Iterator[int]:
    return (producers[slot] for slot in call.operands if slot in producers)


def _differ(one: torch.Tensor, other: torch.Tensor, sample: int, tolerance: float) -> bool:
    """Compare projections of all samples but one."""
    difference = (one - other)[:, :-1].abs().amax(1)
    difference[sample] = 0.0
    length = one[:, -1].square().mean().sqrt()
    return bool(difference.amax() > tolerance * length)
