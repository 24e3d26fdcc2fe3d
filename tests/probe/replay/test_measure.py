from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch

from nnlint.probe_service.replay.measure import Meter
from nnlint.probe_service.replay.optimise import Trainer, optimizer
from nnlint.probe_service.replay.reading import Doubtful
from nnlint.probe_service.replay.reducing import TINY, Held, at_once, careful, slots
from nnlint.protos.v1 import graph_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.replay.running import CPU, load, planned, probe, step

SGD = probe_service_pb2.Optimizer(
    learning_rate=0.1, sgd=probe_service_pb2.Optimizer.Sgd(momentum=0.9)
)
ADAMW = probe_service_pb2.Optimizer(
    learning_rate=0.01,
    weight_decay=0.01,
    adamw=probe_service_pb2.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8),
)


def rms(value: torch.Tensor) -> float:
    return math.sqrt(value.detach().double().square().mean().item())


@pytest.mark.parametrize("optimizer", [SGD, ADAMW])
@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()])
def test_a_measured_step_leaves_what_a_bare_one_leaves_to_the_bit(
    built: graphs.Built, optimizer: probe_service_pb2.Optimizer
) -> None:
    bare_program, program = load(built, seed=3), load(built, seed=3)
    bare, measured = Trainer(bare_program, optimizer), Trainer(program, optimizer)
    meter = Meter(planned(program), CPU, len(program.calls))
    for each in range(3):
        loss = bare.bare(each)
        stream = torch.get_rng_state()
        reading = measured.measured(each, meter)
        assert torch.equal(stream, torch.get_rng_state())
        assert reading.statistics.loss == loss.item()
        for index, tensor in bare_program.state().items():
            mine = program.tensor(index)
            assert torch.equal(tensor, mine)
            assert (tensor.grad is None) == (mine.grad is None)
            if tensor.grad is not None:
                assert mine.grad is not None
                assert torch.equal(tensor.grad, mine.grad)


def test_every_statistic_is_that_of_the_tensors() -> None:
    program = load(graphs.convnet())
    plan = planned(program)
    names = [program.calls[each.node].name for each in plan.nodes]
    assert names == [
        "aten.conv2d.default",
        "aten.relu_.default",
        "aten.mean.dim",
        "aten.linear.default",
        "aten.cross_entropy_loss.default",
    ]
    values: dict[int, torch.Tensor] = {}
    gradients: dict[int, torch.Tensor] = {}
    watch: list[Any] = [None] * len(program.calls)

    def watcher(node: int) -> Any:
        def see(value: torch.Tensor) -> None:
            values[node] = value.detach().clone()
            value.register_hook(lambda gradient: gradients.__setitem__(node, gradient.clone()))

        return see

    for observed in plan.nodes:
        watch[observed.node] = watcher(observed.node)
    program.inputs(0)
    torch.manual_seed(program.step_seed(0))
    program.backward(program.forward(watch=watch))
    kept = [each.grad.clone() for each in program.trained() if each.grad is not None]
    old = [each.detach().clone() for each in program.trained()]
    program.reset()
    meter = Meter(plan, CPU, len(program.calls))
    found = Trainer(program, SGD).measured(0, meter).statistics
    for position, observed in enumerate(plan.nodes):
        value, gradient = values[observed.node], gradients[observed.node]
        assert found.activation_rms[position] == pytest.approx(rms(value), rel=1e-5)
        assert found.activation_abs_max[position] == value.abs().max().item()
        assert found.gradient_rms[position] == pytest.approx(rms(gradient), rel=1e-5)
        assert found.gradient_abs_max[position] == gradient.abs().max().item()
        share = (value == 0).double().mean().item()
        relu = "relu" in program.calls[observed.node].name
        assert found.activation_zero_fraction[position] == pytest.approx(share if relu else -1)
    for position, (parameter, before, gradient) in enumerate(
        zip(program.trained(), old, kept, strict=True)
    ):
        assert found.parameter_rms[position] == pytest.approx(rms(before), rel=1e-5)
        assert found.parameter_gradient_rms[position] == pytest.approx(rms(gradient), rel=1e-5)
        assert found.parameter_gradient_abs_max[position] == gradient.abs().max().item()
        change = rms(parameter.detach() - before)
        expected = change / rms(before) if rms(before) else math.inf
        assert found.update_ratio[position] == pytest.approx(expected, rel=1e-4)


