from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.replay.running import Events, probe

NonFinite = measurement_pb2.NonFinite
INF, NAN = math.inf, math.nan
# Steps with float16 parameters need a precision of their own; here types are in the graph.
HALF = graph_pb2.SCALAR_TYPE_FLOAT16


def found(built: graphs.Built, **settings: Any) -> NonFinite:
    events = probe(built, **settings)
    assert len(events.result.non_finite) == 1, events.result
    assert probe_service_pb2.Stage.KIND_LOCALISING in events.stages
    return events.result.non_finite[0]


def silent(built: graphs.Built, **settings: Any) -> Events:
    events = probe(built, **settings)
    assert not events.result.non_finite, events.result.non_finite
    return events


def start(
    values: list[float], *, dtype: Any = graphs.FLOAT32
) -> tuple[graphs.Builder, Any, tuple[int, ...]]:
    """Begin a graph with a parameter times an input of the given values."""
    b = graphs.Builder(batch_size=1)
    shape = (len(values),)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, shape, values=values, dtype=dtype, batches=1)
    w = b.tensor(
        graph_pb2.Tensor.ROLE_PARAMETER,
        shape,
        values=[1.0] * len(values),
        dtype=dtype,
        requires_grad=True,
    )
    return b, b.call("aten.mul.Tensor", x, w, shape=shape, dtype=dtype), shape


def total(b: graphs.Builder, x: Any, *, dtype: Any = graphs.FLOAT32) -> graphs.Built:
    return b.build(b.call("aten.sum.default", x, shape=(), dtype=dtype))


FORWARD: dict[str, tuple[list[float], list[tuple[str, tuple[Any, ...]]], int, int, int]] = {
    # values, operators after the product (node 0), the node to be named, NaN and infinity counts
    "log of zero": ([1.0, 0.0], [("aten.log.default", ())], 1, 0, 1),
    "log of a negative": ([1.0, -1.0], [("aten.log.default", ())], 1, 1, 0),
    "root of a negative": ([4.0, -1.0], [("aten.sqrt.default", ())], 1, 1, 0),
    "overflow of exp": ([1.0, 100.0], [("aten.exp.default", ())], 1, 0, 1),
    "a reciprocal of zero": ([1.0, 0.0], [("aten.reciprocal.default", ())], 1, 0, 1),
    "a power that overflows": ([1.0, 1e20], [("aten.pow.Tensor_Scalar", (2,))], 1, 0, 1),
    "a later one": (
        [1.0, 3.0],
        [("aten.exp.default", ()), ("aten.exp.default", ()), ("aten.exp.default", ())],
        3,
        0,
        1,
    ),
    "infinity becomes NaN further on": (
        [1.0, 100.0],
        [("aten.exp.default", ()), ("aten.mul.Tensor", (0.0,)), ("aten.relu.default", ())],
        1,
        0,
        1,
    ),
    "in place": ([1.0, 0.0], [("aten.mul_.Tensor", (1.0,)), ("aten.log_.default", ())], 2, 0, 1),
    "asked-for infinity times zero": (
        [1.0, 0.0],
        [("aten.mul.Tensor", (INF,))],
        1,
        1,
        1,
    ),
}


@pytest.mark.parametrize("case", FORWARD)
def test_the_first_operation_is_named(case: str) -> None:
    values, operators, node, nans, infinities = FORWARD[case]
    b, x, shape = start(values)
    for name, arguments in operators:
        x = b.call(name, x, *arguments, shape=shape)
    origin = found(total(b, x))
    assert (origin.phase, origin.node) == (NonFinite.PHASE_FORWARD, node)
    assert (origin.nan_count, origin.infinite_count, origin.element_count) == (nans, infinities, 2)
    assert origin.step == 0
    operand, result = origin.operands
    assert operand.non_finite == 0
    assert (result.result, result.non_finite) == (True, nans + infinities)
    if len(operators) == 1:
        assert (operand.minimum, operand.maximum) == pytest.approx((min(values), max(values)))


