from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nnlint.probe_service.replay.activity import Activity
from nnlint.protos.v1 import graph_pb2, measurement_pb2
from tests.probe import graphs
from tests.probe.replay.running import CPU, load, planned, probe


def bits(packed: bytes, count: int) -> list[int]:
    return [each for each in range(count) if packed[each // 8] >> each % 8 & 1]


def with_biases(operator: str, biases: list[float], *arguments: Any) -> graphs.Built:
    """One linear layer without weights, so that each unit is its bias, and an activation."""
    b = graphs.Builder(batch_size=4)
    units = len(biases)
    w = b.parameter(units, 3, values=[1e-3] * (units * 3))
    y = b.call(
        "aten.linear.default", b.input(4, 3), w, b.parameter(units, values=biases), shape=(4, units)
    )
    y = b.call(operator, y, *arguments, shape=(4, units))
    return b.build(b.call("aten.sum.default", y, shape=()))


def activity(built: graphs.Built, **settings: Any) -> measurement_pb2.UnitActivity:
    (found,) = probe(built, steps=1, learning_rate=0.0, **settings).result.unit_activities
    return found


@pytest.mark.parametrize("samples", [0, 64])
def test_units_that_never_fire_are_dead(samples: int) -> None:
    found = activity(
        with_biases("aten.relu.default", [1, -100, 1, 1, 1, 1, 1, 1, 1, -100]), samples=samples
    )
    assert (found.can_be_dead, found.can_saturate) == (True, False)
    assert (found.dead, bits(found.dead_units, 10)) == (2, [1, 9])
    assert (found.dimension, found.units, found.saturated) == (1, 10, 0)
    assert found.samples == (samples or 4)


@pytest.mark.parametrize(
    ("operator", "arguments", "dead", "saturated"),
    [
        ("aten.relu.default", (), [0], []),
        ("aten.relu_.default", (), [0], []),
        ("aten.relu6.default", (), [0], [3]),
        ("aten.hardswish.default", (), [0], []),
        ("aten.hardsigmoid.default", (), [0], [3]),
        ("aten.hardtanh.default", (0.0, 6.0), [0], [3]),
        ("aten.hardtanh.default", (), [], [0, 3]),
        ("aten.threshold.default", (0.0, 0.0), [0], []),
        ("aten.clamp_min.default", (0.0,), [0], []),
        ("aten.clamp.default", (0.0, 6.0), [0], [3]),
        ("aten.sigmoid.default", (), [], [0, 3]),
        ("aten.tanh.default", (), [], [0, 3]),
    ],
)
def test_each_operator_has_its_own_flat_region(
    operator: str, arguments: tuple[float, ...], dead: list[int], saturated: list[int]
) -> None:
    found = activity(with_biases(operator, [-40.0, 0.3, 0.4, 40.0], *arguments), samples=16)
    assert bits(found.dead_units, 4) == dead
    assert bits(found.saturated_units, 4) == saturated
    assert found.dead == len(dead)
    assert found.saturated == len(saturated)


@pytest.mark.parametrize(
    "operator", ["aten.gelu.default", "aten.leaky_relu.default", "aten.abs.default"]
)
def test_operators_that_are_never_off_are_not_judged(operator: str) -> None:
    built = with_biases(operator, [-40.0, 40.0])
    assert not probe(built, steps=1).result.unit_activities


@pytest.mark.parametrize(("bias", "flat"), [(4.9, False), (5.1, True), (-4.9, False), (-5.1, True)])
def test_sigmoid_is_flat_where_its_input_is_beyond_five(bias: float, flat: bool) -> None:
    found = activity(with_biases("aten.sigmoid.default", [bias]), samples=8)
    assert found.saturated == flat


def test_units_of_a_convolution_are_its_channels() -> None:
    found = activity(graphs.convnet(), samples=8)
    assert (found.node, found.dimension, found.units) == (3, 1, 6)


def test_a_unit_that_fires_in_one_sample_of_many_is_alive() -> None:
    b = graphs.Builder(batch_size=1)
    values = [-1.0] * 63 + [1.0]
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (1, 1), values=values, batches=64)
    w = b.parameter(1, 1, values=[1.0])
    y = b.call("aten.relu.default", b.call("aten.linear.default", x, w, shape=(1, 1)), shape=(1, 1))
    built = b.build(b.call("aten.sum.default", y, shape=()))
    few = activity(built, samples=32)
    assert (few.dead, few.samples) == (1, 32)
    assert activity(built, samples=64).dead == 0


def test_the_same_data_again_is_no_new_sample() -> None:
    b = graphs.Builder(batch_size=2)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (2, 1), values=[1.0, 2.0] * 3, batches=3)
    y = b.call("aten.linear.default", x, b.parameter(1, 1), shape=(2, 1))
    y = b.call("aten.relu.default", y, shape=(2, 1))
    built = b.build(b.call("aten.sum.default", y, shape=()))
    assert activity(built, samples=1000).samples == 6


def test_sampling_leaves_running_statistics_as_they_were() -> None:
    from nnlint.probe_service import experiments
    from nnlint.probe_service.experiments import gradients

    program = load(graphs.convnet())
    context = experiments.Context(
        program=program,
        plan=planned(program),
        journal=lambda _: None,
        stage=lambda _: None,
        step=lambda _: None,
        load=lambda _: program,
        progress=lambda *_: None,
        finish=lambda _: None,
    )
    run = gradients._Gradients(graphs.settings_of(samples=64).experiments[0].gradients, context)
    run._step(0)
    before = {index: tensor.detach().clone() for index, tensor in program.state().items()}
    assert run._sample(1) == 64
    assert all(torch.equal(before[index], tensor) for index, tensor in program.state().items())


def test_nan_accuses_no_unit() -> None:
    program = load(with_biases("aten.relu6.default", [0.5, 0.5]))
    seen = Activity(planned(program), CPU, len(program.calls))
    observe = seen.watch[1]
    assert observe is not None
    observe(torch.full((4, 2), math.nan))
    (found,) = seen.messages(4)
    assert (found.dead, found.saturated) == (0, 0)


def test_units_are_followed_through_dropout_norm_and_flattened_batches() -> None:
    b = graphs.Builder(batch_size=2)
    x = b.call("aten.linear.default", b.input(2, 5, 3), b.parameter(7, 3), shape=(2, 5, 7))
    x = b.call("aten.view.default", x, [10, 7], shape=(10, 7))
    x = b.call("aten.dropout.default", *(x, 0.1, True), shape=(10, 7))
    x = b.call("aten.add.Tensor", x, x, shape=(10, 7))
    x = b.call("aten.relu.default", x, shape=(10, 7))
    x = b.call("aten.t.default", x, shape=(7, 10))
    x = b.call("aten.sigmoid.default", x, shape=(7, 10))
    built = b.build(b.call("aten.sum.default", x, shape=()))
    units = planned(load(built)).units
    # Behind the transposition nobody can tell which dimension counts units.
    assert [(each.node, each.dimension, each.count) for each in units] == [(4, 1, 7)]


def test_a_layer_on_one_vector_has_units_as_well() -> None:
    b = graphs.Builder(batch_size=1)
    x = b.call("aten.linear.default", b.input(3), b.parameter(4, 3), shape=(4,))
    x = b.call("aten.relu.default", x, shape=(4,))
    found = activity(b.build(b.call("aten.sum.default", x, shape=())), samples=40)
    assert (found.dimension, found.units, found.dead) == (0, 4, 0)
