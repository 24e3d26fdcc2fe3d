"""Tell whether the outputs of a sample depend on other samples of the batch.

The last sample is replaced by another one, then the first, and the outputs of all others are
compared with those before: both, since a layer that takes samples for points in time lets a sample
see earlier ones alone. All samples keep their places and all shapes stay, so that kernels add in the
same order and a sound model gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nnlint.probe_service.asking.isolation import RUNS
from nnlint.probe_service.experiments.base import Context
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.replay import mixing
from nnlint.probe_service.replay.program import Inspector, Program
from nnlint.probe_service.replay.samples import batch_dimension
from nnlint.probe_service.replay.structure import elements
from nnlint.probe_service.replay.switching import switched
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2

KIND = "isolation"
# A change by half of float32's digits is no rounding, and that of a mean over a thousand samples is
# ten times as large. Relative to the output's root mean square.
TOLERANCE = 3.5e-4
_INDICES = frozenset({graph_pb2.SCALAR_TYPE_INT64, graph_pb2.SCALAR_TYPE_INT32})
# Two runs that are alike may differ where a GPU adds in any order.
_TIMES_NOISE = 10.0


def needs(_experiment: probe_service_pb2.IsolationExperiment) -> Needs:
    """Return what memory it takes: forward passes without gradients, and some outputs, no more."""
    return Needs()


def run(_experiment: probe_service_pb2.IsolationExperiment, context: Context) -> None:
    """Run it."""
    context.stage(probe_service_pb2.Stage.KIND_RUNNING)
    quiet = switched(context.program, dropout=False, batch_statistics=False)
    found = _Isolation(context, quiet.program).found()
    found.batch_statistics = bool(quiet.unsettled)
    context.program.reset()
    context.finish(measurement_pb2.ExperimentResult(isolation=found))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where samples are.

    Attributes:
        size: How many.
        inputs: Position of an input -> the dimension that counts them.
    """

    size: int
    inputs: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Change:
    """How an output changed.

    Attributes:
        samples: For each sample whether it changed though its input did not.
        largest: Largest change, relative to the output's root mean square.
        replaced: Samples whose replacement did it.
    """

    samples: torch.Tensor
    largest: float
    replaced: tuple[int, ...]

    def joined(self, other: _Change | None) -> _Change:
        """Return both changes together."""
        if other is None:
            return self
        return _Change(
            self.samples | other.samples,
            max(self.largest, other.largest),
            (*other.replaced, *self.replaced),
        )