def test_division_of_zero_by_zero_names_the_division_and_both_operands() -> None:
    b, x, shape = start([0.0, 1.0, 2.0])
    y = b.call("aten.mul.Tensor", x, 1.0, shape=shape)
    origin = found(total(b, b.call("aten.div.Tensor", x, y, shape=shape)))
    assert (origin.phase, origin.node, origin.nan_count) == (NonFinite.PHASE_FORWARD, 2, 1)
    assert [each.reference.node for each in origin.operands] == [0, 1, 2]
    assert (origin.operands[2].minimum, origin.operands[2].maximum) == (1.0, 1.0)


def test_float16_overflow_is_named_with_its_type() -> None:
    b, x, shape = start([300.0, 1.0], dtype=HALF)
    y = b.call("aten.mul.Tensor", x, x, shape=shape, dtype=HALF)
    origin = found(total(b, y, dtype=HALF))
    assert (origin.node, origin.infinite_count) == (1, 1)
    assert {each.dtype for each in origin.operands} == {HALF}


def test_the_slope_of_a_root_at_zero_is_named_in_the_backward_pass() -> None:
    b, x, shape = start([4.0, 0.0])
    y = b.call("aten.sqrt.default", x, shape=shape)
    origin = found(total(b, y))
    assert (origin.phase, origin.node) == (NonFinite.PHASE_BACKWARD, 1)
    assert origin.infinite_count == 1
    operand, result = origin.operands
    assert (operand.reference.node, operand.minimum, operand.maximum) == (0, 0.0, 4.0)
    assert (result.result, result.minimum, result.maximum) == (True, 1.0, 1.0)


def test_a_norm_of_zeros_is_named_in_the_backward_pass_of_what_squares_it() -> None:
    b, x, shape = start([0.0, 0.0])
    y = b.call("aten.sum.default", b.call("aten.pow.Tensor_Scalar", x, 2, shape=shape), shape=())
    y = b.call("aten.sqrt.default", y, shape=())
    origin = found(b.build(b.call("aten.mul.Tensor", y, 1.0, shape=())))
    assert (origin.phase, origin.node) == (NonFinite.PHASE_BACKWARD, 3)


def test_a_backward_of_several_steps_inside_one_operator_is_that_operator() -> None:
    b, x, shape = start([1e-30, 1.0])
    y = b.call("aten.pow.Tensor_Scalar", x, -2, shape=shape)
    y = b.call("aten.clamp.default", y, None, 1.0, shape=shape)
    origin = found(total(b, y))
    # The power overflows on its way to 1, and nothing comes of it but a NaN in its slope.
    assert origin.node == 1


def test_what_where_hides_in_the_forward_pass_is_found_by_its_gradient() -> None:
    b, x, shape = start([1.0, 0.0])
    mask = b.call("aten.gt.Scalar", x, 0, shape=shape, dtype=graph_pb2.SCALAR_TYPE_BOOL)
    logarithm = b.call("aten.log.default", x, shape=shape)
    zeros = b.call("aten.zeros_like.default", x, shape=shape)
    y = b.call("aten.where.self", mask, logarithm, zeros, shape=shape)
    origin = found(total(b, y))
    assert (origin.phase, origin.node) == (NonFinite.PHASE_FORWARD, 2)
    assert origin.infinite_count == 1


def test_a_gradient_that_makes_a_parameter_s_gradient_overflow_names_parameter_and_node() -> None:
    b = graphs.Builder(batch_size=1)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (2,), values=[1e30, 1.0], batches=1)
    w = b.parameter(2, values=[1e-30, 1.0])
    y = b.call("aten.mul.Tensor", x, w, shape=(2,))
    y = b.call("aten.mul.Tensor", y, 1e20, shape=(2,))
    origin = found(total(b, y))
    assert (origin.phase, origin.node) == (NonFinite.PHASE_BACKWARD, 0)
    assert origin.HasField("tensor")
    assert origin.tensor == w.tensor


