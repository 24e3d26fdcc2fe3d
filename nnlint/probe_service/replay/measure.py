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

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from nnlint.probe_service.replay.parameters import Parameters, Rows
from nnlint.probe_service.replay.plan import Observed, Plan
from nnlint.probe_service.replay.reducing import Held, Reducer, at_once, careful, slots
from nnlint.protos.v1 import measurement_pb2

# Beyond these, sums of squares in float32 lose their digits.
_SMALL, _LARGE = 1e-16, 1e17
_NOTHING = -1.0
# Rows of the buffer: for the nodes, then for the parameters.
_NORM, _HIGH, _LOW, _NONZEROS, _GRADIENT_NORM, _GRADIENT_HIGH, _GRADIENT_LOW = range(7)
_NODE_ROWS = 7
_P_NORM, _P_GRADIENT_NORM, _P_GRADIENT_HIGH, _P_GRADIENT_LOW, _P_UPDATE, _P_UPDATE_HIGH = range(6)
_PARAMETER_ROWS = 6


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Which root mean squares float32 could not hold.

    Attributes:
        values: Positions in `Plan.nodes`, for the values.
        gradients: Likewise for the gradients of the values.
        parameters: Positions in `Plan.parameters`.
    """

    values: frozenset[int] = frozenset()
    gradients: frozenset[int] = frozenset()
    parameters: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.values or self.gradients or self.parameters)

    def __or__(self, other: Doubtful) -> Doubtful:
        return Doubtful(
            self.values | other.values,
            self.gradients | other.gradients,
            self.parameters | other.parameters,
        )

    def __le__(self, other: Doubtful) -> bool:
        return (
            self.values <= other.values
            and self.gradients <= other.gradients
            and self.parameters <= other.parameters
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What one step gave.

    Attributes:
        statistics: As it is sent; without step and seconds.
        doubtful: What has to be measured again with care.
        poisoned: Whether the loss or a gradient of a parameter is not finite.
        has_nan: Whether any value or gradient is NaN.
        broken: Positions in `Plan.parameters` whose gradient is finite and whose update is not.
    """

    statistics: measurement_pb2.StepStatistics
    doubtful: Doubtful
    poisoned: bool
    has_nan: bool
    broken: tuple[int, ...] = field(default=())


