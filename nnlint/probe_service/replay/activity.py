"""How units behave over many samples: which never fire, which never leave their flat region."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from nnlint.probe_service.replay.plan import Plan, Units
from nnlint.protos.v1 import measurement_pb2


class Activity:
    """Accumulates on the device; one transfer at the end.

    A unit has fired when any of its results, of any sample at any position, was not exactly zero;
    it has responded when any lay inside the interval in which its operator has a slope. NaN counts
    as both: a unit is only accused of what was seen.

    Attributes:
        watch: What `Program.forward` is to do with the results.
    """

    def __init__(self, plan: Plan, device: torch.device, nodes: int) -> None:
        """Prepare the accumulators.

        Args:
            plan: Says which activations have units.
            device: Where the program runs.
            nodes: How many nodes the graph has.
        """
        self._units = plan.units
        self._fired = [
            torch.zeros(each.count, dtype=torch.bool, device=device) for each in plan.units
        ]
        self._responded = [torch.zeros_like(each) for each in self._fired]
        self.watch: list[Callable[[torch.Tensor], None] | None] = [None] * nodes
        for position, units in enumerate(plan.units):
            self.watch[units.node] = self._observer(position, units)

    def with_meter(
        self, watch: Sequence[Callable[[torch.Tensor], None] | None]
    ) -> list[Callable[[torch.Tensor], None] | None]:
        """Return what does both, for steps whose own samples are looked at."""
        return [
            mine if other is None else other if mine is None else both(mine, other)
            for mine, other in zip(self.watch, watch, strict=True)
        ]

    def messages(self, samples: int) -> list[measurement_pb2.UnitActivity]:
        """Return what was seen, for each activation.

        Args:
            samples: How many samples went through.
        """
        if not self._units:
            return []
        flags = torch.cat([*self._fired, *self._responded]).tolist()
        total = sum(units.count for units in self._units)
        found, start = [], 0
        for units in self._units:
            fired = flags[start : start + units.count]
            responded = flags[total + start : total + start + units.count]
            start += units.count
            dead = [units.can_be_dead and not each for each in fired]
            # Zero is a flat region of ReLU6 and its like as well; a dead unit is told as dead.
            flat = [
                units.responsive is not None and not inside and not off
                for inside, off in zip(responded, dead, strict=True)
            ]
            found.append(
                measurement_pb2.UnitActivity(
                    node=units.node,
                    dimension=units.dimension,
                    units=units.count,
                    samples=samples,
                    dead=sum(dead),
                    saturated=sum(flat),
                    dead_units=_bits(dead),
                    saturated_units=_bits(flat),
                    can_be_dead=units.can_be_dead,
                    can_saturate=units.responsive is not None,
                )
            )
        return found

    def _observer(self, position: int, units: Units) -> Callable[[torch.Tensor], None]:
        fired, responded = self._fired[position], self._responded[position]

        def see(value: torch.Tensor) -> None:
            value = value.detach()
            others = [each for each in range(value.dim()) if each != units.dimension]
            if units.can_be_dead:
                # Reductions run at the speed of memory, comparisons of every element do not.
                high, low = (value.amax(others), value.amin(others)) if others else (value, value)
                fired.logical_or_((high != 0) | (low != 0))
            if units.responsive is not None:
                low_end, high_end = units.responsive
                off_middle = (value - (low_end + high_end) / 2).abs_()
                nearest = off_middle.amin(others) if others else off_middle
                responded.logical_or_((nearest < (high_end - low_end) / 2) | nearest.isnan())

        return see


def both(
    one: Callable[[torch.Tensor], None], other: Callable[[torch.Tensor], None]
) -> Callable[[torch.Tensor], None]:
    """Return what does one thing with a tensor, then the other."""

    def see(value: torch.Tensor) -> None:
        one(value)
        other(value)

    return see


def _bits(flags: Sequence[bool]) -> bytes:
    packed = bytearray((len(flags) + 7) // 8)
    for position, flag in enumerate(flags):
        packed[position // 8] |= flag << position % 8
    return bytes(packed)