def test_a_batch_norm_is_observed_unless_an_activation_alone_takes_it() -> None:
    def nodes(*extra: bool) -> list[str]:
        b = graphs.Builder(batch_size=4)
        x = b.input(4, 6)
        ones, zeros = [1.0] * 6, [0.0] * 6
        y = b.call(
            "aten.batch_norm.default",
            *(x, b.parameter(6, values=ones), b.parameter(6, values=zeros)),
            *(b.buffer((6,), zeros), b.buffer((6,), ones), True, 0.1, 1e-5, False),
            shape=(4, 6),
        )
        z = b.call("aten.relu.default", y, shape=(4, 6))
        if extra:
            z = b.call("aten.add.Tensor", z, y, shape=(4, 6))
        program = load(b.build(b.call("aten.sum.default", z, shape=())))
        return [program.calls[each.node].name.split(".")[1] for each in planned(program).nodes]

    assert nodes() == ["relu", "sum"]
    assert nodes(True) == ["batch_norm", "relu", "add", "sum"]  # noqa: FBT003


def test_an_unused_parameter_has_no_gradient_and_does_not_change() -> None:
    b = graphs.Builder()
    used, unused = b.parameter(3, 4), b.parameter(5)
    b.graph.nodes.add()
    del b.graph.nodes[:]
    x = b.call("aten.linear.default", b.input(8, 4), used, shape=(8, 3))
    built = b.build(b.call("aten.sum.default", x, shape=()))
    assert unused.tensor == 1
    (first,) = probe(built, steps=1).steps
    assert list(first.parameter_gradient_rms)[1] == -1
    assert list(first.parameter_gradient_abs_max)[1] == -1
    assert list(first.update_ratio)[1] == 0
    assert first.update_ratio[0] > 0


def test_a_zero_parameter_that_changes_has_an_infinite_update() -> None:
    (first,) = probe(graphs.mlp(), steps=1).steps
    assert first.parameter_rms[1] == 0
    assert first.update_ratio[1] == math.inf


def test_an_update_too_small_for_float32_squares_is_still_an_update() -> None:
    b = graphs.Builder()
    bias = b.parameter(4, values=[0.0] * 4)
    scaled = b.call("aten.mul.Tensor", bias, 1e-25, shape=(4,))
    built = b.build(b.call("aten.sum.default", scaled, shape=()))
    (first,) = probe(built, steps=1, learning_rate=1.0).steps
    assert first.update_ratio[0] == math.inf
    assert first.parameter_gradient_rms[0] == pytest.approx(1e-25)


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_magnitudes_whose_squares_float32_cannot_hold_are_right(size: float) -> None:
    b = graphs.Builder(batch_size=2)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (2, 2), values=[1.0, -3.0, 2.0, 1.0], batches=1)
    w = b.parameter(2, values=[1.0, 1.0])
    y = b.call("aten.mul.Tensor", x, w, shape=(2, 2))
    y = b.call("aten.mul.Tensor", y, size, shape=(2, 2))
    built = b.build(b.call("aten.mean.default", y, shape=()))
    events = probe(built, steps=2, learning_rate=1e-3 / size)
    first = events.steps[0]
    assert first.activation_rms[1] == pytest.approx(size * math.sqrt(15 / 4), rel=1e-5)
    assert first.activation_abs_max[1] == pytest.approx(3 * size)
    assert first.gradient_rms[0] == pytest.approx(size / 4, rel=1e-5)
    assert not events.result.non_finite
    assert [each.step for each in events.steps] == [0, 1]


