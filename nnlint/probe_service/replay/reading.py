"""From the buffer of a step to its statistics, on the host."""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from nnlint.probe_service.replay.plan import Plan
from nnlint.protos.v1 import measurement_pb2

# Beyond these, sums of squares in float32 lose their digits.
_SMALL, _LARGE = 1e-16, 1e17
_NOTHING = -1.0


class OfNode(enum.IntEnum):
    """Rows of the buffer with one entry for each observed node."""

    NORM = 0
    HIGH = 1
    LOW = 2
    NONZEROS = 3
    GRADIENT_NORM = 4
    GRADIENT_HIGH = 5
    GRADIENT_LOW = 6


class OfParameter(enum.IntEnum):
    """Rows that follow, with one entry for each parameter."""

    NORM = 0
    GRADIENT_NORM = 1
    GRADIENT_HIGH = 2
    GRADIENT_LOW = 3
    UPDATE = 4
    UPDATE_HIGH = 5
    UPDATE_LOW = 6


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
    broken: tuple[int, ...] = ()


class Decoder:
    """Knows where everything is in the buffer of one meter."""

    def __init__(self, plan: Plan, care: Doubtful) -> None:
        """Lay out the buffer.

        Args:
            plan: What is observed.
            care: What is measured in float64: its norm's place holds the root mean square.
        """
        self._nodes, self._parameters = len(plan.nodes), len(plan.parameters)
        self._start = len(OfNode) * self._nodes
        counts = [each.elements for each in plan.nodes]
        self._counts = torch.tensor(counts, dtype=torch.float64)
        self._values = _Scale.of(counts, care.values)
        self._gradients = _Scale.of(counts, care.gradients)
        self._of_parameters = _Scale.of(plan.parameter_elements, care.parameters)

    def blank(self) -> torch.Tensor:
        """Return the buffer of a step in which nothing has been measured."""
        blank = torch.zeros(self._start + len(OfParameter) * self._parameters + 2)
        nodes, parameters = self._split(blank)
        nodes[[OfNode.NORM, OfNode.NONZEROS, OfNode.GRADIENT_NORM]] = _NOTHING
        parameters[[OfParameter.NORM, OfParameter.GRADIENT_NORM, OfParameter.UPDATE]] = _NOTHING
        return blank

    def node_place(self, row: OfNode, position: int) -> int:
        """Return the place for one observed node."""
        return row * self._nodes + position

    def parameter_place(self, row: OfParameter, position: int) -> int:
        """Return the place for one parameter."""
        return self._start + row * self._parameters + position

    def read(self, buffer: torch.Tensor) -> Reading:
        """Return what a buffer on the host says; its last two entries add up to the loss."""
        wide = buffer.double()
        nodes, parameters = self._split(wide)
        high, low = wide[-2:].tolist()
        values = self._values.magnitudes(nodes[OfNode.NORM], nodes[OfNode.HIGH], nodes[OfNode.LOW])
        gradients = self._gradients.magnitudes(
            nodes[OfNode.GRADIENT_NORM], nodes[OfNode.GRADIENT_HIGH], nodes[OfNode.GRADIENT_LOW]
        )
        others = nodes[OfNode.NONZEROS]
        its_gradients = self._of_parameters.magnitudes(
            parameters[OfParameter.GRADIENT_NORM],
            parameters[OfParameter.GRADIENT_HIGH],
            parameters[OfParameter.GRADIENT_LOW],
        )
        rms = self._of_parameters.rms(parameters[OfParameter.NORM])
        change = self._of_parameters.rms(parameters[OfParameter.UPDATE])
        ratio = torch.where(rms == 0, torch.where(change > 0, math.inf, 0.0), change / rms)
        vanished = (change == 0) & (
            torch.maximum(parameters[OfParameter.UPDATE_HIGH], -parameters[OfParameter.UPDATE_LOW])
            > 0
        )
        # No largest magnitude tells whether these overflowed or are infinite.
        infinite = (rms == math.inf) | (change == math.inf)
        lost = self._of_parameters.plain & (_lost(rms) | _lost(change) | infinite | vanished)
        broken = its_gradients.finite & rms.isfinite() & ~change.isfinite()
        statistics = measurement_pb2.StepStatistics(
            measured=True,
            loss=high + low if math.isfinite(high) else high,
            activation_rms=values.rms.tolist(),
            activation_abs_max=values.peaks.tolist(),
            activation_zero_fraction=torch.where(
                others < 0, _NOTHING, 1 - others / self._counts
            ).tolist(),
            gradient_rms=gradients.rms.tolist(),
            gradient_abs_max=gradients.peaks.tolist(),
            parameter_rms=rms.tolist(),
            parameter_gradient_rms=its_gradients.rms.tolist(),
            parameter_gradient_abs_max=its_gradients.peaks.tolist(),
            update_ratio=torch.where(change == _NOTHING, _NOTHING, ratio).tolist(),
        )
        return Reading(
            statistics=statistics,
            doubtful=Doubtful(
                _positions(values.doubtful),
                _positions(gradients.doubtful),
                _positions(its_gradients.doubtful | lost),
            ),
            poisoned=not (math.isfinite(high) and bool(its_gradients.finite.all())),
            has_nan=any(
                bool(each.peaks.isnan().any()) for each in (values, gradients, its_gradients)
            ),
            broken=tuple(sorted(_positions(broken))),
        )

    def _split(self, buffer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the nodes and those of the parameters."""
        return (
            buffer[: self._start].view(len(OfNode), self._nodes),
            buffer[self._start : -2].view(len(OfParameter), self._parameters),
        )


@dataclass(frozen=True, slots=True)
class _Magnitudes:
    rms: torch.Tensor
    peaks: torch.Tensor
    doubtful: torch.Tensor

    @property
    def finite(self) -> torch.Tensor:
        return self.peaks.isfinite()


@dataclass(frozen=True, slots=True)
class _Scale:
    """What makes root mean squares of norms, and which entries are norms."""

    roots: torch.Tensor
    plain: torch.Tensor

    @classmethod
    def of(cls, counts: Sequence[int], care: Collection[int]) -> _Scale:
        """Return the scale for tensors of so many elements."""
        plain = torch.tensor([each not in care for each in range(len(counts))], dtype=torch.bool)
        elements = torch.tensor(counts, dtype=torch.float64).clamp_(min=1)
        return cls(torch.where(plain, elements.sqrt(), 1.0), plain)

    def rms(self, norms: torch.Tensor) -> torch.Tensor:
        return torch.where(norms == _NOTHING, _NOTHING, norms / self.roots)

    def magnitudes(
        self, norms: torch.Tensor, highs: torch.Tensor, lows: torch.Tensor
    ) -> _Magnitudes:
        absent = norms == _NOTHING
        # NaN in either bound stays NaN.
        peaks = torch.where(absent, _NOTHING, torch.maximum(highs, -lows))
        # Many values below the bound can still add up to more than float32 holds.
        doubtful = _lost(peaks) | (norms.isinf() & peaks.isfinite())
        return _Magnitudes(self.rms(norms), peaks, self.plain & doubtful)


def _lost(magnitudes: torch.Tensor) -> torch.Tensor:
    """Tell where float32 may not hold the squares."""
    tiny = (magnitudes > 0) & (magnitudes < _SMALL)
    return tiny | (magnitudes > _LARGE) & magnitudes.isfinite()


def _positions(flags: torch.Tensor) -> frozenset[int]:
    return frozenset(flags.nonzero().flatten().tolist()) if bool(flags.any()) else frozenset()