class Meter:
    """Measures steps of one program, one after the other.

    Attributes:
        watch: What `Program.forward` is to do with the results.
    """

    def __init__(
        self, plan: Plan, device: torch.device, nodes: int, *, care: Doubtful | None = None
    ) -> None:
        """Prepare the buffer.

        Args:
            plan: What is observed.
            device: Where the program runs.
            nodes: How many nodes the graph has.
            care: What is measured in float64.
        """
        self.plan = plan
        self.care = care or Doubtful()
        count, parameters = len(plan.nodes), len(plan.parameters)
        self._size = _NODE_ROWS * count
        total = self._size + _PARAMETER_ROWS * parameters + 2
        blank = torch.zeros(total)
        for row in (_NORM, _NONZEROS, _GRADIENT_NORM):
            blank[row * count : (row + 1) * count] = _NOTHING
        for row in (_P_NORM, _P_GRADIENT_NORM, _P_UPDATE):
            start = self._size + row * parameters
            blank[start : start + parameters] = _NOTHING
        self._blank = blank.to(device)
        self._buffer = self._blank.clone()
        self._host = torch.empty(total, pin_memory=device.type == "cuda")
        self._held = Held(cuda=device.type == "cuda")
        self._parameters: Parameters | None = None
        self.watch: list[Callable[[torch.Tensor], None] | None] = [None] * nodes
        for position, observed in enumerate(plan.nodes):
            self.watch[observed.node] = self._observer(position, observed)

    def begin(self) -> None:
        """Forget the step before."""
        self._buffer.copy_(self._blank)

    def loss(self, loss: torch.Tensor) -> None:
        """Take the loss, after the forward pass; in two parts, since it may be a float64."""
        self._held.flush()
        value = loss.detach().reshape(())
        self._buffer[-2].copy_(value)
        self._buffer[-1].copy_(value - self._buffer[-2])

    def gradients(self, parameters: Sequence[torch.Tensor]) -> None:
        """Measure parameters and their gradients, after the backward pass."""
        if self._parameters is None:
            self._parameters = Parameters(parameters, self._rows(), self.care.parameters)
        self._parameters.gradients(self._held)

    def updates(self) -> None:
        """Measure what the optimiser has changed."""
        if self._parameters is not None:
            self._parameters.updates()

    def read(self) -> Reading:
        """Bring the step to the host: the one transfer, and the one wait for the device."""
        self._held.flush()
        self._host.copy_(self._buffer)
        return _Decoder(self.plan, self.care, self._host.tolist()).reading()

    def _rows(self) -> Rows:
        count = len(self.plan.parameters)

        def start(row: int) -> int:
            return self._size + row * count

        def row(which: int) -> torch.Tensor:
            return self._buffer[start(which) : start(which) + count]

        return Rows(
            norm=row(_P_NORM),
            update=row(_P_UPDATE),
            update_high=row(_P_UPDATE_HIGH),
            gradients=tuple(
                slots(
                    self._buffer,
                    start(_P_GRADIENT_NORM) + position,
                    start(_P_GRADIENT_HIGH) + position,
                    start(_P_GRADIENT_LOW) + position,
                )
                for position in range(count)
            ),
        )

    def _reducer(self, *, care: bool, now: bool = False) -> Reducer:
        if care:
            return careful
        return at_once if now else self._held.add

    def _observer(self, position: int, observed: Observed) -> Callable[[torch.Tensor], None]:
        count = len(self.plan.nodes)

        def place(row: int) -> int:
            return row * count + position

        into = slots(
            self._buffer,
            place(_NORM),
            place(_HIGH),
            -1 if observed.never_negative else place(_LOW),
            place(_NONZEROS) if observed.counts_zeros else -1,
        )
        gradient_into = slots(
            self._buffer, place(_GRADIENT_NORM), place(_GRADIENT_HIGH), place(_GRADIENT_LOW)
        )
        reduce = self._reducer(care=position in self.care.values, now=observed.overwritten)
        reduce_gradient = self._reducer(care=position in self.care.gradients)

        def see_gradient(gradient: torch.Tensor) -> None:
            reduce_gradient(gradient, gradient_into)

        def see(value: torch.Tensor) -> None:
            if value.requires_grad:
                value.register_hook(see_gradient)  # type: ignore[no-untyped-call]
            reduce(value.detach(), into)

        return see