def test_steps_measured_with_care_equal_bare_ones() -> None:
    built = graphs.mlp()
    bare_program, program = load(built), load(built)
    bare, trainer = Trainer(bare_program, SGD), Trainer(program, SGD)
    everything = range(100)
    care = Doubtful(frozenset(everything), frozenset(everything), frozenset(everything))
    plain = Meter(planned(program), CPU, len(program.calls))
    meter = Meter(planned(program), CPU, len(program.calls), care=care)
    reading = trainer.measured(0, meter).statistics
    trainer.rewind(0)
    other = trainer.measured(0, plain).statistics
    bare.bare(0)
    for mine, theirs in zip(program.trained(), bare_program.trained(), strict=True):
        assert torch.equal(mine, theirs)
    for name in ("activation_rms", "gradient_rms", "parameter_gradient_rms", "update_ratio"):
        assert list(getattr(reading, name)) == pytest.approx(list(getattr(other, name)), rel=1e-5)


def test_a_value_is_observed_before_a_later_node_overwrites_it() -> None:
    b = graphs.Builder(batch_size=1)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (3,), values=[-4.0, 1.0, 2.0], batches=1)
    y = b.call("aten.mul.Tensor", x, 1.0, shape=(3,))
    view = b.call("aten.view.default", y, [3, 1], shape=(3, 1))
    z = b.call("aten.relu_.default", view, shape=(3, 1))
    built = b.build(b.call("aten.sum.default", z, shape=()))
    plan = planned(load(built))
    assert [(each.node, each.overwritten) for each in plan.nodes] == [
        (0, True),
        (2, False),
        (3, False),
    ]
    (first,) = probe(built, steps=1).steps
    assert first.activation_abs_max[0] == 4.0
    assert first.activation_abs_max[1] == 2.0


@pytest.mark.parametrize(
    "name",
    [
        "aten.view.default",
        "aten.dropout.default",
        "aten.zeros.default",
        "aten.to.dtype",
        "aten.cat.default",
        "aten.clone.default",
        "aten.expand.default",
        "aten.randn.default",
    ],
)
def test_copies_views_and_fills_are_not_observed(name: str) -> None:
    from nnlint.probe_service.replay import plan as planning

    assert planning.base(name) in planning._UNOBSERVED


def test_every_unobserved_operator_is_a_reviewed_one() -> None:
    from nnlint.probe_service.operators import reviewed
    from nnlint.probe_service.replay import plan as planning

    known = {planning.base(name) for name in reviewed()}
    for group in (
        planning._UNOBSERVED,
        planning._NEVER_NEGATIVE,
        planning._DEAD,
        set(planning._FLAT),
    ):
        assert set(group) <= known, sorted(set(group) - known)


_randn = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0))
SHAPES: dict[str, torch.Tensor] = {
    "plain": _randn(4, 5, 6),
    "transposed": _randn(4, 5, 6).transpose(0, 2),
    "channels last": _randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "expanded": _randn(1, 5).expand(7, 5),
    "strided": _randn(10, 10)[::2, ::3],
    "scalar": torch.tensor(-3.0),
    "one": _randn(1),
    "many": _randn(300_000),
    "relu": _randn(200_001).relu(),
    "large": _randn(3, 200_001),
    "large channels last": _randn(2, 8, 200, 201).to(memory_format=torch.channels_last),
    "large expanded": _randn(1, 300_001).expand(2, 300_001),
    "large relu": _randn(600_001).relu(),
    "float16": _randn(1000).half() * 300,
    "bfloat16": _randn(1000).bfloat16(),
    "float64": _randn(1000).double(),
    "complex": _randn(10, dtype=torch.complex64),
}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (name, way)
        for name, value in SHAPES.items()
        for way in ("now", "held", "held for CUDA", "careful")
        if way != "held" or value.numel() <= TINY  # others are not put together
    ],
)
def test_every_kind_of_tensor_is_reduced_rightly(name: str, way: str) -> None:
    value = SHAPES[name]
    buffer = torch.zeros(4)
    norm, high, low, nonzeros = buffer.unbind(0)
    into = slots(buffer, 0, 1, 2, -1 if value.is_complex() else 3)
    if way == "now":
        at_once(value, into)
    elif way == "careful":
        careful(value, into)
    else:
        held = Held(cuda=way == "held for CUDA")
        held.add(value, into)
        held.flush()
    count = value.numel()
    found = norm.item() if way == "careful" else norm.item() / math.sqrt(count)
    assert found == pytest.approx(math.sqrt(value.abs().double().square().mean().item()), rel=1e-4)
    assert max(high.item(), -low.item()) == pytest.approx(value.abs().max().item(), rel=1e-6)
    if not value.is_complex():
        assert nonzeros.item() == (value != 0).sum().item()