def test_gradients_of_several_uses_that_add_up_to_infinity_are_found() -> None:
    b = graphs.Builder(batch_size=1)
    w = b.parameter(2, values=[1e-37, 1e-37])
    parts = [b.call("aten.mul.Tensor", w, 2e38, shape=(2,)) for _ in range(2)]
    origin = found(total(b, b.call("aten.add.Tensor", *parts, shape=(2,))))
    assert (origin.phase, origin.tensor) == (NonFinite.PHASE_BACKWARD, 0)
    assert origin.infinite_count == 2


def test_non_finite_data_is_found_before_any_operation() -> None:
    b, x, _ = start([NAN, 1.0])
    origin = found(total(b, x))
    assert (origin.phase, origin.tensor, origin.nan_count) == (NonFinite.PHASE_INPUT, 0, 1)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_non_finite_parameter_is_found_before_any_operation(bad: float) -> None:
    b = graphs.Builder()
    w = b.parameter(2, 2, values=[1.0, bad, 1.0, 1.0])
    y = b.call("aten.linear.default", b.input(8, 2), w, shape=(8, 2))
    origin = found(total(b, y))
    assert (origin.phase, origin.tensor) == (NonFinite.PHASE_INPUT, 0)


def test_infinite_data_that_reaches_the_loss_is_found_as_data() -> None:
    b, x, _ = start([INF, 1.0])
    origin = found(total(b, x))
    assert (origin.phase, origin.tensor, origin.infinite_count) == (NonFinite.PHASE_INPUT, 0, 1)


def test_an_optimiser_step_that_overflows_is_told_as_such() -> None:
    b = graphs.Builder(batch_size=1)
    w = b.parameter(2, values=[1.0, 1.0])
    y = b.call("aten.mul.Tensor", w, 1e30, shape=(2,))
    built = b.build(b.call("aten.mean.default", y, shape=()))
    events = probe(built, learning_rate=1e30)
    (origin,) = events.result.non_finite
    assert (origin.phase, origin.tensor, origin.step) == (NonFinite.PHASE_STEP, 0, 0)
    before, after = origin.operands
    assert (before.minimum, before.non_finite) == (1.0, 0)
    assert after.non_finite == 2
    assert len(events.steps) == 1


def test_a_large_but_finite_update_is_no_finding() -> None:
    b = graphs.Builder(batch_size=1)
    w = b.parameter(2, values=[1.0, 1.0])
    built = b.build(
        b.call("aten.mean.default", b.call("aten.mul.Tensor", w, 1e10, shape=(2,)), shape=())
    )
    events = silent(built, learning_rate=1e15, steps=2)
    assert events.steps[0].update_ratio[0] == pytest.approx(5e24, rel=1e-3)


def test_after_poison_no_further_step_is_made() -> None:
    b, x, shape = start([1.0, 0.0])
    events = probe(total(b, b.call("aten.log.default", x, shape=shape)), steps=5)
    assert len(events.steps) == 1
    assert events.result.steps == 1
    assert events.result.status == measurement_pb2.Result.STATUS_COMPLETED


def test_a_step_that_goes_wrong_later_is_named_by_its_number() -> None:
    b = graphs.Builder(batch_size=1)
    w = b.parameter(1, values=[1.0])
    y = b.call("aten.log.default", w, shape=(1,))
    built = b.build(b.call("aten.sum.default", y, shape=()))
    # Each step subtracts 0.3 / w from w: it is negative after a few.
    events = probe(built, steps=20, learning_rate=0.3)
    (origin,) = events.result.non_finite
    assert origin.phase == NonFinite.PHASE_FORWARD
    assert origin.nan_count == 1
    assert origin.step == len(events.steps) - 1 > 0


