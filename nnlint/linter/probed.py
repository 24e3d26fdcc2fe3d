"""What became of the probe of each model, and what it measured layer by layer: plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nnlint.linter.findings import Location
from nnlint.linter.measured import (
    Magnitudes,
    Measured,
    MeasuredNode,
    MeasuredParameter,
    Units,
)

Status = Literal[
    "completed",
    "not-probed",
    "out-of-memory",
    "operator-failed",
    "worker-crashed",
    "timed-out",
    "cancelled",
]


@dataclass(frozen=True, slots=True)
class PredictedLayer:
    """What `nnlint.linter.signal` tells of a layer, without running it.

    Attributes:
        path: Qualified path of the module.
        gradient_rms: Of all its parameters' gradients together at the first step; None where the
            model could not be followed that far.
    """

    path: str
    gradient_rms: float | None


@dataclass(frozen=True, slots=True)
class Predicted:
    """What is predicted of a model.

    Attributes:
        layers: Modules with parameters of their own.
        loss: Whether gradients begin at the loss; else at an output whose gradient has size 1, and
            only their proportions count.
    """

    layers: tuple[PredictedLayer, ...]
    loss: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the probe of one model.

    Attributes:
        model: Display name of the model.
        path: The file, as the user gave it.
        line: Line of its definition.
        status: "not-probed" where nothing was run; else how the run ended.
        reason: Why it was not probed, or did not complete; "" for a completed one.
        hint: What to do about that, may be empty.
        location: The line at which it was refused or ended, if known.
        measured: What was measured, None where nothing was.
        seed: For drawn data and dropout.
        loss_source: "given" by the user, "found" in the source, computed in "forward", or a
            "stand-in" where there is none.
        gradient_error: Largest relative difference between a gradient of the captured graph and
            the model's own, None where nothing was captured.
        bit_equal: Whether the loss and all gradients of both are equal to the bit.
        gradients: How many gradients were compared.
        notes: What the user should know of the capture, one sentence each.
        server: Where it ran: an address, or "" for a server of its own.
        torch: Version of torch there.
        sent_bytes: Of weights, data and graph that the server did not have yet.
        estimated_bytes: What one step needs, 0 where unknown.
        available_bytes: What the device had, 0 where unknown.
        seconds: Of the run itself.
        predicted: What was predicted of it, None where that was not asked for or not possible.
    """

    model: str
    path: str
    line: int
    status: Status = "completed"
    reason: str = ""
    hint: str = ""
    location: Location | None = None
    measured: Measured | None = None
    seed: int = 0
    loss_source: Literal["", "given", "found", "forward", "stand-in"] = ""
    gradient_error: float | None = None
    bit_equal: bool = False
    gradients: int = 0
    notes: tuple[str, ...] = ()
    server: str = ""
    torch: str = ""
    sent_bytes: int = 0
    estimated_bytes: int = 0
    available_bytes: int = 0
    seconds: float = 0.0
    predicted: Predicted | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was measured."""
        return self.status == "completed"


@dataclass(frozen=True, slots=True)
class Layer:
    """A module with parameters of its own, at the last step that was measured.

    Attributes:
        path: Qualified path ("features.3"), "" for the model itself.
        operator: What its parameters go into: "conv2d".
        shape: Of its first parameter.
        elements: Of all its parameters.
        activation_rms: Of its result.
        gradient_rms: Of all its parameters' gradients together.
        update_ratio: RMS of the optimiser's change divided by that of the parameters.
        dead: Share of the units after it that never fired, None where they cannot be dead.
        saturated: Share of them that were always saturated, None where they cannot be.
    """

    path: str
    operator: str
    shape: tuple[int, ...]
    elements: int
    activation_rms: float | None
    gradient_rms: float | None
    update_ratio: float | None
    dead: float | None
    saturated: float | None


def layers(measured: Measured) -> list[Layer]:
    """Return the layers that have parameters, in the order in which they are run."""
    groups: dict[str, list[MeasuredParameter]] = {}
    for parameter in measured.parameters:
        groups.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    nodes = {path: _nodes(measured, path, group) for path, group in groups.items()}
    owner = {node.index: path for path, found in nodes.items() for node in found}
    units = dict(_units_by_layer(measured, owner))
    order = sorted(groups, key=lambda path: nodes[path][-1].index if nodes[path] else math.inf)
    return [_layer(path, groups[path], nodes[path], units.get(path, ())) for path in order]


def gradients_by_step(measured: Measured) -> dict[str, Magnitudes]:
    """Return for each layer's path the RMS of all its parameters' gradients at each step."""
    groups: dict[str, list[MeasuredParameter]] = {}
    for parameter in measured.parameters:
        groups.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    return {
        path: tuple(
            _root_mean_square(
                (parameter.gradient_rms[step], parameter.elements)
                for parameter in group
                if step < len(parameter.gradient_rms)
            )
            for step in range(measured.steps)
        )
        for path, group in groups.items()
    }


def _layer(
    path: str,
    parameters: Sequence[MeasuredParameter],
    nodes: Sequence[MeasuredNode],
    units: Sequence[Units],
) -> Layer:
    results = [value for node in nodes if (value := last(node.activation_rms)) is not None]
    return Layer(
        path=path,
        operator=next((_short(node.operator) for node in nodes if node.parameters), ""),
        shape=parameters[0].shape,
        elements=sum(parameter.elements for parameter in parameters),
        activation_rms=results[-1] if results else None,
        gradient_rms=_root_mean_square(
            (last(parameter.gradient_rms), parameter.elements) for parameter in parameters
        ),
        update_ratio=_update_ratio(parameters),
        dead=_share([(each.dead, each.count) for each in units]),
        saturated=_share([(each.saturated, each.count) for each in units]),
    )


def last(values: Magnitudes) -> float | None:
    """Return the value of the last step that was measured."""
    return next((value for value in reversed(values) if value is not None), None)


def _short(operator: str) -> str:
    parts = operator.split(".")
    return (parts[1] if len(parts) > 1 else operator).strip("_")


def _root_mean_square(parts: Iterator[tuple[float | None, int]]) -> float | None:
    total, count = 0.0, 0
    for value, elements in parts:
        if value is not None:
            # A product, since `**` raises where it overflows.
            total += value * value * elements
            count += elements
    return math.sqrt(total / count) if count else None


def _update_ratio(parameters: Sequence[MeasuredParameter]) -> float | None:
    change = size = 0.0
    found = False
    for parameter in parameters:
        ratio, rms = last(parameter.update_ratio), last(parameter.rms)
        # A bias that was zero has an infinite ratio, which says nothing of the layer.
        if ratio is not None and rms:
            found = True
            change += (ratio * rms) * (ratio * rms) * parameter.elements
            size += rms * rms * parameter.elements
    return math.sqrt(change / size) if found and size else None


def _share(found: Sequence[tuple[tuple[int, ...] | None, int]]) -> float | None:
    told = [(len(units), count) for units, count in found if units is not None]
    total = sum(count for _, count in told)
    return sum(number for number, _ in told) / total if total else None


def _nodes(
    measured: Measured, path: str, parameters: Sequence[MeasuredParameter]
) -> list[MeasuredNode]:
    """Return the operations of a layer: those that take its parameters, and others in it."""
    own = {index for parameter in parameters for index in parameter.nodes}
    return [
        node
        for node in measured.nodes
        if not node.in_loss and (node.index in own or (path and node.site.path == path))
    ]


def _units_by_layer(
    measured: Measured, owner: dict[int, str]
) -> Iterator[tuple[str, tuple[Units, ...]]]:
    """Yield for each layer the activations that its result meets first."""
    found: dict[str, list[Units]] = {}
    nodes = {node.index: node for node in measured.nodes}
    for units in measured.units:
        index: int | None = units.node
        while index is not None and index in nodes and index not in owner:
            inputs = nodes[index].inputs
            index = inputs[0] if inputs else None
        if index in owner:
            found.setdefault(owner[index], []).append(units)
    for path, each in found.items():
        yield path, tuple(each)
