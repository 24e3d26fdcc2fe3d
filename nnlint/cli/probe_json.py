"""What became of a probe, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from nnlint.cli.experiment_json import ExperimentsObject, Number, experiments_object
from nnlint.cli.json_object import JsonObject, jsonable
from nnlint.linter.findings import Location
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, NonFinite, Units
from nnlint.linter.notebook import located
from nnlint.linter.probed import Probed

CELL = (
    "Number of the notebook's code cell, from 1, in which lines are counted; null in other files."
)
_HISTOGRAMS = (
    "For each step, how many magnitudes are below 2^-40, in [2^-40, 2^-39) and so on, 2^21 or more, "
    "and not finite: 64 counts; empty unless --histograms is given."
)


class OperationObject(JsonObject):
    """What was measured of one operation, a value for each step."""

    index: int = Field(description="Position in execution order.")
    operator: str = Field(description="Name of the ATen operator.")
    module: str
    path: str | None
    cell: int | None = Field(description=CELL)
    line: int | None
    in_loss: bool = Field(description="Whether it belongs to the loss and not to the model.")
    activation_rms: list[Number]
    activation_abs_max: list[Number]
    zero_fraction: list[Number]
    gradient_rms: list[Number] = Field(description="Of the loss, with respect to its result.")
    gradient_abs_max: list[Number]
    activation_histograms: list[list[int]] = Field(description=_HISTOGRAMS)
    gradient_histograms: list[list[int]]


class ParameterObject(JsonObject):
    """What was measured of one parameter, a value for each step."""

    name: str
    shape: list[int]
    rms: list[Number] = Field(description="Before the step.")
    gradient_rms: list[Number] = Field(description="null where it has no gradient.")
    gradient_abs_max: list[Number]
    update_ratio: list[Number] = Field(description="RMS of the optimiser's change by `rms`.")
    histograms: list[list[int]] = Field(description=_HISTOGRAMS)
    gradient_histograms: list[list[int]]


class UnitsObject(JsonObject):
    """How the units of one activation behaved over all samples."""

    operation: int
    units: int
    samples: int
    dead: list[int] | None = Field(description="Units that never fired; null where none can.")
    saturated: list[int] | None = Field(description="Units that were always saturated.")


class OperandObject(JsonObject):
    """What an operation took or gave where a value stopped being finite."""

    name: str
    minimum: Number = Field(description="Over its finite values.")
    maximum: Number
    non_finite: int
    result: bool
    dtype: str


class NonFiniteObject(JsonObject):
    """The first operation whose result was not finite."""

    step: int
    phase: Literal["forward", "backward", "input", "step"]
    operation: int | None
    parameter: str | None
    input: str | None
    nans: int
    infinities: int
    elements: int
    operands: list[OperandObject]


class ProbeObject(JsonObject):
    """What became of the probe of one model."""

    model: str
    path: str
    cell: int | None = Field(description=CELL)
    line: int
    status: Literal[
        "completed",
        "not-probed",
        "out-of-memory",
        "operator-failed",
        "worker-crashed",
        "timed-out",
        "cancelled",
    ]
    reason: str | None = Field(description="Why it was not probed, or did not complete.")
    reason_path: str | None
    reason_cell: int | None
    reason_line: int | None
    server: str | None = Field(description="Its address; null for a server of its own.")
    torch: str | None = Field(description="Version of torch on the server.")
    device: str | None
    precision: str | None
    batch_size: int | None
    data: Literal["user", "random"] | None
    seed: int
    optimizer: Literal["sgd", "adamw"] | None
    learning_rate: Number
    loss: str | None
    loss_source: Literal["given", "found", "forward", "stand-in"] | None
    losses: list[Number] = Field(description="Before each step.")
    gradient_error: Number = Field(
        description="Largest relative difference of a gradient of the captured graph to the model's."
    )
    bit_equal: bool | None
    notes: list[str]
    sent_bytes: int
    estimated_bytes: int | None
    available_bytes: int | None
    seconds: float
    operations: list[OperationObject]
    parameters: list[ParameterObject]
    units: list[UnitsObject]
    non_finite: list[NonFiniteObject]
    experiments: ExperimentsObject | None = Field(description="null where nothing was measured.")


def probe_object(probed: Probed, sources: Mapping[str, str]) -> ProbeObject:
    """Return a probe as the object of the schema; `sources` has the texts of the files."""
    measured = probed.measured
    cell, place = located(Location(probed.path, probed.line), sources)
    where_cell, where = located(probed.location, sources) if probed.location else (None, None)
    captured = probed.gradient_error is not None
    return ProbeObject(
        model=jsonable(probed.model),
        path=jsonable(probed.path),
        cell=cell,
        line=place.line,
        status=probed.status,
        reason=jsonable(probed.reason) or None,
        reason_path=jsonable(where.path) if where else None,
        reason_cell=where_cell,
        reason_line=where.line if where else None,
        server=probed.server or None,
        torch=jsonable(probed.torch) or None,
        device=jsonable(measured.device) if measured else None,
        precision=measured.precision if measured else None,
        batch_size=measured.batch_size if measured else None,
        data=measured.data if measured else None,
        seed=probed.seed,
        optimizer=measured.optimizer if measured else None,
        learning_rate=jsonable(measured.learning_rate) if measured else None,
        loss=jsonable(measured.loss) if measured else None,
        loss_source=probed.loss_source or None,
        losses=jsonable(measured.losses) if measured else [],
        gradient_error=jsonable(probed.gradient_error),
        bit_equal=probed.bit_equal if captured else None,
        notes=jsonable(probed.notes),
        sent_bytes=probed.sent_bytes,
        estimated_bytes=probed.estimated_bytes or None,
        available_bytes=probed.available_bytes or None,
        seconds=probed.seconds,
        operations=[_operation(node, sources) for node in measured.nodes] if measured else [],
        parameters=[_parameter(each) for each in measured.parameters] if measured else [],
        units=[_units(each) for each in measured.units] if measured else [],
        non_finite=[_non_finite(each, measured) for each in measured.non_finite]
        if measured
        else [],
        experiments=experiments_object(measured) if measured else None,
    )


def _operation(node: MeasuredNode, sources: Mapping[str, str]) -> OperationObject:
    whole = node.site.location
    cell, place = located(whole, sources) if whole else (None, None)
    return OperationObject(
        index=node.index,
        operator=node.operator,
        module=jsonable(node.site.path),
        path=jsonable(place.path) if place else None,
        cell=cell,
        line=place.line if place else None,
        in_loss=node.in_loss,
        activation_rms=jsonable(node.activation_rms),
        activation_abs_max=jsonable(node.activation_abs_max),
        zero_fraction=jsonable(node.zero_fraction),
        gradient_rms=jsonable(node.gradient_rms),
        gradient_abs_max=jsonable(node.gradient_abs_max),
        activation_histograms=jsonable(node.activation_histograms),
        gradient_histograms=jsonable(node.gradient_histograms),
    )


def _parameter(parameter: MeasuredParameter) -> ParameterObject:
    return ParameterObject(
        name=jsonable(parameter.name),
        shape=list(parameter.shape),
        rms=jsonable(parameter.rms),
        gradient_rms=jsonable(parameter.gradient_rms),
        gradient_abs_max=jsonable(parameter.gradient_abs_max),
        update_ratio=jsonable(parameter.update_ratio),
        histograms=jsonable(parameter.histograms),
        gradient_histograms=jsonable(parameter.gradient_histograms),
    )


def _units(units: Units) -> UnitsObject:
    return UnitsObject(
        operation=units.node,
        units=units.count,
        samples=units.samples,
        dead=None if units.dead is None else list(units.dead),
        saturated=None if units.saturated is None else list(units.saturated),
    )


def _non_finite(found: NonFinite, measured: Measured) -> NonFiniteObject:
    known = found.parameter is not None and found.parameter < len(measured.parameters)
    return NonFiniteObject(
        step=found.step,
        phase=found.phase,
        operation=found.node,
        parameter=jsonable(measured.parameters[found.parameter or 0].name) if known else None,
        input=jsonable(found.input) or None,
        nans=found.nans,
        infinities=found.infinities,
        elements=found.elements,
        operands=[
            OperandObject(
                name=jsonable(operand.name),
                minimum=jsonable(operand.minimum),
                maximum=jsonable(operand.maximum),
                non_finite=operand.non_finite,
                result=operand.result,
                dtype=operand.dtype,
            )
            for operand in found.operands
        ],
    )