def test_minus_infinity_of_a_mask_is_no_finding() -> None:
    b = graphs.Builder(batch_size=2)
    x = b.input(2, 4)
    w = b.parameter(4, 4)
    y = b.call("aten.linear.default", x, w, shape=(2, 4))
    mask = b.tensor(
        graph_pb2.Tensor.ROLE_CONSTANT,
        (4,),
        values=[True, False, False, True],
        dtype=graph_pb2.SCALAR_TYPE_BOOL,
    )
    y = b.call("aten.masked_fill.Scalar", y, mask, -INF, shape=(2, 4))
    y = b.call("aten.mul.Tensor", y, 2.0, shape=(2, 4))
    y = b.call("aten.softmax.int", y, -1, shape=(2, 4))
    z = b.call("aten.linear.default", y, b.parameter(3, 4), shape=(2, 3))
    events = silent(b.build(b.cross_entropy(z, b.labels(3, 2))))
    assert events.steps[0].activation_abs_max[events.of_node(2)] == INF


def test_minus_infinity_of_a_mask_buffer_is_no_finding() -> None:
    b = graphs.Builder(batch_size=2)
    y = b.call("aten.linear.default", b.input(2, 3), b.parameter(3, 3), shape=(2, 3))
    mask = b.buffer((3,), [0.0, -INF, 0.0])
    y = b.call(
        "aten.softmax.int", b.call("aten.add.Tensor", y, mask, shape=(2, 3)), -1, shape=(2, 3)
    )
    silent(b.build(b.call("aten.sum.default", y, shape=())))


def test_a_row_that_is_masked_as_a_whole_names_the_softmax() -> None:
    b = graphs.Builder(batch_size=2)
    y = b.call("aten.linear.default", b.input(2, 3), b.parameter(3, 3), shape=(2, 3))
    mask = b.buffer((2, 3), [0.0, 0.0, 0.0, -INF, -INF, -INF])
    y = b.call("aten.add.Tensor", y, mask, shape=(2, 3))
    y = b.call("aten.softmax.int", y, -1, shape=(2, 3))
    origin = found(b.build(b.call("aten.sum.default", y, shape=())))
    assert (origin.phase, origin.node, origin.nan_count) == (NonFinite.PHASE_FORWARD, 2, 3)
    assert origin.operands[0].non_finite == 3


def test_an_overflow_on_the_way_to_a_correct_zero_is_no_finding() -> None:
    b, x, shape = start([1.0, 90.0])
    y = b.call("aten.add.Scalar", b.call("aten.exp.default", x, shape=shape), 1, shape=shape)
    frozen = b.region(grad_enabled=False)
    for node in b.graph.nodes:
        node.region = frozen
    y = b.call("aten.reciprocal.default", y, shape=shape, region=frozen)
    w = b.parameter(2)
    silent(total(b, b.call("aten.mul.Tensor", y, w, shape=shape)))


@pytest.mark.parametrize("size", [1e20, 1e-20, 3e38])
def test_finite_values_of_any_size_are_no_finding(size: float) -> None:
    b, x, shape = start([size, -size])
    y = b.call("aten.mul.Tensor", x, 1.0, shape=shape)
    y = b.call("aten.tanh.default", y, shape=shape)
    y = b.call("aten.mul.Tensor", y, 0.0, shape=shape)
    silent(total(b, y))


@pytest.mark.parametrize("dtype", [HALF, graph_pb2.SCALAR_TYPE_BFLOAT16])
def test_finite_half_precision_is_no_finding(dtype: int) -> None:
    b = graphs.Builder(batch_size=1)
    x = b.call(
        "aten.full.default",
        [1000],
        60000.0,
        dtype=dtype,  # type: ignore[arg-type]
        shape=(1000,),
        keywords={"dtype": graph_pb2.Argument(dtype=dtype)},  # type: ignore[arg-type]
    )
    y = b.call("aten.abs.default", x, dtype=dtype, shape=(1000,))  # type: ignore[arg-type]
    y = b.call("aten.to.dtype", y, graph_pb2.Argument(dtype=graphs.FLOAT32), shape=(1000,))
    w = b.parameter(1000, values=[1e-6] * 1000)
    events = silent(total(b, b.call("aten.mul.Tensor", y, w, shape=(1000,))))
    assert events.steps[0].activation_rms[0] == pytest.approx(60000, rel=2e-3)


