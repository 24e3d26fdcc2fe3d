"""Gradient and autocast modes, entered only where they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from nnlint.probe_service.encode.scalars import dtype_of
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

_KINDS = {
    graph_pb2.Region.Autocast.DEVICE_CPU: "cpu",
    graph_pb2.Region.Autocast.DEVICE_CUDA: "cuda",
}
# What a precision wraps around everything.
_AROUND: dict[int, torch.dtype] = {
    probe_service_pb2.ProbeSettings.PRECISION_AUTOCAST_BFLOAT16: torch.bfloat16,
    probe_service_pb2.ProbeSettings.PRECISION_AUTOCAST_FLOAT16: torch.float16,
}


@dataclass(frozen=True, slots=True)
class Autocast:
    """What torch.autocast is called with."""

    dtype: torch.dtype
    enabled: bool
    cache: bool

    def context(self, device: str) -> torch.autocast:
        """Return the context manager."""
        return torch.autocast(
            device, dtype=self.dtype, enabled=self.enabled, cache_enabled=self.cache
        )


@dataclass(frozen=True, slots=True)
class Mode:
    """What holds in one region, on the device of the probe."""

    grad: bool
    autocast: Autocast | None

    @property
    def casts(self) -> bool:
        """Whether results may have another type than their operands."""
        return self.autocast is not None and self.autocast.enabled


class Modes:
    """The regions of a graph on one device."""

    def __init__(self, graph: graph_pb2.Graph, device: torch.device, precision: int) -> None:
        self.device = device.type
        around = _AROUND.get(precision)
        outer = None if around is None else Autocast(around, enabled=True, cache=True)
        self.modes = tuple(self._mode(region, outer) for region in graph.regions)
        self.chains = _chains(graph)

    def _mode(self, region: graph_pb2.Region, outer: Autocast | None) -> Mode:
        for declared in region.autocasts:
            # Autocast for another kind of device has no effect here.
            if _KINDS.get(declared.device) == self.device:
                dtype = dtype_of(declared.dtype)
                assert dtype is not None
                return Mode(
                    region.grad_enabled, Autocast(dtype, declared.enabled, declared.cache_enabled)
                )
        return Mode(region.grad_enabled, outer)

    @contextmanager
    def entered(self, *, gradients: bool = True) -> Iterator[Switch]:
        """Hold the outermost modes; the yielded object changes to others and back.

        Args:
            gradients: False keeps autograd off in every region.
        """
        switch = Switch(self, gradients=gradients)
        before = torch.is_grad_enabled()
        outer = self.modes[0].autocast
        try:
            if outer is None:
                yield switch
            else:
                with outer.context(self.device):
                    yield switch
                    switch.leave()
        finally:
            switch.leave()
            torch.set_grad_enabled(before)


class Switch:
    """Changes from one region to the next.

    Each region is entered within its parent, as a model does it: what autocast has cached then
    lives until the outermost one ends.
    """

    def __init__(self, modes: Modes, *, gradients: bool = True) -> None:
        self.modes = modes
        self.gradients = gradients
        # The regions that are entered below the outermost one, with what each has entered.
        self.inner: list[tuple[int, torch.autocast | None]] = []

    def leave(self, keep: int = 0) -> None:
        """Return to the outermost autocast, or to the first `keep` of those below it."""
        while len(self.inner) > keep:
            _, context = self.inner.pop()
            if context is not None:
                context.__exit__(None, None, None)

    def to(self, region: int) -> None:
        """Enter the modes of a region."""
        chain = self.modes.chains[region]
        shared = 0
        for (entered, _), wanted in zip(self.inner, chain, strict=False):
            if entered != wanted:
                break
            shared += 1
        self.leave(shared)
        for each in chain[shared:]:
            context = self._context(each)
            if context is not None:
                context.__enter__()  # type: ignore[no-untyped-call]
            self.inner.append((each, context))
        torch.set_grad_enabled(self.modes.modes[region].grad and self.gradients)

    def _context(self, region: int) -> torch.autocast | None:
        """Return what a region enters on top of the one before it, None for the same autocast."""
        before = self.modes.modes[self.inner[-1][0] if self.inner else 0].autocast
        wanted = self.modes.modes[region].autocast
        if wanted == before:
            return None
        if wanted is None:
            assert before is not None
            wanted = Autocast(before.dtype, enabled=False, cache=before.cache)
        return wanted.context(self.modes.device)


def _chains(graph: graph_pb2.Graph) -> tuple[tuple[int, ...], ...]:
    """Return for each region the way to it from the outermost one, which is left out."""
    chains: list[tuple[int, ...]] = []
    for index, region in enumerate(graph.regions):
        chains.append(() if index == 0 else (*chains[region.parent], index))
    return tuple(chains)