class _Isolation:
    """The runs of one program in evaluation mode."""

    def __init__(self, context: Context, program: Program) -> None:
        self.context = context
        self.program = program
        self.graph = program.graph
        self.runs = 0
        # Outputs by their position.
        self.wanted = {
            position: output
            for position, output in enumerate(self.graph.outputs)
            if output.WhichOneof("source") == "node"
        }
        self.slots = {
            position: program.calls[output.node].results[output.output]
            for position, output in self.wanted.items()
        }

    def found(self) -> measurement_pb2.IsolationResult:
        layout = self._first_layout()
        before, again = self._outputs(), self._outputs()
        assert before is not None
        assert again is not None
        noise = max(
            (float(_changes(before[p][None], again[p][None], 0)) for p in before), default=0.0
        )
        tolerance = max(TOLERANCE, _TIMES_NOISE * noise)
        compared, leaks = self._compare(layout, before, tolerance)
        other = self._second_layout(layout) if leaks else None
        if other is not None:
            there, none = self._compare(other, before, tolerance)
            if there and not none:
                # Dimension 1 may as well be the batch, and is kept apart.
                compared, leaks = there, {}
        if leaks and self._related():
            compared, leaks = compared - len(leaks), {}
        result = measurement_pb2.IsolationResult(compared=compared)
        origins = self._origins(layout, leaks, noise)
        for position, leak in leaks.items():
            result.leaks.add(
                output=position,
                samples=int(leak.samples.sum()),
                change=leak.largest,
                node=origins.get(position),
            )
        return result

    def _related(self) -> bool:
        """Tell whether samples are meant to see each other.

        Edges of a graph (integers that count no samples) and adjacencies ([batch, batch]) say which
        samples belong together, and a permutation mixes them at random.
        """
        size = self.graph.batch_size
        for tensor in self.graph.tensors:
            if tensor.role != graph_pb2.Tensor.ROLE_INPUT:
                continue
            counted = list(tensor.shape).count(size)
            if counted > 1 and tensor.shape[0] == tensor.shape[1] == size:
                return True
            if not counted and tensor.dtype in _INDICES and elements(tensor.shape) > 1:
                return True
        return any(call.name.split(".")[1] == "randperm" for call in self.program.calls)

    def _first_layout(self) -> _Layout:
        size = self.graph.batch_size
        inputs = {
            index: dimension
            for index, tensor in enumerate(self.graph.tensors)
            if tensor.role == graph_pb2.Tensor.ROLE_INPUT
            and (dimension := batch_dimension(tensor.shape, size)) is not None
        }
        return _Layout(size, inputs)

    def _second_layout(self, first: _Layout) -> _Layout | None:
        """Return the layout of sequences before samples, None where that is not meant.

        Drawn inputs do not say which dimension is the batch. In the user's data it is the first,
        unless every target counts as the second one does.
        """
        tensors = [self.graph.tensors[index] for index in first.inputs]
        sizes = [tensor.shape[1] for tensor in tensors if len(tensor.shape) > 1]
        if not sizes or sizes[0] < 2:
            return None
        if any(tensor.HasField("digest") for tensor in tensors):
            targets = [
                tensor.shape
                for tensor in self.graph.tensors
                if tensor.role == graph_pb2.Tensor.ROLE_TARGET and tensor.shape
            ]
            if not targets or any(first.size in shape or shape[0] != sizes[0] for shape in targets):
                return None
        inputs = {
            index: 1
            for index in first.inputs
            if len(shape := self.graph.tensors[index].shape) > 1 and shape[1] == sizes[0]
        }
        return _Layout(sizes[0], inputs)

    def _compare(
        self, layout: _Layout, before: Mapping[int, torch.Tensor], tolerance: float
    ) -> tuple[int, dict[int, _Change]]:
        """Return how many outputs were compared, and the changes of those that changed."""
        places = {
            position: dimension
            for position, value in before.items()
            if (dimension := batch_dimension(value.shape, layout.size)) is not None
        }
        leaks: dict[int, _Change] = {}
        replaced = False
        for sample in (layout.size - 1, 0):
            after = self._outputs(layout, sample)
            if after is None:
                continue
            replaced = True
            for position, dimension in places.items():
                changes = _changes(before[position], after[position], dimension)
                changes[sample] = 0.0
                largest = float(changes.amax())
                if largest > tolerance:
                    known = leaks.get(position)
                    leaks[position] = _Change(changes > tolerance, largest, (sample,)).joined(known)
        if not replaced:
            return 0, {}
        # [batch, batch] compares samples by its nature, as CLIP's similarities do.
        pairs = [p for p in leaks if list(before[p].shape).count(layout.size) > 1]
        for position in pairs:
            del leaks[position]
        return len(places) - len(pairs), leaks

    def _outputs(
        self, layout: _Layout | None = None, sample: int = 0
    ) -> dict[int, torch.Tensor] | None:
        """Run the program, with another sample in place of one, and return its floating outputs.

        None where every sample has the same inputs.
        """
        keeper = mixing.Keeper(self.program.calls, set(self.slots.values()))
        if not self._run(keeper, layout, sample):
            return None
        found = {position: keeper.kept[slot] for position, slot in self.slots.items()}
        return {p: value for p, value in found.items() if value.is_floating_point()}

    def _run(self, inspector: Inspector, layout: _Layout | None, sample: int) -> bool:
        program = self.program
        program.reset()
        inputs = program.inputs(0)
        if layout is not None and not _replace(inputs, layout, sample):
            return False
        program.seed_step(0)
        with torch.no_grad():
            loss = program.forward(
                journal=self.context.journal, inspector=inspector, gradients=False
            )
        self.runs += 1
        self.context.progress(self.runs, RUNS, float(loss), 0.0)
        return True

    def _origins(
        self, layout: _Layout, leaks: Mapping[int, _Change], noise: float
    ) -> dict[int, int]:
        """Return the first node that mixes samples, by the position of the output that leaks."""
        if not leaks:
            return {}
        before = mixing.Prints(layout.size)
        self._run(before, None, 0)
        mixed: dict[int, bool] = {}
        for sample in sorted({each for leak in leaks.values() for each in leak.replaced}):
            after = mixing.Prints(layout.size)
            self._run(after, layout, sample)
            tolerance = max(mixing.TOLERANCE, _TIMES_NOISE * noise)
            for node, changed in mixing.changed(before, after, sample, tolerance).items():
                mixed[node] = mixed.get(node, False) or changed
        origins = {
            position: mixing.origin(
                self.graph, self.program.calls, mixed, self.wanted[position].node
            )
            for position in leaks
        }
        return {position: node for position, node in origins.items() if node is not None}


def _replace(inputs: Mapping[int, torch.Tensor], layout: _Layout, sample: int) -> bool:
    """Put the sample that differs most in place of one; False where all are the same.

    What is put there has been drawn or chosen for these inputs: integers stay in their range, and
    lengths, masks and tokens still belong together.
    """
    differing = torch.zeros(layout.size)
    for index, dimension in layout.inputs.items():
        rows = inputs[index].detach().movedim(dimension, 0).reshape(layout.size, -1)
        # NaN differs from itself, but another NaN is no other input.
        other = (rows != rows[sample]) & ~(rows.isnan() & rows[sample].isnan())
        differing += other.sum(1).cpu()
    source = int(differing.argmax())
    if not differing[source]:
        return False
    with torch.no_grad():
        for index, dimension in layout.inputs.items():
            samples = inputs[index].movedim(dimension, 0)
            samples[sample].copy_(samples[source].clone())
    return True


def _changes(before: torch.Tensor, after: torch.Tensor, dimension: int) -> torch.Tensor:
    """Return the largest change of each sample, relative to the root mean square of all."""
    # A sample may have a single number, and then there is no dimension to flatten.
    one, other = (x.double().movedim(dimension, 0)[..., None].flatten(1) for x in (before, after))
    finite = one.isfinite() & other.isfinite()
    same = (one == other) | (one.isnan() & other.isnan())
    difference = torch.where(finite, one - other, torch.where(same, 0.0, torch.inf)).abs()
    scale = torch.where(finite, one, 0.0).square().mean().sqrt()
    if not scale:
        scale = torch.where(finite, other, 0.0).square().mean().sqrt()
    largest = difference.amax(1) if difference.shape[1] else difference.sum(1)
    return torch.where(largest > 0, largest / scale, 0.0)
