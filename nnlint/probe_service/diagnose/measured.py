"""Join what a server measured with what the client kept to itself: names and places in the source.

The server counts nodes and tensors and knows no name. Nothing that it sends is trusted to be
complete: an array that is too short reads as "not measured", a position that does not exist is left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from nnlint.linter.measured import (
    HISTOGRAM_BINS,
    Histograms,
    Magnitudes,
    Measured,
    MeasuredNode,
    MeasuredParameter,
    NonFinite,
    Operand,
    Site,
    Units,
)
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.options import LEARNING_RATES, ProbeOptions
from nnlint.protos.v1 import graph_pb2, measurement_pb2

_PHASES: Mapping[int, Literal["forward", "backward", "input", "step"]] = {
    measurement_pb2.NonFinite.PHASE_FORWARD: "forward",
    measurement_pb2.NonFinite.PHASE_BACKWARD: "backward",
    measurement_pb2.NonFinite.PHASE_INPUT: "input",
    measurement_pb2.NonFinite.PHASE_STEP: "step",
}


def measured(
    capture: Capture,
    options: ProbeOptions,
    plan: measurement_pb2.MeasurementPlan | None,
    steps: Iterable[measurement_pb2.StepStatistics],
    result: measurement_pb2.Result | None,
) -> Measured:
    """Return what a probe measured of a captured model.

    Args:
        capture: What was sent, with names and places.
        options: What was asked for.
        plan: What the arrays of the steps are about; None where the probe ended before.
        steps: Every step that was told, in any order.
        result: How the probe ended; None where it never said.
    """
    return _Reading(capture, options, plan, steps, result).whole()


class _Reading:
    """The messages of one probe, with the lists that they count in."""

    def __init__(
        self,
        capture: Capture,
        options: ProbeOptions,
        plan: measurement_pb2.MeasurementPlan | None,
        steps: Iterable[measurement_pb2.StepStatistics],
        result: measurement_pb2.Result | None,
    ) -> None:
        self.capture = capture
        self.options = options
        self.graph = graph_pb2.Graph.FromString(capture.graph)
        self.plan = plan or measurement_pb2.MeasurementPlan()
        self.steps = sorted(steps, key=lambda step: step.step)
        self.result = result or measurement_pb2.Result()
        tensors = self.graph.tensors
        known = dict.fromkeys(i for i in self.plan.parameters if i < len(tensors))
        # A parameter that the plan leaves out is still there to be named.
        known |= dict.fromkeys(i for i, t in enumerate(tensors) if _is_trained(t))
        self.parameters = {tensor: position for position, tensor in enumerate(known)}
        self.slots = {tensor: slot for slot, tensor in reversed([*enumerate(self.plan.parameters)])}
        self.arguments = [list(_references(node)) for node in self.graph.nodes]

    def whole(self) -> Measured:
        """Join everything."""
        capture, options = self.capture, self.options
        optimizer = options.optimizer or "sgd"
        rate = options.learning_rate
        return Measured(
            model=capture.model,
            location=capture.location,
            batch_size=capture.batch_size,
            losses=tuple(step.loss for step in self.steps),
            nodes=tuple(self.nodes()),
            parameters=tuple(self.trained()),
            non_finite=tuple(self.non_finite()),
            units=tuple(self.units()),
            loss=capture.loss,
            loss_known=capture.loss_source != "stand-in",
            data=capture.data,
            optimizer=optimizer,
            learning_rate=LEARNING_RATES[optimizer] if rate is None else rate,
            optimizer_given=bool(options.optimizer) and rate is not None,
            device=self.result.environment.device_name or options.device,
            precision=options.precision,
            outputs=_distinct(self.outputs()),
        )

    def outputs(self) -> Iterator[int]:
        """Yield the nodes that compute what the model returns."""
        for reference in self.graph.outputs:
            if reference.WhichOneof("source") == "node" and reference.node < len(self.graph.nodes):
                yield reference.node

    def nodes(self) -> Iterator[MeasuredNode]:
        """Yield each operation with its series."""
        slots = {node: slot for slot, node in reversed([*enumerate(self.plan.nodes)])}
        names = self.graph.operators
        for index, node in enumerate(self.graph.nodes):
            references = self.arguments[index]
            slot = slots.get(index)
            first = node.outputs[0] if node.outputs else None
            is_tensor = first is not None and first.dtype != graph_pb2.SCALAR_TYPE_UNSPECIFIED
            regions = self.graph.regions
            yield MeasuredNode(
                index=index,
                operator=names[node.operator] if node.operator < len(names) else "",
                site=self.site(index),
                inputs=_distinct(r.node for r in references if r.WhichOneof("source") == "node"),
                parameters=_distinct(
                    self.parameters[r.tensor]
                    for r in references
                    if r.WhichOneof("source") == "tensor" and r.tensor in self.parameters
                ),
                in_loss=index in self.capture.loss_nodes,
                shape=tuple(first.shape) if first is not None and is_tensor else None,
                dtype=type_name(first.dtype) if first is not None else "",
                grad=regions[node.region].grad_enabled if node.region < len(regions) else True,
                activation_rms=self.series("activation_rms", slot),
                activation_abs_max=self.series("activation_abs_max", slot),
                gradient_rms=self.series("gradient_rms", slot),
                gradient_abs_max=self.series("gradient_abs_max", slot),
                zero_fraction=self.series("activation_zero_fraction", slot),
                activation_histograms=self.histograms("activations", slot),
                gradient_histograms=self.histograms("gradients", slot),
            )

    def trained(self) -> Iterator[MeasuredParameter]:
        """Yield each trainable parameter with its series."""
        users: dict[int, list[int]] = {}
        for index, references in enumerate(self.arguments):
            for reference in references:
                if reference.WhichOneof("source") == "tensor":
                    users.setdefault(reference.tensor, []).append(index)
        for tensor in self.parameters:
            slot = self.slots.get(tensor)
            yield MeasuredParameter(
                name=self.name(tensor),
                shape=tuple(self.graph.tensors[tensor].shape),
                site=self.tensor_site(tensor),
                rms=self.series("parameter_rms", slot),
                gradient_rms=self.series("parameter_gradient_rms", slot),
                gradient_abs_max=self.series("parameter_gradient_abs_max", slot),
                update_ratio=self.series("update_ratio", slot),
                nodes=_distinct(users.get(tensor, ())),
                histograms=self.histograms("parameters", slot),
                gradient_histograms=self.histograms("parameter_gradients", slot),
            )

    def series(self, field: str, slot: int | None) -> Magnitudes:
        """Return one value for each step; None where there was nothing, or nothing was said."""
        if slot is None:
            return ()
        found: list[float | None] = []
        for step in self.steps:
            values: Sequence[float] = getattr(step, field)
            value = values[slot] if step.measured and slot < len(values) else None
            found.append(None if value is None or value < 0 else value)
        return tuple(found)

    def histograms(self, field: str, slot: int | None) -> Histograms:
        """Return the counts of each step, () where no step has any."""
        if slot is None:
            return ()
        start = slot * HISTOGRAM_BINS
        found = tuple(
            tuple(getattr(step.histograms, field)[start : start + HISTOGRAM_BINS])
            for step in self.steps
        )
        complete = [counts if len(counts) == HISTOGRAM_BINS else () for counts in found]
        return tuple(complete) if any(complete) else ()

    def site(self, node: int) -> Site:
        """Return where a node stands."""
        return self.capture.nodes[node] if node < len(self.capture.nodes) else Site()

    def name(self, tensor: int) -> str:
        """Return what a tensor is called."""
        if tensor < len(self.capture.tensors) and self.capture.tensors[tensor].name:
            return self.capture.tensors[tensor].name
        return f"tensor {tensor}"

    def tensor_site(self, tensor: int) -> Site:
        """Return the place of the layer that owns a tensor."""
        return self.capture.tensors[tensor].site if tensor < len(self.capture.tensors) else Site()

    def non_finite(self) -> Iterator[NonFinite]:
        """Yield the origins of values that are not finite."""
        for found in self.result.non_finite:
            phase = _PHASES.get(found.phase)
            if phase is None:
                continue
            by_node = phase in {"forward", "backward"}
            tensor = found.tensor if found.HasField("tensor") else None
            role = None
            if tensor is not None and tensor < len(self.graph.tensors):
                role = self.graph.tensors[tensor].role
            is_data = phase == "input" and role != graph_pb2.Tensor.ROLE_PARAMETER
            yield NonFinite(
                step=found.step,
                phase=phase,
                node=found.node if by_node and found.node < len(self.graph.nodes) else None,
                nans=found.nan_count,
                infinities=found.infinite_count,
                elements=found.element_count,
                operands=tuple(self.operand(each, found, phase) for each in found.operands),
                parameter=self.parameters.get(tensor) if tensor is not None else None,
                input=self.name(tensor) if is_data and tensor is not None and role else "",
            )

    def operand(
        self,
        operand: measurement_pb2.NonFinite.Operand,
        found: measurement_pb2.NonFinite,
        phase: str,
    ) -> Operand:
        """Return an operand under a name for people."""
        return Operand(
            name=self.operand_name(operand, found, phase),
            minimum=operand.minimum,
            maximum=operand.maximum,
            non_finite=operand.non_finite,
            result=operand.result,
            dtype=type_name(operand.dtype),
        )

    def operand_name(
        self,
        operand: measurement_pb2.NonFinite.Operand,
        found: measurement_pb2.NonFinite,
        phase: str,
    ) -> str:
        """Name an operand: a parameter, an input, the result of another operation."""
        reference = operand.reference
        source = reference.WhichOneof("source")
        own = source == "node" and reference.node == found.node
        if phase == "backward" and own:
            return "the gradient of its output"
        if phase == "forward" and (operand.result or own):
            return "its result"
        if source == "tensor":
            name = self.name(reference.tensor)
        elif source == "node" and reference.node < len(self.graph.nodes):
            name = self.described(reference.node)
        else:
            name = "its input"
        return f"the gradient of {name}" if phase == "backward" and operand.result else name

    def described(self, node: int) -> str:
        """Name the result of a node for people."""
        position = self.graph.nodes[node].operator
        names = self.graph.operators
        operator = short_name(names[position]) if position < len(names) else "an operation"
        path = self.site(node).path
        return f"{operator} in {path}" if path else f"the result of {operator}"

    def units(self) -> Iterator[Units]:
        """Yield how the units of each activation behaved."""
        for activity in self.result.unit_activities:
            if activity.node < len(self.graph.nodes) and activity.units > 0:
                yield Units(
                    node=activity.node,
                    count=activity.units,
                    samples=activity.samples,
                    dead=_bits(activity.dead_units, activity.units)
                    if activity.can_be_dead
                    else None,
                    saturated=_bits(activity.saturated_units, activity.units)
                    if activity.can_saturate
                    else None,
                )


def type_name(scalar: int) -> str:
    """Return the name of an element type, "float32"; "" where there is none."""
    try:
        name = graph_pb2.ScalarType.Name(scalar)
    except ValueError:
        return ""
    short = name.removeprefix("SCALAR_TYPE_").lower()
    return "" if short == "unspecified" else short


def short_name(operator: str) -> str:
    """Return "relu" for "aten.relu_.default"."""
    parts = operator.split(".")
    return (parts[1] if len(parts) > 1 else operator).strip("_")


def _is_trained(tensor: graph_pb2.Tensor) -> bool:
    return tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and tensor.requires_grad


def _references(node: graph_pb2.Node) -> Iterator[graph_pb2.Reference]:
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        kind = argument.WhichOneof("value")
        if kind == "reference":
            yield argument.reference
        elif kind == "list":
            for item in argument.list.items:
                if item.WhichOneof("value") == "reference":
                    yield item.reference


def _distinct(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _bits(mask: bytes, count: int) -> tuple[int, ...]:
    """Return the positions of the bits that are set, below `count`."""
    return tuple(
        position
        for byte, value in enumerate(mask)
        if value
        for position in range(8 * byte, min(8 * byte + 8, count))
        if value >> (position - 8 * byte) & 1
    )
