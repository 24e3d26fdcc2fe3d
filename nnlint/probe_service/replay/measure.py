"""Measure one step without disturbing it.

Every statistic is reduced on the device into its place in one preallocated buffer, which crosses to
the host once a step: nothing waits for the device in between. For each tensor that is the norm, and
the largest value both ways; the largest magnitude is exact, and it is what says whether all values
are finite, since a norm may overflow where the values do not.

Norms are taken in float32. Squares of values beyond 1e19 overflow there and those below 1e-19
vanish, so the root mean square of such a tensor comes out wrong while its largest magnitude is
right: `Reading.doubtful` names these, and a `Meter` that is told to be careful with them measures
them in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from nnlint.probe_service.replay.activity import both
from nnlint.probe_service.replay.histograms import Histograms
from nnlint.probe_service.replay.parameters import Parameters, Places, Share
from nnlint.probe_service.replay.plan import Observed, Plan
from nnlint.probe_service.replay.reading import Decoder, Doubtful, OfNode, OfParameter, Reading
from nnlint.probe_service.replay.reducing import (
    TINY,
    Held,
    Slots,
    at_once,
    careful,
    for_size,
    slots,
)


class Meter:
    """Measures steps of one program, one after the other.

    Attributes:
        watch: What `Program.forward` is to do with the results.
    """

    def __init__(
        self,
        plan: Plan,
        device: torch.device,
        nodes: int,
        *,
        care: Doubtful | None = None,
        histograms: bool = False,
    ) -> None:
        """Prepare the buffer.

        Args:
            plan: What is observed.
            device: Where the program runs.
            nodes: How many nodes the graph has.
            care: What is measured in float64.
            histograms: Whether values are counted by magnitude as well.
        """
        self.plan = plan
        self.care = care or Doubtful()
        self._decoder = Decoder(plan, self.care)
        self._blank = self._decoder.blank().to(device)
        self._buffer = self._blank.clone()
        self._host = torch.empty(self._buffer.shape, pin_memory=device.type == "cuda")
        self._held = Held(cuda=device.type == "cuda")
        self._parameters: Parameters | None = None
        self._histograms: Histograms | None = None
        if histograms:
            self._histograms = Histograms(len(plan.nodes), len(plan.parameters), device)
        self.watch: list[Callable[[torch.Tensor], None] | None] = [None] * nodes
        for position, observed in enumerate(plan.nodes):
            self.watch[observed.node] = self._observer(position, observed)

    def begin(self) -> None:
        """Forget the step before."""
        self._buffer.copy_(self._blank)
        if self._histograms is not None:
            self._histograms.begin()

    def loss(self, loss: torch.Tensor) -> None:
        """Take the loss, after the forward pass; in two parts, since it may be a float64."""
        self._held.flush()
        value = loss.detach().reshape(())
        self._buffer[-2].copy_(value)
        self._buffer[-1].copy_(value - self._buffer[-2])

    def gradients(self, parameters: Sequence[torch.Tensor], divided: Sequence[Share]) -> Parameters:
        """Return what measures parameters and gradients, share by share around the step."""
        self._held.flush()
        if self._parameters is None:
            self._parameters = Parameters(parameters, divided, self._places(), self.care.parameters)
        if self._histograms is not None:
            for position, parameter in enumerate(parameters):
                self._histograms.parameter(position, parameter)
        return self._parameters

    def read(self) -> Reading:
        """Bring the step to the host: the one transfer, and the one wait for the device.

        Histograms come after it in a transfer of their own.
        """
        self._held.flush()
        self._host.copy_(self._buffer)
        reading = self._decoder.read(self._host)
        if self._histograms is not None:
            reading.statistics.histograms.CopyFrom(self._histograms.message())
        return reading

    def _places(self) -> Places:
        count = len(self.plan.parameters)
        place = self._decoder.parameter_place

        def at(position: int, *rows: OfParameter) -> Slots:
            return slots(self._buffer, *[place(row, position) for row in rows])

        def row(which: OfParameter) -> torch.Tensor:
            return self._buffer[place(which, 0) : place(which, 0) + count]

        every = range(count)
        return Places(
            values=tuple(at(each, OfParameter.NORM) for each in every),
            gradients=tuple(
                at(
                    each,
                    OfParameter.GRADIENT_NORM,
                    OfParameter.GRADIENT_HIGH,
                    OfParameter.GRADIENT_LOW,
                )
                for each in every
            ),
            changes=tuple(
                at(each, OfParameter.UPDATE, OfParameter.UPDATE_HIGH, OfParameter.UPDATE_LOW)
                for each in every
            ),
            rows=(row(OfParameter.NORM), row(OfParameter.UPDATE), row(OfParameter.UPDATE_HIGH)),
        )

    def _reducer(
        self, into: Slots, count: int, *, care: bool, now: bool = False
    ) -> Callable[[torch.Tensor], None]:
        """Return what reduces the tensors of one place, of so many elements."""
        if care:
            return lambda value: careful(value, into)
        held = self._held
        if self._buffer.is_cuda or (count <= TINY and not now):
            if now:
                return lambda value: at_once(value, into)
            return lambda value: held.add(value, into)
        plain, float32 = for_size(into, count), torch.float32

        def reduce(value: torch.Tensor) -> None:
            if value.dtype is float32:
                plain(value)
            else:
                at_once(value, into)

        return reduce

    def _observer(self, position: int, observed: Observed) -> Callable[[torch.Tensor], None]:
        def place(row: OfNode) -> int:
            return self._decoder.node_place(row, position)

        into = slots(
            self._buffer,
            place(OfNode.NORM),
            place(OfNode.HIGH),
            -1 if observed.never_negative else place(OfNode.LOW),
            place(OfNode.NONZEROS) if observed.counts_zeros else -1,
        )
        gradient_into = slots(
            self._buffer,
            place(OfNode.GRADIENT_NORM),
            place(OfNode.GRADIENT_HIGH),
            place(OfNode.GRADIENT_LOW),
        )
        count = observed.elements
        reduce = self._reducer(
            into, count, care=position in self.care.values, now=observed.overwritten
        )
        see_gradient = self._reducer(gradient_into, count, care=position in self.care.gradients)
        if self._histograms is not None:
            reduce = both(self._histograms.of_value(position), reduce)
            see_gradient = both(self._histograms.of_gradient(position), see_gradient)

        def see(value: torch.Tensor) -> None:
            if value.requires_grad:
                value.register_hook(see_gradient)  # type: ignore[no-untyped-call]
            reduce(value.detach())

        return see
