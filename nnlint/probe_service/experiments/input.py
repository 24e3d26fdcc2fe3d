"""Look at inputs and targets: how large, how often the same, how labels are distributed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay.samples import batch_dimension
from nnlint.protos.v1 import measurement_pb2, probe_service_pb2

KIND = "input"
# Elements that are widened to float64 or to int64 at a time.
_PIECE = 1 << 22
# Labels are counted where this many numbers span them.
_MOST_LABELS = 100_000
_INTEGERS = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
_WORDS = {1: torch.uint8, 2: torch.int16}


def needs(_experiment: probe_service_pb2.InputExperiment) -> Needs:
    """Return what memory it takes: a piece of one input beside what a step has."""
    return Needs()


def run(experiment: probe_service_pb2.InputExperiment, context: Context) -> None:
    """Run it: once over all batches, and once more to count labels whose range is known then."""
    context.stage(probe_service_pb2.Stage.KIND_RUNNING)
    program = context.program
    seen: dict[int, _Seen] = {}
    for step in range(experiment.batches):
        for index, tensor in program.inputs(step).items():
            size = program.graph.batch_size
            seen.setdefault(index, _Seen.of(tensor, size)).add(tensor.detach())
        context.progress(step + 1, experiment.batches, 0.0, 0.0)
    found = {index: each.message(index) for index, each in seen.items()}
    counted = {
        index: Labels(int(message.minimum), int(message.maximum), program.device)
        for index, message in found.items()
        if seen[index].integers and message.elements and _narrow(message)
    }
    for step in range(experiment.batches if counted else 0):
        tensors = program.inputs(step)
        for index, labels in counted.items():
            labels.add(tensors[index])
    for index, labels in counted.items():
        found[index].labels.CopyFrom(labels.message())
    context.finish(
        measurement_pb2.ExperimentResult(
            input=measurement_pb2.InputResult(tensors=[found[index] for index in sorted(found)])
        )
    )


class Labels:
    """Counts integers of a known range, on the device."""

    def __init__(self, first: int, last: int, device: torch.device) -> None:
        self._first = first
        self._counts = torch.zeros(last - first + 1, dtype=torch.int64, device=device)

    def add(self, values: torch.Tensor) -> None:
        """Count the elements of a tensor."""
        for piece in values.detach().reshape(-1).split(_PIECE):  # type: ignore[no-untyped-call]
            places = piece.to(torch.int64) - self._first
            self._counts.scatter_add_(0, places, torch.ones_like(places))

    def message(self) -> measurement_pb2.LabelCounts:
        """Return the counts."""
        return measurement_pb2.LabelCounts(first=self._first, counts=self._counts.tolist())


@dataclass(slots=True)
class _Seen:
    """What was seen of one tensor of the graph.

    Attributes:
        integers: Whether its elements may be labels.
        dimension: Counts samples, None where no dimension does.
        moments: Count, mean and sum of squared differences from it, least and largest of the
            finite values, NaNs and infinities; float64 on the device.
        elements: How many were looked at.
        prints: For each batch, two numbers for each sample that tell it from others.
    """

    integers: bool
    dimension: int | None
    moments: torch.Tensor
    elements: int = 0
    prints: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, tensor: torch.Tensor, batch_size: int) -> _Seen:
        """Return what is seen before the first batch."""
        start = [0.0, 0.0, 0.0, float("inf"), float("-inf"), 0.0, 0.0]
        return cls(
            tensor.dtype in _INTEGERS,
            batch_dimension(tensor.shape, batch_size),
            torch.tensor(start, dtype=torch.float64, device=tensor.device),
        )

    def add(self, tensor: torch.Tensor) -> None:
        """Look at one batch."""
        self.elements += tensor.numel()
        values = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        for piece in values.reshape(-1).split(_PIECE):  # type: ignore[no-untyped-call]
            if piece.numel():
                self.moments = _joined(self.moments, _moments(piece.double()))
        if self.dimension is not None and tensor.numel():
            self.prints.append(_prints(_samples(tensor, self.dimension)))

    def message(self, index: int) -> measurement_pb2.InputResult.Statistics:
        """Return it as it is sent: here the device is waited for."""
        count, mean, squares, least, most, nans, infinities = self.moments.tolist()
        repeated = 0
        if self.prints:
            samples = Counter(map(tuple, torch.cat(self.prints, 1).t().tolist()))
            repeated = sum(times for times in samples.values() if times > 1)
        return measurement_pb2.InputResult.Statistics(
            tensor=index,
            mean=mean,
            standard_deviation=(squares / count) ** 0.5 if count else 0.0,
            minimum=least if count else 0.0,
            maximum=most if count else 0.0,
            elements=self.elements,
            nan_count=int(nans),
            infinite_count=int(infinities),
            repeated_samples=repeated,
        )


def _narrow(message: measurement_pb2.InputResult.Statistics) -> bool:
    """Tell whether few numbers span the labels; beyond 2^53 float64 does not tell them exactly."""
    span = message.maximum - message.minimum
    return span < _MOST_LABELS and abs(message.maximum) < 1 << 53 > abs(message.minimum)


def _moments(values: torch.Tensor) -> torch.Tensor:
    finite = values.isfinite()
    count = finite.sum(dtype=torch.float64)
    mean = torch.where(finite, values, 0.0).sum() / count.clamp(min=1)
    return torch.stack(
        [
            count,
            mean,
            torch.where(finite, values - mean, 0.0).square().sum(),
            torch.where(finite, values, float("inf")).amin(),
            torch.where(finite, values, float("-inf")).amax(),
            values.isnan().sum(dtype=torch.float64),
            values.isinf().sum(dtype=torch.float64),
        ]
    )


def _joined(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Join the moments of two parts (Chan, Golub, LeVeque: Updating formulae, 1979)."""
    count = one[0] + other[0]
    share = other[0] / count.clamp(min=1)
    difference = other[1] - one[1]
    return torch.stack(
        [
            count,
            one[1] + difference * share,
            one[2] + other[2] + difference.square() * one[0] * share,
            torch.minimum(one[3], other[3]),
            torch.maximum(one[4], other[4]),
            one[5] + other[5],
            one[6] + other[6],
        ]
    )


def _samples(tensor: torch.Tensor, dimension: int) -> torch.Tensor:
    rows = tensor.movedim(dimension, 0)
    if rows.is_complex():
        rows = torch.view_as_real(rows.resolve_conj())
    return rows.reshape(rows.shape[0], -1)


def _prints(samples: torch.Tensor) -> torch.Tensor:
    """Return two 64-bit sums of each sample's bits with random weights, equal for equal samples.

    Different samples have both in common with a probability below 2^-64, since their bits come in
    words of 32 and at most 31 bits of each product are lost.
    """
    count = samples.shape[0]
    bits = _bits(samples)
    generator = torch.Generator(bits.device).manual_seed(0)
    found = torch.zeros(2, count, dtype=torch.int64, device=bits.device)
    for columns in bits.split(max(_PIECE // count, 1), dim=1):  # type: ignore[no-untyped-call]
        words = columns.to(torch.int64)
        for which in range(2):
            weights = torch.empty(words.shape[1], dtype=torch.int64, device=bits.device)
            weights.random_(-(1 << 63), None, generator=generator)
            found[which] += (words * weights).sum(1)
    return found


def _bits(rows: torch.Tensor) -> torch.Tensor:
    rows = rows.contiguous()
    if rows.dtype == torch.bool:
        return rows.to(torch.uint8)
    return rows.view(_WORDS.get(rows.element_size(), torch.int32))