def reduced(value: torch.Tensor) -> tuple[float, float, float]:
    buffer = torch.zeros(3)
    at_once(value, slots(buffer, 0, 1, 2))
    norm, high, low = buffer.tolist()
    return norm, high, low


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_bad_element_among_many_shows_in_the_largest_magnitude(
    bad: float, dtype: torch.dtype
) -> None:
    for place in (0, 77, 99_999):
        value = torch.randn(100_000).to(dtype)
        value[place] = bad
        _, high, low = reduced(value)
        peak = high if math.isnan(high) else max(high, -low)
        assert math.isnan(peak) if math.isnan(bad) else peak == math.inf


def test_finite_half_precision_gives_no_alarm_although_its_squares_overflow() -> None:
    value = torch.full((1_000_000,), 300.0, dtype=torch.float16)
    norm, high, _ = reduced(value)
    assert norm / 1000 == pytest.approx(300, rel=1e-3)
    assert high == 300


def test_a_float64_loss_keeps_its_digits() -> None:
    b = graphs.Builder(batch_size=1)
    x = b.tensor(
        graph_pb2.Tensor.ROLE_INPUT,
        (1,),
        values=[1.0 + 2**-40],
        dtype=graph_pb2.SCALAR_TYPE_FLOAT64,
        batches=1,
    )
    built = b.build(b.call("aten.sum.default", x, shape=(), dtype=graph_pb2.SCALAR_TYPE_FLOAT64))
    (first,) = probe(built, steps=1).steps
    assert first.loss == 1.0 + 2**-40


def test_nothing_is_asked_of_the_device_before_the_one_transfer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = load(graphs.mlp())
    trainer = Trainer(program, SGD)
    meter = Meter(planned(program), CPU, len(program.calls))
    trainer.measured(0, meter)
    asked: list[str] = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)

        def spied(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            asked.append(name)
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, spied)
    before: list[int] = []
    read = meter.read
    monkeypatch.setattr(meter, "read", lambda: (before.append(len(asked)), read())[1])
    trainer.measured(1, meter)
    assert before == [0]


def test_a_large_parameter_is_measured_and_stepped_as_a_whole() -> None:
    b = graphs.Builder(batch_size=2)
    w = b.parameter(700, 600)
    y = b.call("aten.linear.default", b.input(2, 600), w, shape=(2, 700))
    built = b.build(
        b.call("aten.sum.default", b.call("aten.tanh.default", y, shape=(2, 700)), shape=())
    )
    for settings in (SGD, ADAMW):
        program, plain = load(built), load(built)
        trainer = Trainer(program, settings)
        assert [share.start for share in trainer.shares] == [0, 1 << 18]
        meter = Meter(planned(program), CPU, len(program.calls))
        for each in range(2):
            before = program.trained()[0].detach().clone()
            found = trainer.measured(each, meter).statistics
            parameter = program.trained()[0]
            assert parameter.grad is not None
            assert found.parameter_rms[0] == pytest.approx(rms(before), rel=1e-5)
            assert found.parameter_gradient_rms[0] == pytest.approx(rms(parameter.grad), rel=1e-5)
            assert found.parameter_gradient_abs_max[0] == parameter.grad.abs().max().item()
            change = rms(parameter.detach() - before) / rms(before)
            assert found.update_ratio[0] == pytest.approx(change, rel=1e-4)
        whole = optimizer(settings, plain.trained())
        for each in range(2):
            step(plain, each)
            whole.step()
        assert torch.equal(plain.trained()[0], program.trained()[0])


def test_going_back_repeats_a_step_to_the_bit() -> None:
    built = graphs.convnet()
    program = load(built)
    trainer = Trainer(program, SGD)
    meter = Meter(planned(program), CPU, len(program.calls))
    readings = [trainer.measured(each, meter).statistics for each in range(35)]
    for back in (34, 33, 16, 0, 5):
        trainer.rewind(back)
        again = trainer.measured(back, meter).statistics
        assert again == readings[back], back