def test_nan_that_reaches_nothing_is_told_once_and_steps_go_on() -> None:
    b = graphs.Builder(batch_size=1)
    w = b.parameter(2, values=[1.0, 1.0])
    b.call("aten.log.default", b.buffer((2,), [-1.0, 1.0]), shape=(2,))
    built = b.build(
        b.call("aten.sum.default", b.call("aten.mul.Tensor", w, w, shape=(2,)), shape=())
    )
    events = probe(built, steps=4)
    (origin,) = events.result.non_finite
    assert (origin.phase, origin.node) == (NonFinite.PHASE_FORWARD, 0)
    assert [each.step for each in events.steps] == [0, 1, 2, 3]
    clean = graphs.Builder(batch_size=1)
    w = clean.parameter(2, values=[1.0, 1.0])
    square = clean.call("aten.mul.Tensor", w, w, shape=(2,))
    expected = probe(clean.build(clean.call("aten.sum.default", square, shape=())), steps=4).steps
    assert [each.loss for each in events.steps] == [each.loss for each in expected]


def poisoned_mlp(layer: int, value: float) -> graphs.Built:
    built = graphs.mlp(depth=3)
    index = [i for i, t in enumerate(built.graph.tensors) if len(t.shape) == 2][1 + layer]
    tensor = built.graph.tensors[index]
    count = tensor.shape[0] * tensor.shape[1]
    content = struct.pack(f"<{count}f", *[value] * count)
    tensor.digest.CopyFrom(graphs.digest_of(content))
    return graphs.Built(built.graph, {**built.blobs, tensor.digest.sha256: content})


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_weights_that_overflow_in_any_layer_name_that_layer(layer: int) -> None:
    origin = found(poisoned_mlp(layer, 3e38))
    linear = [0, 2, 4, 7][layer]
    assert (origin.phase, origin.node) == (NonFinite.PHASE_FORWARD, linear)


def test_the_seeded_fault_is_found_at_every_operator_of_a_net() -> None:
    """Put a reciprocal of exact zero behind each operation in turn."""
    for place in range(1, 8):
        b = graphs.Builder(batch_size=4)
        x = b.input(4, 6)
        expected = -1
        for layer in range(1, 8):
            x = b.linear(x, 4, 6, 6) if layer % 2 else b.call("aten.tanh.default", x, shape=(4, 6))
            if layer == place:
                zero = b.call("aten.mul.Tensor", x, 0.0, shape=(4, 6))
                one = b.call("aten.reciprocal.default", zero, shape=(4, 6))
                expected = one.node
                x = b.call("aten.add.Tensor", x, one, shape=(4, 6))
        origin = found(b.build(b.cross_entropy(x, b.labels(6, 4))))
        assert (origin.phase, origin.node) == (NonFinite.PHASE_FORWARD, expected)


def test_the_seeded_fault_is_found_in_the_backward_of_every_layer() -> None:
    """Put the root of exact zero, whose slope is infinite, behind each operation in turn."""
    for place in range(1, 8):
        b = graphs.Builder(batch_size=4)
        x = b.input(4, 6)
        expected = -1
        for layer in range(1, 8):
            x = b.linear(x, 4, 6, 6) if layer % 2 else b.call("aten.tanh.default", x, shape=(4, 6))
            if layer == place:
                zero = b.call("aten.mul.Tensor", x, 0.0, shape=(4, 6))
                root = b.call("aten.sqrt.default", zero, shape=(4, 6))
                expected = root.node
                x = b.call("aten.add.Tensor", x, root, shape=(4, 6))
        origin = found(b.build(b.cross_entropy(x, b.labels(6, 4))))
        assert (origin.phase, origin.node) == (NonFinite.PHASE_BACKWARD, expected), place
