"""What the server counted meets what the client knows: names, places, steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlint.linter.findings import Location
from nnlint.linter.measured import Site
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import all_rules
from nnlint.probe_service.capture.bundle import Capture, Parity, TensorSite
from nnlint.probe_service.diagnose import measured
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from tests.probe.graphs import Built, convnet, mlp

PLACE = Location("net.py", 3)


def captured(built: Built, **values: object) -> Capture:
    """Return a capture of which each node stands on a line of its own, the last in the loss."""
    count = len(built.graph.nodes)
    given: dict[str, object] = {
        "model": "Net",
        "location": PLACE,
        "graph": built.serialised,
        "blobs": built.blobs,
        "nodes": tuple(Site(f"layer{i}", Location("net.py", 10 + i)) for i in range(count)),
        "tensors": tuple(
            TensorSite(f"t{i}.weight", Site(f"t{i}")) for i in range(len(built.graph.tensors))
        ),
        "loss_nodes": frozenset({count - 1}),
        "batch_size": 8,
        "loss": "cross_entropy at net.py:9",
        "loss_source": "found",
        "data": "random",
        "parity": Parity(0.0, 0.0, bit_equal=True, gradients=4),
    }
    return Capture(**{**given, **values})  # type: ignore[arg-type]


def plan_of(built: Built) -> measurement_pb2.MeasurementPlan:
    trained = [i for i, t in enumerate(built.graph.tensors) if t.requires_grad]
    return measurement_pb2.MeasurementPlan(nodes=range(len(built.graph.nodes)), parameters=trained)


def step_of(plan: measurement_pb2.MeasurementPlan, number: int) -> measurement_pb2.StepStatistics:
    nodes, parameters = len(plan.nodes), len(plan.parameters)
    return measurement_pb2.StepStatistics(
        step=number,
        loss=2.0 + number,
        measured=True,
        activation_rms=[number + i / 100 for i in range(nodes)],
        activation_abs_max=[1.0] * nodes,
        activation_zero_fraction=[-1.0] * nodes,
        gradient_rms=[-1.0, *[0.5] * (nodes - 1)],
        gradient_abs_max=[math.nan] * nodes,
        parameter_rms=[0.1] * parameters,
        parameter_gradient_rms=[-1.0, *[0.0] * (parameters - 1)],
        parameter_gradient_abs_max=[0.0] * parameters,
        update_ratio=[math.inf] * parameters,
    )


def test_series_follow_the_plan_and_keep_nothing_and_nan_apart() -> None:
    built = mlp()
    plan = plan_of(built)
    found = measured(
        captured(built), ProbeOptions(), plan, [step_of(plan, 1), step_of(plan, 0)], None
    )
    assert found.losses == (2.0, 3.0)
    first, second = found.nodes[0], found.nodes[1]
    assert first.operator == "aten.linear.default"
    assert first.activation_rms == pytest.approx((0.0, 1.0))
    assert first.gradient_rms == (None, None)
    assert second.gradient_rms == (0.5, 0.5)
    assert second.zero_fraction == (None, None)
    assert all(value is not None and math.isnan(value) for value in second.gradient_abs_max)
    assert second.inputs == (0,)
    assert second.site == Site("layer1", Location("net.py", 11))
    assert first.parameters == (0, 1)
    assert first.shape == (8, 16)
    assert first.dtype == "float32"
    assert [node.in_loss for node in found.nodes][-2:] == [False, True]
    assert found.outputs == (len(found.nodes) - 2,)
    weight, bias = found.parameters[:2]
    assert weight.gradient_rms == (None, None)
    assert bias.gradient_rms == (0.0, 0.0)
    assert bias.update_ratio == (math.inf, math.inf)
    assert weight.nodes == (0,)
    assert weight.name == f"t{plan.parameters[0]}.weight"


def test_buffers_inputs_and_labels_are_no_parameters() -> None:
    built = convnet()
    found = measured(captured(built), ProbeOptions(), plan_of(built), [], None)
    assert len(found.parameters) == sum(t.requires_grad for t in built.graph.tensors)
    norm = next(node for node in found.nodes if "batch_norm" in node.operator)
    assert len(norm.parameters) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ProbeOptions(), ("sgd", 0.01, False)),
        (ProbeOptions(optimizer="adamw"), ("adamw", 0.001, False)),
        (ProbeOptions(learning_rate=0.5), ("sgd", 0.5, False)),
        (ProbeOptions(optimizer="sgd", learning_rate=0.0), ("sgd", 0.0, True)),
    ],
)
def test_the_optimiser_is_given_when_both_it_and_its_rate_are(
    options: ProbeOptions, expected: tuple[str, float, bool]
) -> None:
    found = measured(captured(mlp()), options, None, [], None)
    assert (found.optimizer, found.learning_rate, found.optimizer_given) == expected


def test_a_stand_in_is_no_known_loss() -> None:
    found = measured(captured(mlp(), loss_source="stand-in"), ProbeOptions(), None, [], None)
    assert not found.loss_known


def test_bits_become_positions() -> None:
    result = measurement_pb2.Result()
    result.unit_activities.add(
        node=1, units=10, samples=256, dead_units=bytes([0b10000001, 0b11111110]), can_be_dead=True
    )
    result.unit_activities.add(node=99, units=10, can_be_dead=True)
    found = measured(captured(mlp()), ProbeOptions(), None, [], result)
    (units,) = found.units
    assert (units.node, units.count, units.samples) == (1, 10, 256)
    assert units.dead == (0, 7, 9)
    assert units.saturated is None


def test_operands_get_names_for_people() -> None:
    built = mlp()
    result = measurement_pb2.Result()
    forward = result.non_finite.add(
        phase=measurement_pb2.NonFinite.PHASE_FORWARD, node=2, nan_count=1, element_count=8
    )
    forward.operands.add(reference=graph_pb2.Reference(node=1), minimum=-1, maximum=2)
    forward.operands.add(reference=graph_pb2.Reference(tensor=0), dtype=1)
    forward.operands.add(reference=graph_pb2.Reference(node=2), result=True, non_finite=1)
    backward = result.non_finite.add(phase=measurement_pb2.NonFinite.PHASE_BACKWARD, node=2, step=1)
    backward.operands.add(reference=graph_pb2.Reference(node=2), result=True)
    data = result.non_finite.add(phase=measurement_pb2.NonFinite.PHASE_INPUT, tensor=0)
    step = result.non_finite.add(phase=measurement_pb2.NonFinite.PHASE_STEP, tensor=1)
    result.non_finite.add(phase=measurement_pb2.NonFinite.PHASE_UNSPECIFIED)
    assert (data.tensor, step.tensor) == (0, 1)
    found = measured(captured(built), ProbeOptions(), plan_of(built), [], result).non_finite
    assert [each.phase for each in found] == ["forward", "backward", "input", "step"]
    assert [each.name for each in found[0].operands] == [
        "relu in layer1",
        "t0.weight",
        "its result",
    ]
    assert found[0].operands[1].dtype == "float32"
    assert found[0].operands[2].result
    assert found[1].operands[0].name == "the gradient of its output"
    assert (found[2].input, found[2].parameter, found[2].node) == ("t0.weight", None, None)
    assert found[3].parameter == 0


_floats = st.lists(st.floats(width=32), max_size=6)
_small = st.integers(0, 2**32 - 1) | st.integers(0, 12)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[object, list[object], object]:
    plan = measurement_pb2.MeasurementPlan(
        nodes=draw(st.lists(_small, max_size=6)), parameters=draw(st.lists(_small, max_size=6))
    )
    fields = [
        f.name
        for f in measurement_pb2.StepStatistics.DESCRIPTOR.fields
        if f.name not in {"step", "loss", "measured", "seconds", "histograms"}
    ]
    steps = [
        measurement_pb2.StepStatistics(
            step=draw(_small),
            loss=draw(st.floats()),
            measured=draw(st.booleans()),
            **{name: draw(_floats) for name in fields},
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    result = measurement_pb2.Result(status=draw(st.integers(0, 6)))
    for _ in range(draw(st.integers(0, 2))):
        origin = result.non_finite.add(
            step=draw(_small), phase=draw(st.integers(0, 4)), node=draw(_small)
        )
        if draw(st.booleans()):
            origin.tensor = draw(_small)
        origin.nan_count = draw(_small)
        operand = origin.operands.add(
            minimum=draw(st.floats()), maximum=draw(st.floats()), result=draw(st.booleans())
        )
        operand.dtype = draw(st.integers(0, 20))
        if draw(st.booleans()):
            operand.reference.node = draw(_small)
        else:
            operand.reference.tensor = draw(_small)
    for _ in range(draw(st.integers(0, 2))):
        result.unit_activities.add(
            node=draw(_small),
            units=draw(st.integers(0, 64)),
            samples=draw(_small),
            dead_units=draw(st.binary(max_size=10)),
            saturated_units=draw(st.binary(max_size=10)),
            can_be_dead=draw(st.booleans()),
            can_saturate=draw(st.booleans()),
        )
    return plan, steps, result


@settings(max_examples=150, deadline=None)
@given(_messages(), st.integers(0, 8), st.sampled_from([mlp(), convnet()]))
def test_no_message_of_a_server_crashes_the_reading_or_a_rule(
    messages: tuple[object, list[object], object], known: int, built: Built
) -> None:
    capture = captured(built)
    shortened = captured(built, nodes=capture.nodes[:known], tensors=capture.tensors[:known])
    plan, steps, result = messages
    found = measured(shortened, ProbeOptions(), plan, steps, result)  # type: ignore[arg-type]
    assert len(found.nodes) == len(built.graph.nodes)
    findings, _ = run_probe_rules(found, all_rules())
    assert not [f.message for f in findings if f.code == "NNL002"]