class _Decoder:
    """Reads the buffer of one step."""

    def __init__(self, plan: Plan, care: Doubtful, numbers: list[float]) -> None:
        self.plan = plan
        self.care = care
        self.numbers = numbers
        self.statistics = measurement_pb2.StepStatistics(measured=True)
        self.has_nan = False

    def _row(self, row: int, *, parameters: bool = False) -> list[float]:
        count = len(self.plan.nodes)
        if not parameters:
            return self.numbers[row * count : (row + 1) * count]
        start = _NODE_ROWS * count
        count = len(self.plan.parameters)
        return self.numbers[start + row * count : start + (row + 1) * count]

    def reading(self) -> Reading:
        statistics, plan = self.statistics, self.plan
        high, low = self.numbers[-2:]
        statistics.loss = high + low if math.isfinite(high) else high
        counts = [each.elements for each in plan.nodes]
        values = self._magnitudes(
            self._row(_NORM), counts, self._row(_HIGH), self._row(_LOW), self.care.values
        )
        statistics.activation_rms.extend(values.rms)
        statistics.activation_abs_max.extend(values.peaks)
        statistics.activation_zero_fraction.extend(
            others if others < 0 else 1 - others / count
            for others, count in zip(self._row(_NONZEROS), counts, strict=True)
        )
        gradients = self._magnitudes(
            self._row(_GRADIENT_NORM),
            counts,
            self._row(_GRADIENT_HIGH),
            self._row(_GRADIENT_LOW),
            self.care.gradients,
        )
        statistics.gradient_rms.extend(gradients.rms)
        statistics.gradient_abs_max.extend(gradients.peaks)
        parameters, poisoned, broken = self._of_parameters()
        return Reading(
            statistics=statistics,
            doubtful=Doubtful(values.doubtful, gradients.doubtful, parameters),
            poisoned=poisoned or not math.isfinite(statistics.loss),
            has_nan=self.has_nan,
            broken=broken,
        )

    def _of_parameters(self) -> tuple[frozenset[int], bool, tuple[int, ...]]:
        statistics, counts, care = (
            self.statistics,
            self.plan.parameter_elements,
            self.care.parameters,
        )
        gradients = self._magnitudes(
            self._row(_P_GRADIENT_NORM, parameters=True),
            counts,
            self._row(_P_GRADIENT_HIGH, parameters=True),
            self._row(_P_GRADIENT_LOW, parameters=True),
            care,
        )
        norms = self._row(_P_NORM, parameters=True)
        changes = self._row(_P_UPDATE, parameters=True)
        broken = []
        peaks = self._row(_P_UPDATE_HIGH, parameters=True)
        doubtful = set(gradients.doubtful)
        for position, count in enumerate(counts):
            scale = 1.0 if position in care else 1 / math.sqrt(max(count, 1))
            rms = _scaled(norms[position], scale)
            change = _scaled(changes[position], scale)
            peak = gradients.peaks[position]
            vanished = change == 0 and peaks[position] > 0
            if position not in care and (_lost(rms) or _lost(change) or vanished):
                doubtful.add(position)
            if math.isfinite(peak) and math.isfinite(rms) and not math.isfinite(change):
                broken.append(position)
            statistics.parameter_rms.append(rms)
            statistics.update_ratio.append(_ratio(change, rms))
        statistics.parameter_gradient_rms.extend(gradients.rms)
        statistics.parameter_gradient_abs_max.extend(gradients.peaks)
        poisoned = any(not math.isfinite(peak) for peak in gradients.peaks)
        return frozenset(doubtful), poisoned, tuple(broken)

    def _magnitudes(
        self,
        norms: Sequence[float],
        counts: Sequence[int],
        highs: Sequence[float],
        lows: Sequence[float],
        care: Collection[int],
    ) -> _Magnitudes:
        rms, peaks, doubtful = [], [], []
        for position, (norm, count, high, low) in enumerate(
            zip(norms, counts, highs, lows, strict=True)
        ):
            if norm == _NOTHING:
                rms.append(_NOTHING)
                peaks.append(_NOTHING)
                continue
            peak = high if math.isnan(high) else low if math.isnan(low) else max(high, -low)
            self.has_nan = self.has_nan or math.isnan(peak)
            if position in care:
                rms.append(norm)
            else:
                rms.append(norm / math.sqrt(max(count, 1)))
                if 0 < peak < _SMALL or _LARGE < peak < math.inf:
                    doubtful.append(position)
            peaks.append(peak)
        return _Magnitudes(rms, peaks, frozenset(doubtful))


@dataclass(frozen=True, slots=True)
class _Magnitudes:
    rms: list[float]
    peaks: list[float]
    doubtful: frozenset[int]


def _scaled(norm: float, scale: float) -> float:
    return norm if norm == _NOTHING else norm * scale


def _lost(rms: float) -> bool:
    """Tell whether float32 may not have held the squares, with no largest magnitude to go by."""
    return 0 < rms < _SMALL or rms > _LARGE


def _ratio(change: float, rms: float) -> float:
    if change == _NOTHING:
        return _NOTHING
    if rms > 0 or math.isnan(rms):
        return change / rms
    return math.inf if change > 0 else 0.0
