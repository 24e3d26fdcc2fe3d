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

    Inner modes are entered on top of the outermost ones, as a model does it: what autocast has
    cached then lives until the outermost one ends.
    """

    def __init__(self, modes: Modes, *, gradients: bool = True) -> None:
        self.modes = modes
        self.gradients = gradients
        self.inner: torch.autocast | None = None

    def leave(self) -> None:
        """Return to the outermost autocast."""
        if self.inner is not None:
            self.inner.__exit__(None, None, None)
            self.inner = None

    def to(self, region: int) -> None:
        """Enter the modes of a region."""
        self.leave()
        mode, outer = self.modes.modes[region], self.modes.modes[0].autocast
        if mode.autocast != outer:
            wanted = mode.autocast
            if wanted is None:
                assert outer is not None
                wanted = Autocast(outer.dtype, enabled=False, cache=outer.cache)
            self.inner = wanted.context(self.modes.device)
            self.inner.__enter__()  # type: ignore[no-untyped-call]
        torch.set_grad_enabled(mode.grad and self.gradients)
